//! The table of seconds of storage trials: one row for each worker, direction and second, with three
//! histograms of latencies as list columns.

use arrow_array::RecordBatch;
use arrow_array::types::{UInt32Type, UInt64Type};
use arrow_schema::{ArrowError, Field, SchemaRef};

use loadline_schema::outcome::Phase;
use loadline_schema::record::TrialId;
use loadline_schema::storage::{Buckets, Direction, IoInterval, Latencies};

use crate::lists::{Lists, list, list_field};

crate::table::columns! { IoInterval {
    stage: u16 => trial.stage;
    point: u16 => trial.point;
    trial: u16 => trial.trial;
    part: u16 => trial.part;
    worker: u16 => worker;
    direction: Direction => direction;
    phase: Phase => phase;
    start_ns: u64 => start_ns;
    length_ns: u64 => length_ns;
    ios: u64 => ios;
    bytes: u64 => bytes;
    errors: u64 => errors;
    slat_sum_ns: u64 => slat.sum_ns;
    slat_min_ns: u64 => slat.min_ns;
    slat_max_ns: u64 => slat.max_ns;
    clat_sum_ns: u64 => clat.sum_ns;
    clat_min_ns: u64 => clat.min_ns;
    clat_max_ns: u64 => clat.max_ns;
    lat_sum_ns: u64 => lat.sum_ns;
    lat_min_ns: u64 => lat.min_ns;
    lat_max_ns: u64 => lat.max_ns;
} }

/// Names of a histogram's list columns, and where it stands in a row.
struct Histogram {
    bucket: &'static str,
    count: &'static str,
    of: fn(&IoInterval) -> &Latencies,
    of_mut: fn(&mut IoInterval) -> &mut Latencies,
}

const HISTOGRAMS: [Histogram; 3] = [
    Histogram {
        bucket: "slat_bucket",
        count: "slat_count",
        of: |row| &row.slat,
        of_mut: |row| &mut row.slat,
    },
    Histogram {
        bucket: "clat_bucket",
        count: "clat_count",
        of: |row| &row.clat,
        of_mut: |row| &mut row.clat,
    },
    Histogram {
        bucket: "lat_bucket",
        count: "lat_count",
        of: |row| &row.lat,
        of_mut: |row| &mut row.lat,
    },
];

/// Columns of the table.
pub(crate) fn fields() -> Vec<Field> {
    let mut fields = Builders::fields();
    for histogram in &HISTOGRAMS {
        fields.push(list_field::<UInt32Type>(histogram.bucket, false));
        fields.push(list_field::<UInt64Type>(histogram.count, false));
    }
    fields
}

/// Filled buckets of a row: what its size depends on.
pub(crate) fn buckets(row: &IoInterval) -> usize {
    HISTOGRAMS.iter().map(|histogram| (histogram.of)(row).buckets.0.len()).sum()
}

/// A batch of these rows.
pub(crate) fn batch(schema: &SchemaRef, rows: &[IoInterval]) -> Result<RecordBatch, ArrowError> {
    let mut builders = Builders::new(rows.len());
    for row in rows {
        builders.push(row);
    }
    let mut columns = builders.finish();
    let rows: Vec<Option<&IoInterval>> = rows.iter().map(Some).collect();
    for Histogram { of, .. } in &HISTOGRAMS {
        let pairs = |row| of(row).buckets.0.iter();
        columns.push(list::<_, UInt32Type, _>(&rows, None, |row| pairs(row).map(|pair| pair.0))?);
        columns.push(list::<_, UInt64Type, _>(&rows, None, |row| pairs(row).map(|pair| pair.1))?);
    }
    RecordBatch::try_new(schema.clone(), columns)
}

/// The rows of a batch that belong to a stage, in order.
pub(crate) fn rows(batch: &RecordBatch, stage: u16) -> Result<Vec<IoInterval>, String> {
    let columns = Columns::of(batch)?;
    let mut rows = vec![empty(); batch.num_rows()];
    for (index, row) in rows.iter_mut().enumerate() {
        columns.fill(index, row)?;
    }
    for Histogram { bucket, count, of_mut, .. } in &HISTOGRAMS {
        let buckets: Lists<UInt32Type> = Lists::of(batch, bucket, false)?;
        let counts: Lists<UInt64Type> = Lists::of(batch, count, false)?;
        for (index, row) in rows.iter_mut().enumerate() {
            let pairs = pairs(buckets.get(index), counts.get(index))
                .map_err(|what| format!("columns {bucket}, {count}: row {index} {what}"))?;
            let latencies = of_mut(row);
            if latencies.min_ns > latencies.max_ns {
                return Err(format!("row {index} has a least latency above the largest"));
            }
            latencies.buckets = pairs;
        }
    }
    rows.retain(|row| row.trial.stage == stage);
    Ok(rows)
}

/// A histogram of its two lists. What later arithmetic rests on is checked here: a damaged file must
/// not bring down what reads it.
fn pairs(buckets: &[u32], counts: &[u64]) -> Result<Buckets, &'static str> {
    if buckets.len() != counts.len() {
        return Err("has more of one than of the other");
    }
    if !buckets.is_sorted_by(|a, b| a < b) {
        return Err("has buckets that do not ascend");
    }
    if buckets.last().is_some_and(|last| *last as usize >= Buckets::LEN) {
        return Err("has a bucket that there is not");
    }
    if counts.iter().try_fold(0_u64, |sum, count| sum.checked_add(*count)).is_none() {
        return Err("counts more than a number can hold");
    }
    Ok(Buckets(buckets.iter().copied().zip(counts.iter().copied()).collect()))
}

fn empty() -> IoInterval {
    IoInterval {
        trial: TrialId { stage: 0, point: 0, trial: 0, part: 0 },
        worker: 0,
        direction: Direction::Read,
        phase: Phase::Measure,
        start_ns: 0,
        length_ns: 0,
        ios: 0,
        bytes: 0,
        errors: 0,
        slat: Latencies::default(),
        clat: Latencies::default(),
        lat: Latencies::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_that_cannot_be_are_refused() {
        assert_eq!(pairs(&[], &[]), Ok(Buckets::default()));
        assert_eq!(pairs(&[3, 9], &[1, 2]), Ok(Buckets(vec![(3, 1), (9, 2)])));
        for (buckets, counts, what) in [
            (vec![1, 2], vec![1], "more of one"),
            (vec![2, 2], vec![1, 1], "ascend"),
            (vec![Buckets::LEN as u32], vec![1], "that there is not"),
            (vec![1, 2], vec![u64::MAX, 1], "more than a number"),
        ] {
            let refused = pairs(&buckets, &counts).unwrap_err();
            assert!(refused.contains(what), "{refused}");
        }
    }
}
