//! Threads that begin at the same moment, as the ranks of a job do.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::TrialError;

/// How often the caller's `meanwhile` runs.
const BEAT: Duration = Duration::from_millis(200);

/// Holds threads back until all of them are there.
#[derive(Default)]
struct Gate {
    state: Mutex<(u32, Option<bool>)>,
    changed: Condvar,
}

impl Gate {
    /// Waits for the gate; `false` where it will never open.
    fn pass(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 += 1;
        self.changed.notify_all();
        loop {
            if let Some(open) = state.1 {
                return open;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn open_for(&self, threads: u32) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.0 < threads {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.1 = Some(true);
        self.changed.notify_all();
    }

    fn never_open(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(false);
        self.changed.notify_all();
    }
}

/// Runs `work` with 0, 1, … in threads that begin together; calls `meanwhile` now and then until all
/// have ended. The results are in order.
///
/// # Errors
/// The system gives no more threads; nothing was run then.
pub(crate) fn at_once<T: Send>(
    threads: u32,
    work: impl Fn(u32) -> T + Sync,
    mut meanwhile: impl FnMut(),
) -> Result<Vec<T>, TrialError> {
    let gate = Gate::default();
    let (alive, ends) = sync_channel::<()>(1);
    thread::scope(|scope| {
        let mut started = Vec::new();
        for n in 0..threads {
            let (gate, work, alive) = (&gate, &work, alive.clone());
            let run = move || {
                let result = gate.pass().then(|| work(n));
                drop(alive);
                result
            };
            match thread::Builder::new().spawn_scoped(scope, run) {
                Ok(thread) => started.push(thread),
                Err(error) => {
                    gate.never_open();
                    let message = format!(
                        "cannot start thread {} of {threads}: {error}; use fewer ranks or readers, \
                         or raise the limit of processes (ulimit -u)",
                        n + 1
                    );
                    return Err(TrialError { message });
                }
            }
        }
        drop(alive);
        gate.open_for(threads);
        // Nothing is ever sent: the channel ends when the last thread drops its side.
        while ends.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
            meanwhile();
        }
        let ended = started.into_iter().map(|thread| match thread.join() {
            Ok(result) => result.expect("invariant: the gate was opened"),
            Err(panic) => std::panic::resume_unwind(panic),
        });
        Ok(ended.collect())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn all_are_there_before_one_begins() {
        let alive = AtomicU32::new(0);
        // Each waits for all others: this ends only where they run at the same time.
        let work = |n: u32| {
            alive.fetch_add(1, Ordering::SeqCst);
            while alive.load(Ordering::SeqCst) < 8 {
                thread::yield_now();
            }
            n * 10
        };
        let results = at_once(8, work, || {}).expect("threads");
        assert_eq!(results, [0, 10, 20, 30, 40, 50, 60, 70]);
    }
}
