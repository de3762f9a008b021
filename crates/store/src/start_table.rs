//! The table of started operations: what makes operations in flight countable after a kill.

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, Field, SchemaRef};

use loadline_schema::record::{Start, TrialId};

crate::table::columns! { Start {
    op: u64 => op;
    stage: u16 => trial.stage;
    point: u16 => trial.point;
    trial: u16 => trial.trial;
    part: u16 => trial.part;
    intended_ns: u64 => intended_ns;
    started_ns: u64 => started_ns;
} }

/// Columns of the table.
pub(crate) fn fields() -> Vec<Field> {
    Builders::fields()
}

/// A batch of these rows.
pub(crate) fn batch(schema: &SchemaRef, rows: &[Start]) -> Result<RecordBatch, ArrowError> {
    let mut builders = Builders::new(rows.len());
    for row in rows {
        builders.push(row);
    }
    RecordBatch::try_new(schema.clone(), builders.finish())
}

/// The rows of a batch that belong to a trial (`None`: all), in order.
pub(crate) fn rows(batch: &RecordBatch, wanted: Option<TrialId>) -> Result<Vec<Start>, String> {
    let columns = Columns::of(batch)?;
    let trial = TrialId { stage: 0, point: 0, trial: 0, part: 0 };
    let mut rows = Vec::with_capacity(batch.num_rows());
    for index in 0..batch.num_rows() {
        let mut row = Start { op: 0, trial, intended_ns: 0, started_ns: 0 };
        columns.fill(index, &mut row)?;
        if wanted.is_none_or(|trial| trial == row.trial) {
            rows.push(row);
        }
    }
    Ok(rows)
}
