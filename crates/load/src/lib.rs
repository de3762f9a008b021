//! Load control without IO: which operation is due when, how many may be in flight, when a trial
//! is over. Pure values and a state machine that is told the time; it knows nothing of sockets,
//! HTTP or tokens.
//!
//! A trial is described by one [`TrialLoad`] and has one [`Shared`]; each thread that carries it (a
//! *reactor*) drives one [`Control`]:
//!
//! ```text
//! loop {
//!     match control.next(now) {
//!         Start(op)       => send it                       (phase: shared.phase_of(op), at its end)
//!         Drop(op, why)   => record it as dropped
//!         WaitUntil(t)    => poll the sockets until t, or until something ends
//!         WaitForEnd      => poll the sockets until something ends      (both: POLL_NS at most)
//!         Done            => cancel what is still in flight, and leave
//!     }
//!     for each operation that is over: control.ended(op, when, ok)
//! }
//! ```
//!
//! Every clock value is u64 ns from the run's origin.

mod arrivals;
mod closed;
mod control;
mod open;
mod shared;
mod trial;

pub use arrivals::{Arrivals, arrivals};
pub use control::{Control, Op, POLL_NS, Step};
pub use shared::{Counts, Shared};
pub use trial::TrialLoad;
