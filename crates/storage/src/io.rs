//! Blocks: layout of files, workers, end of the trial.

use loadline_schema::storage::{IoLoad, StorageTrial};

use crate::{Trial, TrialError};

pub(crate) fn run(_trial: &Trial<'_>, _load: &IoLoad) -> Result<StorageTrial, TrialError> {
    Err(TrialError { message: "not yet".to_owned() })
}
