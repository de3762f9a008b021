//! Queues on simulated time: responses of the requests that arrive in a measure window.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Exp1};

use crate::law::Queue;

/// What one trial showed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trial {
    /// Arrivals in the window, from its begin.
    pub(crate) arrivals: Vec<f64>,
    /// Their responses, in order of arrival.
    pub(crate) responses: Vec<f64>,
}

/// The end of a service as an ordered number: times are positive, so their bits order like them.
type At = Reverse<u64>;

/// One trial: `warm_up` from an empty queue, then a window of `length`.
pub(crate) fn trial(queue: Queue, rate: f64, warm_up: f64, length: f64, seed: u64) -> Trial {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut exponential = move || -> f64 { Exp1.sample(&mut random) };
    let servers = queue.capacity() as usize;
    let mut free: BinaryHeap<At> = (0..servers).map(|_| Reverse(0.0_f64.to_bits())).collect();
    let mut trial = Trial::default();
    let mut now = 0.0;
    loop {
        now += exponential() / rate;
        if now >= warm_up + length {
            return trial;
        }
        let service = match queue {
            Queue::Exponential { .. } => exponential(),
            Queue::Constant => 1.0,
        };
        let mut first = free.peek_mut().expect("a queue has a server");
        let end = f64::from_bits(first.0).max(now) + service;
        *first = Reverse(end.to_bits());
        drop(first);
        if now >= warm_up {
            trial.arrivals.push(now - warm_up);
            trial.responses.push(end - now);
        }
    }
}

#[test]
fn the_simulation_follows_the_laws() {
    for (queue, rate, t) in [
        (Queue::Exponential { servers: 1 }, 0.6, 8.0),
        (Queue::Exponential { servers: 4 }, 2.6, 4.0),
        (Queue::Constant, 0.6, 4.0),
    ] {
        let seen = trial(queue, rate, 1e3, 2e6, 1).responses;
        let share = seen.iter().filter(|r| **r > t).count() as f64 / seen.len() as f64;
        let law = queue.tail(rate, t);
        assert!((share / law - 1.0).abs() < 0.05, "{queue:?}: {share} instead of {law}");
    }
}
