//! Memory bandwidth, as STREAM's triad measures it and by reading alone.

use rustix::time::{ClockId, clock_gettime};

use crate::error::CeilingError;
use crate::machine::Machine;
use crate::team::{self, Times};

/// Least numbers in one thread's array: below that a trial is shorter than starting it.
const LEAST_LENGTH: usize = 4096;

/// Most threads.
const MOST_THREADS: usize = 4096;

/// Bytes of a number.
const NUMBER: u64 = size_of::<f64>() as u64;

/// Memory bandwidth as measured, one value for each trial.
///
/// STREAM reports the best trial (<https://www.cs.virginia.edu/stream/ref.html>); the median tells
/// how far from it the machine usually is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MemoryBandwidth {
    /// Threads.
    pub threads: usize,
    /// All three arrays of all threads together, bytes.
    pub working_set_bytes: u64,
    /// Triad `a[i] = b[i] + s·c[i]`, bytes/s. Bytes are counted as STREAM counts them: two arrays
    /// read and one written, 3 × 8 per element. The processor may read the lines of `a` before it
    /// writes them (write-allocate), which moves a third more that is not counted (McCalpin, STREAM
    /// reference information, "Counting Bytes and FLOPS").
    pub triad_bytes_per_s: Vec<f64>,
    /// Sum over the three arrays, bytes/s: memory is only read, as weights are in a decode step.
    pub read_bytes_per_s: Vec<f64>,
    /// Time of each triad, ns: from the first thread's begin to the last thread's end.
    pub triad_ns: Vec<u64>,
    /// Time of each sum, ns.
    pub read_ns: Vec<u64>,
}

impl MemoryBandwidth {
    /// Best triad, bytes/s.
    pub fn best_triad_bytes_per_s(&self) -> Option<f64> {
        best(&self.triad_bytes_per_s)
    }

    /// Median triad, bytes/s.
    pub fn median_triad_bytes_per_s(&self) -> Option<f64> {
        median(&self.triad_bytes_per_s)
    }

    /// Best sum, bytes/s.
    pub fn best_read_bytes_per_s(&self) -> Option<f64> {
        best(&self.read_bytes_per_s)
    }

    /// Median sum, bytes/s.
    pub fn median_read_bytes_per_s(&self) -> Option<f64> {
        median(&self.read_bytes_per_s)
    }
}

/// Measures on this machine: one triad that does not count, `trials` triads, then as many sums. The threads start each trial together; each has its own part of the arrays, which it was
/// the first to write. Threads are not bound to processors.
///
/// `working_set_bytes` is the size of all arrays together; take [`Machine::working_set_bytes`], or
/// less to measure a cache. It is rounded down to whole elements for each thread.
///
/// # Errors
/// No thread, no trial, arrays that are tiny or larger than a quarter of the available memory.
pub fn memory_bandwidth(
    threads: usize,
    working_set_bytes: u64,
    trials: u32,
) -> Result<MemoryBandwidth, CeilingError> {
    memory_bandwidth_on(&Machine::default(), threads, working_set_bytes, trials)
}

/// As [`memory_bandwidth`], with the available memory that another tree of files tells.
///
/// # Errors
/// As [`memory_bandwidth`].
pub fn memory_bandwidth_on(
    machine: &Machine,
    threads: usize,
    working_set_bytes: u64,
    trials: u32,
) -> Result<MemoryBandwidth, CeilingError> {
    for (setting, is_zero) in [("threads", threads == 0), ("trials", trials == 0)] {
        if is_zero {
            return Err(CeilingError::Zero { setting });
        }
    }
    if threads > MOST_THREADS {
        return Err(CeilingError::TooManyThreads { threads, most: MOST_THREADS });
    }
    let asked = working_set_bytes;
    let element = 3 * NUMBER * threads as u64;
    let least = element * LEAST_LENGTH as u64;
    if asked < least {
        return Err(CeilingError::TooSmall { asked, threads, least });
    }
    let available = machine.available_bytes()?;
    if asked > available / 4 {
        return Err(CeilingError::TooLittleMemory { asked, available });
    }
    let length = (asked / element) as usize;
    let times = team::run(threads, length, trials, &monotonic_ns)?;
    Ok(of_times(&times, element * length as u64))
}

