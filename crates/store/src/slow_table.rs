//! The table of slow I/Os of storage trials: one row for each.

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, Field, SchemaRef};

use loadline_schema::record::TrialId;
use loadline_schema::storage::{Direction, SlowIo};

crate::table::columns! { SlowIo {
    stage: u16 => trial.stage;
    point: u16 => trial.point;
    trial: u16 => trial.trial;
    part: u16 => trial.part;
    worker: u16 => worker;
    direction: Direction => direction;
    offset: u64 => offset;
    bytes: u64 => bytes;
    start_ns: u64 => start_ns;
    slat_ns: u64 => slat_ns;
    clat_ns: u64 => clat_ns;
} }

/// Columns of the table.
pub(crate) fn fields() -> Vec<Field> {
    Builders::fields()
}

/// A batch of these rows.
pub(crate) fn batch(schema: &SchemaRef, rows: &[SlowIo]) -> Result<RecordBatch, ArrowError> {
    let mut builders = Builders::new(rows.len());
    for row in rows {
        builders.push(row);
    }
    RecordBatch::try_new(schema.clone(), builders.finish())
}

/// The rows of a batch that belong to a stage, in order.
pub(crate) fn rows(batch: &RecordBatch, stage: u16) -> Result<Vec<SlowIo>, String> {
    let columns = Columns::of(batch)?;
    let empty = SlowIo {
        trial: TrialId { stage: 0, point: 0, trial: 0, part: 0 },
        worker: 0,
        direction: Direction::Read,
        offset: 0,
        bytes: 0,
        start_ns: 0,
        slat_ns: 0,
        clat_ns: 0,
    };
    let mut rows = vec![empty; batch.num_rows()];
    for (index, row) in rows.iter_mut().enumerate() {
        columns.fill(index, row)?;
    }
    rows.retain(|row| row.trial.stage == stage);
    Ok(rows)
}
