//! model_load.

use loadline_schema::storage::{ModelLoad, StorageTrial};

use crate::{Trial, TrialError};

pub(crate) fn run(_trial: &Trial<'_>, _load: &ModelLoad) -> Result<StorageTrial, TrialError> {
    Err(TrialError { message: "not yet".to_owned() })
}
