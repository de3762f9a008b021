//! Rows of storage trials, into and out of a run directory.

use loadline_schema::storage::{IoInterval, SlowIo};

use crate::error::StoreError;
use crate::run_reader::RunReader;
use crate::run_writer::{RunWriter, encoding};
use crate::table::Kind;
use crate::{interval_table, slow_table};

/// Rows and filled buckets of one batch at most: bounds the memory of encoding and of sealing.
const BATCH_INTERVALS: usize = 1024;
const BATCH_BUCKETS: usize = 64 * 1024;
const BATCH_SLOW: usize = 4096;

impl RunWriter {
    /// Appends seconds of storage trials. All of them are in the file when this returns `Ok`.
    ///
    /// # Errors
    /// [`StoreError::Append`] when the disk is full or broken: the file is cut back to whole
    /// batches; of `rows`, a leading share may have been stored. [`StoreError::NoSuchStage`].
    pub fn append_intervals(&mut self, rows: &[IoInterval]) -> Result<(), StoreError> {
        let mut rest = rows;
        while let Some(first) = rest.first() {
            let (rows, later) = rest.split_at(batch_len(rest));
            let stream = self.stream(first.trial.stage, Kind::Interval)?;
            let batch = interval_table::batch(stream.schema(), rows)
                .map_err(|source| encoding(stream, source))?;
            stream.append(&batch)?;
            rest = later;
        }
        Ok(())
    }

    /// Appends slow I/Os of storage trials. All of them are in the file when this returns `Ok`.
    ///
    /// # Errors
    /// As [`Self::append_intervals`].
    pub fn append_slow(&mut self, rows: &[SlowIo]) -> Result<(), StoreError> {
        for same_stage in rows.chunk_by(|a, b| a.trial.stage == b.trial.stage) {
            let stream = self.stream(same_stage[0].trial.stage, Kind::Slow)?;
            for rows in same_stage.chunks(BATCH_SLOW) {
                let batch = slow_table::batch(stream.schema(), rows)
                    .map_err(|source| encoding(stream, source))?;
                stream.append(&batch)?;
            }
        }
        Ok(())
    }
}

/// How many leading rows make the next batch: of one stage, within the limits, at least one.
fn batch_len(rows: &[IoInterval]) -> usize {
    let stage = rows[0].trial.stage;
    let mut buckets_so_far = 0;
    rows.iter()
        .take(BATCH_INTERVALS)
        .take_while(|row| {
            let fits = buckets_so_far < BATCH_BUCKETS && row.trial.stage == stage;
            buckets_so_far += interval_table::buckets(row);
            fits
        })
        .count()
}

impl RunReader {
    /// Seconds of the storage trials of a stage, parts after each other, in the order of storing.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] names the file and the batch that cannot be read.
    pub fn intervals(&self, stage: u16) -> Result<Vec<IoInterval>, StoreError> {
        let mut all = Vec::new();
        for file in self.of_kind(Kind::Interval).filter(|file| file.stage_index == stage) {
            for batch in file.batches(None)? {
                let rows = interval_table::rows(&batch?, stage);
                all.extend(rows.map_err(|what| file.wrong(what))?);
            }
        }
        Ok(all)
    }

    /// Slow I/Os of the storage trials of a stage, parts after each other, in the order of storing.
    ///
    /// # Errors
    /// As [`Self::intervals`].
    pub fn slow(&self, stage: u16) -> Result<Vec<SlowIo>, StoreError> {
        let mut all = Vec::new();
        for file in self.of_kind(Kind::Slow).filter(|file| file.stage_index == stage) {
            for batch in file.batches(None)? {
                let rows = slow_table::rows(&batch?, stage);
                all.extend(rows.map_err(|what| file.wrong(what))?);
            }
        }
        Ok(all)
    }
}