/// Bandwidths from the times of all threads.
fn of_times(times: &[Times], bytes: u64) -> MemoryBandwidth {
    let triad_ns = spans(times, |times| &times.triad);
    let read_ns = spans(times, |times| &times.read);
    let rates = |ns: &[u64]| ns.iter().map(|ns| bytes as f64 * 1e9 / *ns as f64).collect();
    MemoryBandwidth {
        threads: times.len(),
        working_set_bytes: bytes,
        triad_bytes_per_s: rates(&triad_ns),
        read_bytes_per_s: rates(&read_ns),
        triad_ns,
        read_ns,
    }
}

/// For each trial: from the first thread's begin to the last thread's end, ns, at least 1.
fn spans(times: &[Times], of: impl Fn(&Times) -> &Vec<(u64, u64)>) -> Vec<u64> {
    let trials = times.iter().map(|times| of(times).len()).min().unwrap_or(0);
    let span = |trial: usize| {
        let here = || times.iter().map(|times| of(times)[trial]);
        let begin = here().map(|(begin, _)| begin).min().unwrap_or(0);
        let end = here().map(|(_, end)| end).max().unwrap_or(0);
        end.saturating_sub(begin).max(1)
    };
    (0..trials).map(span).collect()
}

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn best(values: &[f64]) -> Option<f64> {
    values.iter().copied().reduce(f64::max)
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn no_threads_and_no_trials_are_refused() {
        let error = memory_bandwidth(0, 64 * MIB, 3).unwrap_err();
        assert_eq!(error.to_string(), "threads is 0; ask for at least one");
        let error = memory_bandwidth(1, 64 * MIB, 0).unwrap_err();
        assert_eq!(error.to_string(), "trials is 0; ask for at least one");
    }

    #[test]
    fn more_than_a_quarter_of_the_memory_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("meminfo"), "MemAvailable: 131072 kB\n").unwrap();
        let machine = Machine { proc: root.path().to_owned(), ..Machine::default() };
        let error = memory_bandwidth_on(&machine, 1, 33 * MIB, 1).unwrap_err();
        assert!(error.to_string().starts_with("34603008 bytes of arrays are more than a quarter"));
        assert!(memory_bandwidth_on(&machine, 1, 16 * MIB, 1).is_ok());
    }

    #[test]
    fn tiny_arrays_and_absurd_threads_are_refused() {
        let error = memory_bandwidth(2, 100, 1).unwrap_err();
        assert!(matches!(error, CeilingError::TooSmall { least: 196_608, .. }), "{error}");
        let error = memory_bandwidth(1 << 20, u64::MAX, 1).unwrap_err();
        assert!(matches!(error, CeilingError::TooManyThreads { .. }), "{error}");
    }

    #[test]
    fn every_trial_has_a_rate() {
        let measured = memory_bandwidth(2, 8 * MIB, 3).unwrap();
        assert_eq!(measured.threads, 2);
        assert!(measured.working_set_bytes <= 8 * MIB);
        assert!(measured.working_set_bytes > 7 * MIB);
        for rates in [&measured.triad_bytes_per_s, &measured.read_bytes_per_s] {
            assert_eq!(rates.len(), 3);
            assert!(rates.iter().all(|rate| rate.is_finite() && *rate > 0.0));
        }
        assert!(measured.best_triad_bytes_per_s() >= measured.median_triad_bytes_per_s());
    }

    #[test]
    fn a_trial_lasts_from_the_first_begin_to_the_last_end() {
        let part =
            |triad: (u64, u64), read: (u64, u64)| Times { triad: vec![triad], read: vec![read] };
        let times = [part((100, 300), (400, 500)), part((150, 350), (420, 480))];
        let measured = of_times(&times, 1000);
        assert_eq!((measured.triad_ns, measured.read_ns), (vec![250], vec![100]));
        assert_eq!(measured.triad_bytes_per_s, [4e9]);
    }

    #[test]
    fn medians_of_even_and_odd_numbers_of_trials() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
