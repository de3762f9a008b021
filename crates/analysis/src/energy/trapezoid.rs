//! The energy of a window from samples of power.

use loadline_schema::energy::{EnergyClass, EnergyFigure};

use super::{EnergyWindow, seconds};

/// Least length of a window in averaging times of the meter: in a shorter one the power before its
/// begin weighs too much.
pub const AVERAGING_TIMES: u64 = 10;

/// A sample of power.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerSample {
    /// When, ns.
    pub at_ns: u64,
    /// Power, W.
    pub watts: f64,
}

/// How samples of power may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerRules {
    /// Longest time between two samples that is bridged, ns; and longest from an end of the window to
    /// the next sample.
    pub most_gap_ns: u64,
    /// Time over which the meter averages, ns (1 s for most of NVIDIA's GPUs); 0: it does not.
    pub averaged_over_ns: u64,
}

/// Longest time to bridge between these samples, ns: two and a half times what usually lies between
/// two of them, at least `least_ns`, and at most a fifth of the window.
pub(crate) fn bridged_ns(samples: &[PowerSample], window: EnergyWindow, least_ns: u64) -> u64 {
    let mut apart: Vec<u64> =
        samples.windows(2).map(|pair| pair[1].at_ns.saturating_sub(pair[0].at_ns)).collect();
    apart.sort_unstable();
    let usual = apart.get(apart.len() / 2).copied().unwrap_or_default();
    (usual / 2).saturating_mul(5).min(window.ns() / 5).max(least_ns)
}

/// Trapezoids between samples, in order of time. Time that no sample is near enough to is left out,
/// and makes the figure invalid. The bounds take the smaller and the larger of each two neighbours;
/// a meter that averages shifts energy over the ends, which the bounds have in them, too.
///
/// # Errors
///
/// Where no sample is near the window.
pub fn trapezoid_energy(
    samples: &[PowerSample],
    window: EnergyWindow,
    rules: PowerRules,
) -> Result<EnergyFigure, String> {
    let mut area = Area { least: f64::INFINITY, ..Area::default() };
    for pair in samples.windows(2) {
        let [a, b] = pair else { continue };
        if b.at_ns.saturating_sub(a.at_ns) <= rules.most_gap_ns
            && let Some(part) = window.clip(a.at_ns, b.at_ns)
        {
            area.between(a, b, part);
        }
    }
    // The ends, at the power of their nearest sample.
    let near =
        |sample: &&PowerSample| sample.at_ns >= window.from_ns && sample.at_ns <= window.to_ns;
    if let Some(first) = samples.first().filter(near)
        && first.at_ns - window.from_ns <= rules.most_gap_ns
    {
        area.held(first.watts, first.at_ns - window.from_ns);
    }
    if let Some(last) = samples.last().filter(near)
        && window.to_ns - last.at_ns <= rules.most_gap_ns
    {
        area.held(last.watts, window.to_ns - last.at_ns);
    }
    if area.covered_ns == 0 {
        let found = samples.len();
        return Err(format!("no sample of power is near the window ({found} in all)"));
    }
    Ok(area.figure(window, rules))
}

#[derive(Debug, Default)]
struct Area {
    joules: f64,
    low: f64,
    high: f64,
    least: f64,
    most: f64,
    covered_ns: u64,
}

impl Area {
    fn between(&mut self, a: &PowerSample, b: &PowerSample, part: EnergyWindow) {
        let whole = (b.at_ns - a.at_ns) as f64;
        let at = |ns: u64| a.watts + (b.watts - a.watts) * ((ns - a.at_ns) as f64 / whole);
        let time = seconds(part.ns());
        self.joules += f64::midpoint(at(part.from_ns), at(part.to_ns)) * time;
        self.low += a.watts.min(b.watts) * time;
        self.high += a.watts.max(b.watts) * time;
        self.covered_ns += part.ns();
        self.saw(a.watts);
        self.saw(b.watts);
    }

    fn held(&mut self, watts: f64, ns: u64) {
        let joules = watts * seconds(ns);
        self.joules += joules;
        self.low += joules;
        self.high += joules;
        self.covered_ns += ns;
        self.saw(watts);
    }

    fn saw(&mut self, watts: f64) {
        self.least = self.least.min(watts);
        self.most = self.most.max(watts);
    }

