//! checkpoint.

use loadline_schema::storage::{Checkpoint, StorageTrial};

use crate::{Trial, TrialError};

pub(crate) fn run(_trial: &Trial<'_>, _load: &Checkpoint) -> Result<StorageTrial, TrialError> {
    Err(TrialError { message: "not yet".to_owned() })
}
