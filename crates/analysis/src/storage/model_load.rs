//! The time that one way of loading a model takes.

use std::collections::BTreeMap;

use loadline_schema::storage::{FileOp, ModelLoadResult, StorageLoad, StorageResult};

use super::checkpoint::{Round, round, slowest_rank};
use super::{Cell, rates};

pub(super) fn fill(cell: &Cell<'_>, result: &mut StorageResult) {
    let loads: Vec<Round> =
        cell.trials.iter().filter_map(|trial| round(trial, FileOp::Load)).collect();
    let over = |value: fn(&Round) -> f64| rates::mean(&loads.iter().map(value).collect::<Vec<_>>());
    result.trials = loads.len() as u32;
    result.bytes_per_s = over(Round::bytes_per_s);
    let several = matches!(&cell.planned.load, StorageLoad::ModelLoad(load) if load.ranks > 1);
    result.model_load = Some(ModelLoadResult {
        load_s: over(|load| load.seconds),
        slowest_rank: slowest_rank(&loads).filter(|_| several),
    });
    let figures = loads.iter().map(|load| {
        BTreeMap::from([
            ("bytes_per_s".to_owned(), load.bytes_per_s()),
            ("load_s".to_owned(), load.seconds),
        ])
    });
    result.per_trial = figures.collect();
}
