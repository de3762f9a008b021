//! Holds threads back until all can begin together.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A gate through which every thread takes the same thing, or none.
#[derive(Debug)]
pub(crate) struct Gate<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    /// Threads that came to it.
    there: usize,
    stands: Stands<T>,
}

/// How a gate stands.
#[derive(Debug, Clone, Copy)]
enum Stands<T> {
    Shut,
    /// All get this.
    Open(T),
    /// All are sent away.
    Closed,
}

impl<T: Copy> Gate<T> {
    /// A gate that is shut.
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State { there: 0, stands: Stands::Shut }),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it opens; `None`: nothing begins.
    pub(crate) fn pass(&self) -> Option<T> {
        let mut state = self.state();
        state.there += 1;
        self.changed.notify_all();
        loop {
            match state.stands {
                Stands::Open(with) => return Some(with),
                Stands::Closed => return None,
                Stands::Shut => {}
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until so many threads are at it.
    pub(crate) fn wait_for(&self, threads: usize) {
        let mut state = self.state();
        while state.there < threads {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets all through, or with `None` sends them away.
    pub(crate) fn open(&self, with: Option<T>) {
        self.state().stands = with.map_or(Stands::Closed, Stands::Open);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_get_what_it_opens_with() {
        for with in [Some(7), None] {
            let gate = Gate::new();
            let got = std::thread::scope(|scope| {
                let threads = [(); 4].map(|()| scope.spawn(|| gate.pass()));
                gate.wait_for(4);
                gate.open(with);
                threads.map(|thread| thread.join().expect("it ends"))
            });
            assert_eq!(got, [with; 4]);
        }
    }
}
