//! Threads that start each trial together, each on its own part of the arrays.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;

use crate::error::CeilingError;
use crate::kernel;

/// STREAM's values: a = 1, b = 2, c = 0, and the scalar 3. Here c is 1, so that a product shows.
const B: f64 = 2.0;
const C: f64 = 1.0;
const SCALAR: f64 = 3.0;

/// Times of one thread, ns of its clock: begin and end of each trial.
#[derive(Debug, Default)]
pub(crate) struct Times {
    pub(crate) triad: Vec<(u64, u64)>,
    pub(crate) read: Vec<(u64, u64)>,
}

/// Runs all trials on `threads` threads with three arrays of `length` numbers for each.
///
/// A thread writes its part first, so that its pages lie near it (first touch), and does one triad
/// that does not count.
pub(crate) fn run(
    threads: usize,
    length: usize,
    trials: u32,
    now: &(impl Fn() -> u64 + Sync),
) -> Result<Vec<Times>, CeilingError> {
    let barrier = &Barrier::new(threads);
    // Threads wait here until all have started: one that does not must not leave the others waiting.
    let (go, wait): (Vec<_>, Vec<_>) =
        (0..threads).map(|_| std::sync::mpsc::sync_channel::<()>(1)).unzip();
    thread::scope(move |scope| {
        let go = go;
        let mut running = Vec::with_capacity(threads);
        for wait in wait {
            let part = move || {
                if wait.recv().is_err() {
                    return Ok(Times::default());
                }
                part(length, trials, barrier, now)
            };
            let started = thread::Builder::new().name("bandwidth".to_owned());
            // On an error the channels are dropped, and the threads that did start end.
            let started = started.spawn_scoped(scope, part);
            running.push(started.map_err(|source| CeilingError::Thread { source })?);
        }
        for go in &go {
            // A thread that is not there to hear it cannot be: it waits for this.
            let _ = go.send(());
        }
        let join = |thread: thread::ScopedJoinHandle<'_, Result<Times, CeilingError>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        running.into_iter().map(join).collect()
    })
}

/// What one thread does. All threads meet at each barrier, whatever fails in one of them.
fn part(
    length: usize,
    trials: u32,
    barrier: &Barrier,
    now: &impl Fn() -> u64,
) -> Result<Times, CeilingError> {
    let arrays = [1.0, B, C].map(|value| filled(length, value));
    let [mut a, b, c] = match arrays {
        [Some(a), Some(b), Some(c)] => [a, b, c],
        // Empty arrays go through the same barriers.
        _ => [const { Vec::new() }; 3],
    };
    let mut times = Times::default();
    // The first one is the warm-up.
    for trial in 0..=trials {
        barrier.wait();
        let begin = now();
        kernel::triad(black_box(&mut a), black_box(&b), black_box(&c), black_box(SCALAR));
        black_box(&mut a);
        let end = now();
        if trial > 0 {
            times.triad.push((begin, end));
        }
    }
    let mut sum = 0.0;
    for _ in 0..trials {
        barrier.wait();
        let begin = now();
        sum = kernel::sum([black_box(&a), black_box(&b), black_box(&c)]);
        black_box(sum);
        let end = now();
        times.read.push((begin, end));
    }
    if a.is_empty() {
        return Err(CeilingError::Allocate { bytes: 3 * 8 * length as u64 });
    }
    let expected = length as f64 * ((B + SCALAR * C) + B + C);
    if sum == expected { Ok(times) } else { Err(CeilingError::Wrong { found: sum, expected }) }
}

/// An array that this thread has written, or none where there is no memory.
fn filled(length: usize, value: f64) -> Option<Vec<f64>> {
    let mut array = Vec::new();
    array.try_reserve_exact(length).ok()?;
    array.resize(length, value);
    Some(array)
}