    fn figure(self, window: EnergyWindow, rules: PowerRules) -> EnergyFigure {
        let open_ns = window.ns().saturating_sub(self.covered_ns);
        let shifted = (self.most - self.least) * seconds(rules.averaged_over_ns);
        let all = seconds(window.ns());
        let reason = if open_ns > 0 {
            Some(format!(
                "{:.1} of {all:.1} s have no sample of power within {:.1} s",
                seconds(open_ns),
                seconds(rules.most_gap_ns)
            ))
        } else if rules.averaged_over_ns.saturating_mul(AVERAGING_TIMES) > window.ns() {
            Some(format!(
                "{all:.1} s are too short for a meter that averages over {:.1} s",
                seconds(rules.averaged_over_ns)
            ))
        } else {
            None
        };
        EnergyFigure {
            joules: self.joules,
            low: Some((self.low - shifted).max(0.0)),
            high: Some(self.high + shifted),
            class: EnergyClass::AveragedPower,
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
    const RULES: PowerRules = PowerRules { most_gap_ns: 2 * S, averaged_over_ns: 0 };

    fn samples(watts: &[f64]) -> Vec<PowerSample> {
        watts
            .iter()
            .enumerate()
            .map(|(at, watts)| PowerSample { at_ns: at as u64 * S, watts: *watts })
            .collect()
    }

    fn energy(watts: &[f64], from: u64, to: u64, rules: PowerRules) -> EnergyFigure {
        let window = EnergyWindow { from_ns: from, to_ns: to };
        trapezoid_energy(&samples(watts), window, rules).expect("a figure")
    }

    #[test]
    fn a_ramp_is_exact_and_its_bounds_are_its_steps() {
        let figure = energy(&[0.0, 100.0, 200.0, 300.0], 0, 3 * S, RULES);
        assert!((figure.joules - 450.0).abs() < 1e-9 && figure.valid);
        assert_eq!((figure.low, figure.high), (Some(300.0), Some(600.0)));
        let inside = energy(&[0.0, 100.0, 200.0, 300.0], S / 2, 3 * S / 2, RULES);
        assert!((inside.joules - 100.0).abs() < 1e-9, "{}", inside.joules);
    }

    #[test]
    fn a_gap_is_not_bridged() {
        let mut with_gap = samples(&[100.0; 20]);
        with_gap.drain(5..12);
        let window = EnergyWindow { from_ns: 0, to_ns: 19 * S };
        let figure = trapezoid_energy(&with_gap, window, RULES).expect("a figure");
        assert!(!figure.valid);
        assert!((figure.joules - 1_100.0).abs() < 1e-9, "{}", figure.joules);
        assert!(figure.reason.is_some_and(|why| why.starts_with("8.0 of 19.0 s")));
        let patient = PowerRules { most_gap_ns: 8 * S, ..RULES };
        assert!(trapezoid_energy(&with_gap, window, patient).expect("a figure").valid);
    }

    #[test]
    fn ends_are_held_as_far_as_a_gap_may_be() {
        let window = EnergyWindow { from_ns: 0, to_ns: 4 * S };
        let one = [PowerSample { at_ns: 2 * S, watts: 50.0 }];
        let figure = trapezoid_energy(&one, window, RULES).expect("a figure");
        assert!(figure.valid && (figure.joules - 200.0).abs() < 1e-9);
        let far = EnergyWindow { from_ns: 0, to_ns: 5 * S };
        assert!(!trapezoid_energy(&one, far, RULES).expect("a figure").valid);
        let other = EnergyWindow { from_ns: 10 * S, to_ns: 12 * S };
        assert!(trapezoid_energy(&one, other, RULES).is_err());
        assert!(trapezoid_energy(&[], window, RULES).is_err());
    }

    #[test]
    fn an_averaging_meter_needs_a_longer_window_and_has_wider_bounds() {
        let averaging = PowerRules { averaged_over_ns: S, ..RULES };
        let watts = [100.0, 300.0, 300.0, 300.0, 300.0, 300.0];
        let short = energy(&watts, 0, 5 * S, averaging);
        assert!(!short.valid && short.reason.is_some_and(|why| why.contains("averages")));
        let long = energy(&[200.0; 12], 0, 11 * S, averaging);
        assert!(long.valid);
        let plain = energy(&watts, 0, 5 * S, RULES);
        assert_eq!(short.high, plain.high.map(|high| high + 200.0));
    }

    proptest! {
        #[test]
        fn bounds_hold_the_figure_and_windows_add_up(
            watts in proptest::collection::vec(0.0_f64..1000.0, 3..40), cut in 0.0_f64..1.0,
        ) {
            let end = (watts.len() as u64 - 1) * S;
            let at = (end as f64 * cut) as u64;
            let whole = energy(&watts, 0, end, RULES);
            prop_assert!(whole.valid);
            prop_assert!(whole.low.expect("low") <= whole.joules + 1e-6);
            prop_assert!(whole.joules <= whole.high.expect("high") + 1e-6);
            if at > 0 && at < end {
                let parts = energy(&watts, 0, at, RULES).joules + energy(&watts, at, end, RULES).joules;
                prop_assert!((parts - whole.joules).abs() < 1e-4);
            }
        }
    }
}
