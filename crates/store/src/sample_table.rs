//! The table of samples: one row for each number that an observer read.

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, Field, SchemaRef};

use loadline_schema::sample::Sample;

use crate::error::StoreError;
use crate::run_reader::RunReader;
use crate::run_writer::{RunWriter, encoding};
use crate::table::Kind;

/// Rows of one batch at most.
const BATCH_ROWS: usize = 4096;

crate::table::columns! { Sample {
    stage: u16 => stage;
    at_ns: u64 => at_ns;
    source: Box<str> => source;
    series: Box<str> => series;
    value: f64 => value;
} }

/// Columns of the table.
pub(crate) fn fields() -> Vec<Field> {
    Builders::fields()
}

/// A batch of these rows.
fn batch(schema: &SchemaRef, rows: &[Sample]) -> Result<RecordBatch, ArrowError> {
    let mut builders = Builders::new(rows.len());
    for row in rows {
        builders.push(row);
    }
    RecordBatch::try_new(schema.clone(), builders.finish())
}

/// The rows of a batch that belong to a stage, in order.
fn rows(batch: &RecordBatch, stage: u16) -> Result<Vec<Sample>, String> {
    let columns = Columns::of(batch)?;
    let mut rows = Vec::with_capacity(batch.num_rows());
    for index in 0..batch.num_rows() {
        let mut row =
            Sample { stage: 0, at_ns: 0, source: "".into(), series: "".into(), value: f64::NAN };
        columns.fill(index, &mut row)?;
        if row.stage == stage {
            rows.push(row);
        }
    }
    Ok(rows)
}

impl RunWriter {
    /// Appends samples. All of them are in the file when this returns `Ok`.
    ///
    /// # Errors
    /// [`StoreError::Append`] when the disk is full or broken: the file is cut back to whole
    /// batches; of `rows`, a leading share may have been stored. [`StoreError::NoSuchStage`].
    pub fn append_samples(&mut self, rows: &[Sample]) -> Result<(), StoreError> {
        for same_stage in rows.chunk_by(|a, b| a.stage == b.stage) {
            let stream = self.stream(same_stage[0].stage, Kind::Sample)?;
            for rows in same_stage.chunks(BATCH_ROWS) {
                let batch =
                    batch(stream.schema(), rows).map_err(|source| encoding(stream, source))?;
                stream.append(&batch)?;
            }
        }
        Ok(())
    }
}

impl RunReader {
    /// Samples of a stage, parts after each other, in the order of storing.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] names the file and the batch that cannot be read.
    pub fn each_sample(&self, stage: u16, each: &mut dyn FnMut(Sample)) -> Result<(), StoreError> {
        for file in self.of_kind(Kind::Sample).filter(|file| file.stage_index == stage) {
            for batch in file.batches(None)? {
                rows(&batch?, stage)
                    .map_err(|what| file.wrong(what))?
                    .into_iter()
                    .for_each(&mut *each);
            }
        }
        Ok(())
    }
}
