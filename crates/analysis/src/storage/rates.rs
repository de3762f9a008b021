//! Bandwidth and I/Os per second: of each trial over the time from its first I/O to its last, of a
//! cell as the mean over trials.

use std::collections::BTreeMap;

use loadline_schema::document::Estimate;
use loadline_schema::storage::{Direction, DirectionResult, IoInterval, StorageResult};

use super::{Cell, NS_PER_S, Trial, latency, timeline};
use crate::student::{mean_interval, t_quantile};

/// Seconds from which on a single trial has an interval.
const LEAST_SECONDS: usize = 10;
/// Fewest batches that it is taken from.
const LEAST_BATCHES: usize = 5;

/// What a trial did in one direction, or in both.
#[derive(Debug, Clone, Copy, Default)]
struct Work {
    bytes: u64,
    ios: u64,
}

pub(super) fn fill(cell: &Cell<'_>, result: &mut StorageResult) {
    let worked: Vec<(&Trial<'_>, f64)> =
        cell.trials.iter().filter_map(|trial| Some((trial, elapsed_s(trial)?))).collect();
    result.trials = worked.len() as u32;
    result.bytes_per_s = estimate(&worked, &both, |work| work.bytes, timeline::bytes_of);
    result.iops = estimate(&worked, &both, |work| work.ios, |row| row.ios);
    for direction in Direction::ALL {
        let of = |trial: &Trial<'_>| work(trial, *direction);
        if worked.iter().all(|(trial, _)| of(trial).ios == 0) {
            continue;
        }
        let bytes = |row: &IoInterval| of_direction(row, *direction, row.bytes);
        let ios = |row: &IoInterval| of_direction(row, *direction, row.ios);
        let Some(iops) = estimate(&worked, &of, |work| work.ios, ios) else { continue };
        let bytes_per_s = estimate(&worked, &of, |work| work.bytes, bytes);
        let bytes_per_s = bytes_per_s.filter(|_| *direction != Direction::Sync);
        let rates =
            DirectionResult { bytes_per_s, iops, slat_ns: None, clat_ns: None, lat_ns: None };
        result.directions.insert(direction.to_string(), rates);
    }
    let complete = worked.iter().filter(|(trial, _)| trial.is_complete());
    result.per_trial = complete.map(|(trial, s)| figures(trial, *s)).collect();
    let ios: u64 = worked.iter().map(|(trial, _)| both(trial).ios).sum();
    let cpu = worked.iter().map(|(t, _)| t.end.cpu_user_ns.saturating_add(t.end.cpu_system_ns));
    let cpu: u64 = cpu.fold(0, u64::saturating_add);
    result.cpu_ns_per_io = (ios > 0 && cpu > 0).then(|| cpu as f64 / ios as f64);
}

/// Figures of one trial by metric.
fn figures(trial: &Trial<'_>, elapsed_s: f64) -> BTreeMap<String, f64> {
    let work = both(trial);
    let mut figures = BTreeMap::from([
        ("bytes_per_s".to_owned(), work.bytes as f64 / elapsed_s),
        ("iops".to_owned(), work.ios as f64 / elapsed_s),
    ]);
    let clat = latency::pooled(
        trial.rows.iter().copied().filter(|row| row.direction != Direction::Sync),
        |row| &row.clat,
    );
    if let Some(p99) = clat.and_then(|latency| latency.p99) {
        figures.insert("clat_p99".to_owned(), p99 as f64);
    }
    figures
}

/// Time from the first I/O of any worker to the end of the last one, s. Of a trial whose workers
/// left nothing, since their process was killed, the measured part; `None` where nothing was done.
pub(super) fn elapsed_s(trial: &Trial<'_>) -> Option<f64> {
    if both(trial).ios == 0 {
        return None;
    }
    let end = trial.end;
    let worked: Vec<_> =
        end.workers.iter().filter(|w| w.read_ios + w.write_ios + w.sync_ios > 0).collect();
    let first = worked.iter().map(|worker| worker.first_ns).min().unwrap_or(end.measure_ns);
    let last = worked.iter().map(|worker| worker.last_ns).max().unwrap_or(end.end_ns);
    let ns = last.saturating_sub(first);
    (ns > 0).then(|| ns as f64 / NS_PER_S)
}

/// Reads and writes of a trial.
fn both(trial: &Trial<'_>) -> Work {
    let (read, write) = (work(trial, Direction::Read), work(trial, Direction::Write));
    Work { bytes: read.bytes + write.bytes, ios: read.ios + write.ios }
}

fn work(trial: &Trial<'_>, direction: Direction) -> Work {
    let workers = &trial.end.workers;
    if workers.iter().any(|w| w.read_ios + w.write_ios > 0) {
        let of = workers.iter().map(|worker| match direction {
            Direction::Read => (worker.read_bytes, worker.read_ios),
            Direction::Write => (worker.write_bytes, worker.write_ios),
            Direction::Sync => (0, worker.sync_ios),
        });
        return of.fold(Work::default(), |sum, (bytes, ios)| Work {
            bytes: sum.bytes + bytes,
            ios: sum.ios + ios,
        });
    }
    let mine = trial.rows.iter().filter(|row| row.direction == direction);
    mine.fold(Work::default(), |sum, row| Work {
        bytes: sum.bytes + row.bytes,
        ios: sum.ios + row.ios,
    })
}

fn of_direction(row: &IoInterval, direction: Direction, n: u64) -> u64 {
    if row.direction == direction { n } else { 0 }
}

/// Mean over trials with its t-interval. Of a single trial the interval is that of its seconds.
fn estimate(
    trials: &[(&Trial<'_>, f64)],
    work: &dyn Fn(&Trial<'_>) -> Work,
    amount: impl Fn(Work) -> u64,
    of_row: impl Fn(&IoInterval) -> u64,
) -> Option<Estimate> {
    let rates: Vec<f64> = trials.iter().map(|(t, s)| amount(work(t)) as f64 / s).collect();
    if let [(trial, _)] = trials {
        let seconds: Vec<f64> =
            timeline::seconds(trial, of_row).into_iter().map(|n| n as f64).collect();
        return Some(alone(rates[0], &seconds));
    }
    mean(&rates)
}

/// Mean with its t-interval, which ends at 0.
pub(super) fn mean(values: &[f64]) -> Option<Estimate> {
    let (value, half) = mean_interval(values)?;
    let bounds = half.map(|half| ((value - half).max(0.0), value + half));
    let n = values.len() as u64;
    Some(Estimate { value, low: bounds.map(|b| b.0), high: bounds.map(|b| b.1), n })
}

/// A trial by itself: the relative half width of the mean of its seconds, by batch means. Seconds
/// hang together (a cache that fills, a server that flushes); means of long batches hardly do, so
/// that their spread has the memory of the series in it.
pub(super) fn alone(value: f64, seconds: &[f64]) -> Estimate {
    let half = batch_half_width(seconds).map(|share| share * value);
    let (low, high) = (half.map(|h| (value - h).max(0.0)), half.map(|h| value + h));
    Estimate { value, low, high, n: 1 }
}

/// 95 % half width of the mean ÷ mean, from ⌊√n⌋ batches (at least 5) of neighbours (G. S. Fishman,
/// *Management Science* 24 (1978) 510: nonoverlapping batch means); `None` under 10 values.
fn batch_half_width(seconds: &[f64]) -> Option<f64> {
    let n = seconds.len();
    if n < LEAST_SECONDS {
        return None;
    }
    let count = (n as f64).sqrt().floor().max(LEAST_BATCHES as f64) as usize;
    let batches = (0..count).map(|i| &seconds[i * n / count..(i + 1) * n / count]);
    let means: Vec<f64> =
        batches.map(|batch| batch.iter().sum::<f64>() / batch.len() as f64).collect();
    let mean = means.iter().sum::<f64>() / count as f64;
    let squares: f64 = means.iter().map(|m| (m - mean).powi(2)).sum();
    let df = count as f64 - 1.0;
    (mean > 0.0).then(|| t_quantile(0.025, df) * (squares / df / count as f64).sqrt() / mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_means_by_hand() {
        // Batches of two: 10, 20, 30, 40, 50. Mean 30, s = 15.811, t(4) = 2.7764: 19.63 of 30.
        let seconds = [9.0, 11.0, 20.0, 20.0, 25.0, 35.0, 40.0, 40.0, 50.0, 50.0];
        let found = alone(300.0, &seconds);
        let half = 2.776_445 * 15.811_388 / 5.0_f64.sqrt() / 30.0 * 300.0;
        assert!((found.high.expect("ten seconds") - 300.0 - half).abs() < 1e-3, "{found:?}");
        assert_eq!(found.n, 1);
        assert_eq!(alone(300.0, &seconds[..9]).low, None);
        assert_eq!(alone(0.0, &[0.0; 12]).low, None);
    }

    #[test]
    fn slow_waves_widen_the_interval() {
        let fast: Vec<f64> = (0..60).map(|i| if i % 2 == 0 { 90.0 } else { 110.0 }).collect();
        let slow: Vec<f64> = (0..60).map(|i| if i / 15 % 2 == 0 { 90.0 } else { 110.0 }).collect();
        let half = |seconds: &[f64]| alone(100.0, seconds).high.expect("long") - 100.0;
        assert!(half(&slow) > 5.0 * half(&fast), "{} {}", half(&slow), half(&fast));
    }
}
