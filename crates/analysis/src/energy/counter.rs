//! The energy of a window from a counter that the hardware keeps.

use loadline_schema::energy::{EnergyClass, EnergyFigure};

use super::{EnergyWindow, seconds};

/// Least number of the counter's steps in a window: fewer, and the unknown time since the last step
/// is more than a hundredth of it.
pub const COUNTER_STEPS: u64 = 100;

/// Share of a window that readings may leave open at its ends.
const OPEN_ENDS: f64 = 0.01;

/// A reading of a counter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CounterSample {
    /// When, ns.
    pub at_ns: u64,
    /// The counter, J.
    pub joules: f64,
}

/// What is known about a counter.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CounterRules {
    /// It begins anew at this value, J; absent: it never does, and going back is a fault.
    pub wraps_at_j: Option<f64>,
    /// The most power that it can have counted, W: readings further apart than a whole round of the
    /// counter at that power could hide one.
    pub most_watts: Option<f64>,
    /// Time between two steps, ns; absent: not measured, and taken as the mean time between two
    /// readings that differ, which is at least the counter's own.
    pub step_ns: Option<u64>,
}

/// The difference of the counter over a window, by readings in order of time. Between two readings
/// the energy is taken as spread evenly; the bounds are those of the whole readings' intervals inside
/// and around the window, and one step of the counter more.
///
/// # Errors
///
/// Where no two readings reach into the window.
pub fn counter_energy(
    samples: &[CounterSample],
    window: EnergyWindow,
    rules: CounterRules,
) -> Result<EnergyFigure, String> {
    let mut seen = Seen::default();
    for pair in samples.windows(2) {
        let [a, b] = pair else { continue };
        if let Some(part) = window.clip(a.at_ns, b.at_ns) {
            let joules = seen.step(a, b, rules);
            seen.add(a, b, part, joules);
        }
    }
    if seen.covered_ns == 0 {
        let found = samples.len();
        return Err(format!("no two readings of the counter lie in the window ({found} in all)"));
    }
    Ok(seen.figure(window, rules))
}

/// What the intervals between readings come to.
#[derive(Debug, Default)]
struct Seen {
    joules: f64,
    /// Of intervals that lie inside the window.
    inside: f64,
    /// Of intervals that reach into it.
    around: f64,
    covered_ns: u64,
    /// Of intervals that lie inside the window.
    inside_ns: u64,
    changes: u64,
    fault: Option<String>,
}

impl Seen {
    /// Joules from one reading to the next, over the end of the counter where it begins anew.
    fn step(&mut self, a: &CounterSample, b: &CounterSample, rules: CounterRules) -> f64 {
        let difference = b.joules - a.joules;
        let time = seconds(b.at_ns.saturating_sub(a.at_ns));
        if let (Some(round), Some(most)) = (rules.wraps_at_j, rules.most_watts)
            && most * time >= round
        {
            self.fault(format!(
                "two readings are {time:.0} s apart, in which the counter may have begun anew unseen"
            ));
        }
        if difference >= 0.0 {
            return difference;
        }
        match rules.wraps_at_j {
            Some(round) if round > 0.0 && difference + round >= 0.0 => difference + round,
            _ => {
                self.fault("the counter went back: its driver was loaded anew".to_owned());
                0.0
            }
        }
    }

    fn fault(&mut self, reason: String) {
        self.fault.get_or_insert(reason);
    }

    fn add(&mut self, a: &CounterSample, b: &CounterSample, part: EnergyWindow, joules: f64) {
        let whole = b.at_ns - a.at_ns;
        self.joules += joules * (part.ns() as f64 / whole as f64);
        self.around += joules;
        if part.ns() == whole {
            self.inside += joules;
            self.inside_ns += whole;
        }
        self.covered_ns += part.ns();
        self.changes += u64::from(joules > 0.0);
    }

