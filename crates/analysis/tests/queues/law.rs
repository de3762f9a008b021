//! Exact laws of the response time of queues, and the load at which its 99th percentile reaches a
//! limit. Time is in mean service times.

/// A queue with Poisson arrivals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Queue {
    /// Exponential service, this many servers.
    Exponential { servers: usize },
    /// One server, every service equally long.
    Constant,
}

impl Queue {
    /// Rate at which it no longer keeps up.
    pub(crate) fn capacity(self) -> f64 {
        match self {
            Self::Exponential { servers } => servers as f64,
            Self::Constant => 1.0,
        }
    }

    /// P(response > t) at an arrival rate under the capacity.
    pub(crate) fn tail(self, rate: f64, t: f64) -> f64 {
        match self {
            Self::Exponential { servers: 1 } => (-(1.0 - rate) * t).exp(),
            Self::Exponential { servers } => exponential_tail(servers, rate, t),
            Self::Constant => 1.0 - constant_wait(rate, t - 1.0),
        }
    }

    /// The rate at which a share of 1 % of the responses exceeds `limit`.
    pub(crate) fn line(self, limit: f64) -> f64 {
        let (mut low, mut high) = (0.0, self.capacity());
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if self.tail(middle, limit) <= 0.01 {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Longest time constant with which the queue forgets its state (J. W. Cohen, *The Single Server
    /// Queue*, 1982): 1 / (√capacity − √rate)² with exponential service; less with constant service.
    pub(crate) fn relaxation(self, rate: f64) -> f64 {
        (self.capacity().sqrt() - rate.sqrt()).powi(-2)
    }
}

/// Probability of having to wait with `servers` at an offered load of `rate`: Erlang's C formula, by
/// the recurrence of his B formula.
pub(crate) fn erlang_c(servers: usize, rate: f64) -> f64 {
    let blocked = (1..=servers).fold(1.0, |b, k| rate * b / (k as f64 + rate * b));
    let load = rate / servers as f64;
    blocked / (1.0 - load * (1.0 - blocked))
}

/// M/M/c: the wait is 0 or, with Erlang's probability, exponential with rate c − λ; the service is
/// exponential with rate 1. Their sum has a hypoexponential tail.
fn exponential_tail(servers: usize, rate: f64, t: f64) -> f64 {
    let waits = erlang_c(servers, rate);
    let spare = servers as f64 - rate;
    let both = if (spare - 1.0).abs() < 1e-6 {
        (1.0 + t) * (-t).exp()
    } else {
        (spare * (-t).exp() - (-spare * t).exp()) / (spare - 1.0)
    };
    (1.0 - waits) * (-t).exp() + waits * both
}

/// M/D/1: P(wait ≤ t) by Erlang's series (A. K. Erlang, 1909). Its terms alternate; at the limits
/// used here they stay under 1e5, so that ten digits are left.
fn constant_wait(rate: f64, t: f64) -> f64 {
    if t < 0.0 {
        return 0.0;
    }
    let term = |k: usize| {
        let x = rate * (t - k as f64);
        let power = (1..=k).fold(1.0, |p, i| p * -x / i as f64);
        power * x.exp()
    };
    (1.0 - rate) * (0..=t as usize).map(term).sum::<f64>()
}

#[test]
fn the_single_server_is_a_case_of_several() {
    let queue = Queue::Exponential { servers: 1 };
    for (rate, t) in [(0.3, 1.0), (0.7, 5.0), (0.7, 15.0)] {
        let several = exponential_tail(1, rate, t);
        assert!((several - queue.tail(rate, t)).abs() < 1e-12, "{several}");
    }
    // λ* = μ − ln 100 / limit.
    assert!((queue.line(15.0) - (1.0 - 100.0_f64.ln() / 15.0)).abs() < 1e-9);
}

#[test]
fn erlangs_probability_is_that_of_the_tables() {
    // Two servers at 1 Erlang: 1/3. Ten servers at 8 Erlang: 0.4092.
    assert!((erlang_c(2, 1.0) - 1.0 / 3.0).abs() < 1e-12);
    assert!((erlang_c(10, 8.0) - 0.4092).abs() < 5e-5);
}

#[test]
fn mean_responses_are_the_known_ones() {
    // The mean is the integral of the tail: C/(c − λ) + 1; ρ/(2(1 − ρ)) + 1.
    let mean = |queue: Queue, rate: f64, until: f64| {
        let step = 0.001;
        let middles = (0..(until / step) as usize).map(|i| (i as f64 + 0.5) * step);
        middles.map(|t| queue.tail(rate, t) * step).sum::<f64>()
    };
    let four = Queue::Exponential { servers: 4 };
    let known = erlang_c(4, 2.8) / 1.2 + 1.0;
    assert!((mean(four, 2.8, 40.0) - known).abs() < 1e-5);
    let known = 0.6 / (2.0 * 0.4) + 1.0;
    assert!((mean(Queue::Constant, 0.6, 20.0) - known).abs() < 1e-4);
}
