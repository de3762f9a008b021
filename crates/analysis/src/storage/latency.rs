//! Latencies of I/Os: the buckets of all trials together, or what another tool states.

use loadline_schema::storage::{
    Direction, IoInterval, IoLatency, Latencies, PercentilesNs, StorageLoad, StorageResult,
};

use super::{Cell, warn};

/// Percentiles in ten-thousandths.
const PER_MYRIAD: u64 = 10_000;

/// A kind of latency: its name, and where it stands in a row.
type Kind = (&'static str, fn(&IoInterval) -> &Latencies);

const KINDS: [Kind; 3] =
    [("slat", |row| &row.slat), ("clat", |row| &row.clat), ("lat", |row| &row.lat)];

pub(super) fn fill(cell: &Cell<'_>, result: &mut StorageResult) {
    let imported: Vec<&[PercentilesNs]> = cell
        .trials
        .iter()
        .map(|trial| trial.end.imported.as_slice())
        .filter(|stated| !stated.is_empty())
        .collect();
    let of = |kind: Kind, wanted: &[Direction]| -> Option<IoLatency> {
        let rows = cell.trials.iter().flat_map(|trial| trial.rows.iter().copied());
        let buckets = pooled(rows.filter(|row| wanted.contains(&row.direction)), kind.1);
        buckets.or_else(|| stated(&imported, kind.0, wanted))
    };
    // Of a checkpoint those of its saves: a restore is another workload.
    let wanted = match &cell.planned.load {
        StorageLoad::Checkpoint(_) => &[Direction::Write][..],
        _ => &[Direction::Read, Direction::Write],
    };
    let [slat, clat, lat] = KINDS.map(|kind| of(kind, wanted));
    (result.slat_ns, result.clat_ns, result.lat_ns) = (slat, clat, lat);
    for direction in Direction::ALL {
        if let Some(found) = result.directions.get_mut(direction.as_str()) {
            let [slat, clat, lat] = KINDS.map(|kind| of(kind, &[*direction]));
            (found.slat_ns, found.clat_ns, found.lat_ns) = (slat, clat, lat);
        }
    }
    if imported.len() > 1 {
        let message = format!(
            "latency percentiles are medians of those that {} trials state",
            imported.len()
        );
        let advice = "percentiles cannot be pooled without the values behind them: read those of \
                      single trials, or import files with buckets (fio json+)";
        warn(result, "imported_percentiles", message, advice);
    }
}

/// The latencies of these rows together; `None` without any.
pub(super) fn pooled<'a>(
    rows: impl Iterator<Item = &'a IoInterval>,
    of: impl Fn(&IoInterval) -> &Latencies,
) -> Option<IoLatency> {
    let mut sum = Latencies::default();
    for row in rows {
        sum.add(of(row));
    }
    let n = sum.buckets.n();
    let percentile = |per_myriad: u64| {
        let is_told = n.saturating_mul(PER_MYRIAD - per_myriad) >= PER_MYRIAD;
        sum.percentile_ns(per_myriad as f64 / PER_MYRIAD as f64).filter(|_| is_told)
    };
    Some(IoLatency {
        n,
        mean: sum.mean_ns()?,
        min: sum.min_ns,
        p50: percentile(5_000),
        p90: percentile(9_000),
        p95: percentile(9_500),
        p99: percentile(9_900),
        p999: percentile(9_990),
        p9999: percentile(9_999),
        max: sum.max_ns,
    })
}

/// What another tool states: of one trial as it is, of several the median of each percentile.
/// Reads and writes stated apart cannot be put together.
fn stated(trials: &[&[PercentilesNs]], kind: &str, wanted: &[Direction]) -> Option<IoLatency> {
    let of_kind = trials
        .iter()
        .flat_map(|stated| stated.iter())
        .filter(|p| p.kind == kind && p.n > 0 && wanted.contains(&p.direction));
    let found: Vec<&PercentilesNs> = of_kind.collect();
    let first = found.first()?;
    if found.iter().any(|other| other.direction != first.direction) {
        return None;
    }
    let n: u64 = found.iter().map(|p| p.n).sum();
    let percentile = |percent: f64| {
        let values = found.iter().filter_map(|p| {
            let (_, ns) = p.percentiles.iter().find(|(at, _)| (at - percent).abs() < 1e-6)?;
            Some(*ns)
        });
        // One trial without it: the others would not be the median of all.
        median(values.collect()).filter(|(_, count)| *count == found.len()).map(|(ns, _)| ns)
    };
    Some(IoLatency {
        n,
        mean: found.iter().map(|p| p.mean * p.n as f64).sum::<f64>() / n as f64,
        min: found.iter().map(|p| p.min).min()?,
        p50: percentile(50.0),
        p90: percentile(90.0),
        p95: percentile(95.0),
        p99: percentile(99.0),
        p999: percentile(99.9),
        p9999: percentile(99.99),
        max: found.iter().map(|p| p.max).max()?,
    })
}

/// The median, of an even number the mean of both in the middle, and the number of values.
fn median(mut values: Vec<u64>) -> Option<(u64, usize)> {
    values.sort_unstable();
    let n = values.len();
    let (low, high) = (values.get(n.checked_sub(1)? / 2)?, values.get(n / 2)?);
    Some((u64::midpoint(*low, *high), n))
}