    fn figure(self, window: EnergyWindow, rules: CounterRules) -> EnergyFigure {
        let open_ns = window.ns().saturating_sub(self.covered_ns);
        let watts = self.joules / seconds(self.covered_ns);
        let open = watts * seconds(open_ns);
        let step_ns = rules.step_ns.unwrap_or_else(|| self.covered_ns / self.changes.max(1));
        let step = watts * seconds(step_ns);
        let reason = self.fault.or_else(|| {
            if open_ns as f64 > OPEN_ENDS * window.ns() as f64 {
                let (open, all) = (seconds(open_ns), seconds(window.ns()));
                Some(format!("the counter was not read during {open:.1} of {all:.1} s"))
            } else if 2 * self.inside_ns < window.ns() {
                let all = seconds(window.ns());
                Some(format!(
                    "the counter was read too seldom: most of the {all:.1} s lies between a reading \
                     inside and one outside of them"
                ))
            } else if step_ns.saturating_mul(COUNTER_STEPS) > window.ns() {
                let (all, step) = (seconds(window.ns()), seconds(step_ns));
                let need = seconds(step_ns.saturating_mul(COUNTER_STEPS));
                let how = if rules.step_ns.is_some() {
                    format!("the counter steps each {step:.3} s")
                } else {
                    // Between two looks it may have stepped often: their distance is all there is.
                    format!(
                        "how often the counter steps is not known, but each {step:.3} s at least"
                    )
                };
                Some(format!(
                    "{all:.1} s are too short: {how}, and {COUNTER_STEPS} steps ({need:.1} s) are \
                     needed"
                ))
            } else {
                None
            }
        });
        EnergyFigure {
            joules: self.joules + open,
            low: Some((self.inside - step).max(0.0)),
            high: Some(self.around + step + 2.0 * open),
            class: EnergyClass::Counter,
            over_ns: window.ns(),
            valid: reason.is_none(),
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: u64 = 1_000_000_000;

    /// A counter of constant power that steps each 100 ms, read each 100 ms.
    fn steady(watts: f64, tenths: u64, from_j: f64, wraps_at: f64) -> Vec<CounterSample> {
        (0..=tenths)
            .map(|at| CounterSample {
                at_ns: at * S / 10,
                joules: (from_j + watts * at as f64 / 10.0) % wraps_at,
            })
            .collect()
    }

    #[test]
    fn the_difference_over_a_window_inside() {
        let samples = steady(300.0, 200, 5e6, f64::INFINITY);
        let window = EnergyWindow { from_ns: 2 * S + 30_000_000, to_ns: 15 * S + 70_000_000 };
        let figure = counter_energy(&samples, window, CounterRules::default()).expect("a figure");
        assert!(figure.valid, "{:?}", figure.reason);
        assert!((figure.joules - 300.0 * 13.04).abs() < 1e-6, "{}", figure.joules);
        let (low, high) = (figure.low.expect("low"), figure.high.expect("high"));
        assert!(low < figure.joules && figure.joules < high && high - low < 0.05 * figure.joules);
    }

    #[test]
    fn a_window_of_fewer_than_100_steps_is_not_valid() {
        let samples = steady(300.0, 200, 0.0, f64::INFINITY);
        let window = EnergyWindow { from_ns: 0, to_ns: 9 * S };
        let figure = counter_energy(&samples, window, CounterRules::default()).expect("a figure");
        assert!(!figure.valid);
        assert!(
            figure.reason.is_some_and(|why| why.contains("not known") && why.contains("100 steps"))
        );
        let quick = CounterRules { step_ns: Some(20_000_000), ..CounterRules::default() };
        assert!(counter_energy(&samples, window, quick).expect("a figure").valid);
        let long = EnergyWindow { from_ns: 0, to_ns: 10 * S };
        assert!(counter_energy(&samples, long, CounterRules::default()).expect("ok").valid);
    }

    #[test]
    fn a_counter_that_begins_anew() {
        let rules = CounterRules {
            wraps_at_j: Some(1_000.0),
            most_watts: Some(2_000.0),
            step_ns: Some(1_000_000),
        };
        let samples = steady(300.0, 200, 900.0, 1_000.0);
        let window = EnergyWindow { from_ns: 0, to_ns: 20 * S };
        let figure = counter_energy(&samples, window, rules).expect("a figure");
        assert!((figure.joules - 6_000.0).abs() < 1e-6 && figure.valid, "{figure:?}");
        // Without knowing where it ends, going back is a fault.
        let unknown = CounterRules { step_ns: Some(1_000_000), ..CounterRules::default() };
        let figure = counter_energy(&samples, window, unknown).expect("a figure");
        assert!(!figure.valid && figure.reason.is_some_and(|why| why.contains("went back")));
        // Readings that are too far apart could hide a whole round.
        let sparse: Vec<_> = samples.iter().step_by(50).copied().collect();
        let figure = counter_energy(&sparse, window, rules).expect("a figure");
        assert!(!figure.valid && figure.reason.is_some_and(|why| why.contains("unseen")));
    }

    #[test]
    fn open_ends_and_no_readings_are_said() {
        let samples = steady(300.0, 100, 0.0, f64::INFINITY);
        let window = EnergyWindow { from_ns: 0, to_ns: 20 * S };
        let figure = counter_energy(&samples, window, CounterRules::default()).expect("a figure");
        assert!(!figure.valid && figure.reason.is_some_and(|why| why.contains("not read")));
        let later = EnergyWindow { from_ns: 30 * S, to_ns: 40 * S };
        assert!(counter_energy(&samples, later, CounterRules::default()).is_err());
        assert!(counter_energy(&[], window, CounterRules::default()).is_err());
    }

    proptest! {
        #[test]
        fn the_truth_lies_inside_the_bounds(
            watts in proptest::collection::vec(0.0_f64..700.0, 150..250),
            from in 0_u64..3_000_000_000, length in 11_000_000_000_u64..14_000_000_000,
        ) {
            // Power changes each 100 ms, the counter steps each 100 ms.
            let mut joules = 0.0;
            let mut samples = vec![CounterSample { at_ns: 0, joules }];
            for (at, power) in watts.iter().enumerate() {
                joules += power / 10.0;
                samples.push(CounterSample { at_ns: (at as u64 + 1) * S / 10, joules });
            }
            let to = (from + length).min(watts.len() as u64 * S / 10);
            let window = EnergyWindow { from_ns: from, to_ns: to };
            let truth: f64 = watts
                .iter()
                .enumerate()
                .filter_map(|(at, power)| {
                    let begin = at as u64 * S / 10;
                    Some(power * seconds(window.clip(begin, begin + S / 10)?.ns()))
                })
                .sum();
            let figure = counter_energy(&samples, window, CounterRules::default()).expect("a figure");
            let slack = 1e-6;
            prop_assert!(figure.low.expect("low") <= truth + slack);
            prop_assert!(figure.high.expect("high") >= truth - slack);
            prop_assert!((figure.joules - truth).abs() < 1e-3 + 1e-9 * truth);
        }

        #[test]
        fn two_windows_add_up(cut in 1_u64..199) {
            let samples = steady(250.0, 200, 0.0, f64::INFINITY);
            let part = |from: u64, to: u64| {
                let window = EnergyWindow { from_ns: from * S / 10, to_ns: to * S / 10 };
                counter_energy(&samples, window, CounterRules::default()).expect("a figure").joules
            };
            prop_assert!((part(0, cut) + part(cut, 200) - part(0, 200)).abs() < 1e-6);
        }
    }
}
