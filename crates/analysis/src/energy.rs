//! Energy from what meters show: counters by difference, samples of power by trapezoids, stated watts
//! times time. Each figure has bounds and says whether it may be used.

use loadline_schema::energy::{EnergyClass, EnergyFigure, GrossNet, IdleBaseline};

mod counter;
mod trapezoid;

pub use counter::{COUNTER_STEPS, CounterRules, CounterSample, counter_energy};
pub(crate) use trapezoid::bridged_ns;
pub use trapezoid::{AVERAGING_TIMES, PowerRules, PowerSample, trapezoid_energy};

/// How far the counter and the samples of power of one meter may be apart, as a share of the larger.
pub const METERS_AGREE: f64 = 0.25;

/// A time, ns; `to_ns` is not before `from_ns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnergyWindow {
    /// Begin.
    pub from_ns: u64,
    /// End.
    pub to_ns: u64,
}

impl EnergyWindow {
    /// Its length, ns.
    pub fn ns(self) -> u64 {
        self.to_ns.saturating_sub(self.from_ns)
    }

    /// The part of it between two moments; `None` where there is none.
    fn clip(self, from_ns: u64, to_ns: u64) -> Option<Self> {
        let (from_ns, to_ns) = (from_ns.max(self.from_ns), to_ns.min(self.to_ns));
        (from_ns < to_ns).then_some(Self { from_ns, to_ns })
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Stated watts over a time. Without a tolerance nothing is known about its bounds.
pub fn stated_energy(watts: f64, tolerance: Option<f64>, over_ns: u64) -> EnergyFigure {
    let joules = watts * seconds(over_ns);
    EnergyFigure {
        joules,
        low: tolerance.map(|share| joules * (1.0 - share)),
        high: tolerance.map(|share| joules * (1.0 + share)),
        class: EnergyClass::Stated,
        over_ns,
        valid: joules.is_finite() && joules >= 0.0,
        reason: None,
    }
}

/// Several meters together (GPUs, packages): the worst class, valid only where all of them are, and
/// bounds only where all have them. `None` for none.
pub fn energy_sum(figures: &[EnergyFigure]) -> Option<EnergyFigure> {
    let first = figures.first()?;
    let sum = |of: fn(&EnergyFigure) -> Option<f64>| figures.iter().map(of).sum::<Option<f64>>();
    let reason = figures.iter().find_map(|figure| figure.reason.clone());
    Some(EnergyFigure {
        joules: figures.iter().map(|figure| figure.joules).sum(),
        low: sum(|figure| figure.low),
        high: sum(|figure| figure.high),
        class: figures.iter().map(|figure| figure.class).max().unwrap_or(first.class),
        over_ns: figures.iter().map(|figure| figure.over_ns).max().unwrap_or_default(),
        valid: figures.iter().all(|figure| figure.valid),
        reason,
    })
}

/// The best of several figures of one thing: a valid one before one that is not, then by class.
pub fn best_energy(figures: impl IntoIterator<Item = EnergyFigure>) -> Option<EnergyFigure> {
    figures.into_iter().min_by_key(|figure| (!figure.valid, figure.class))
}

/// The counter's figure, checked against the samples of power of the same meter: where they are
/// further apart than [`METERS_AGREE`], it is not valid and says both.
pub fn cross_checked(counter: EnergyFigure, samples: &EnergyFigure) -> EnergyFigure {
    let larger = counter.joules.max(samples.joules);
    let apart = (counter.joules - samples.joules).abs();
    if !counter.valid || !samples.valid || larger <= 0.0 || apart <= METERS_AGREE * larger {
        return counter;
    }
    let reason = format!(
        "the counter says {:.1} J and the samples of power say {:.1} J of the same meter",
        counter.joules, samples.joules
    );
    EnergyFigure { valid: false, reason: Some(reason), ..counter }
}

/// With and without what an idle machine would have taken: E − P_idle · t, bounds against each
/// other. A net below zero is not valid: then the baseline was not idle.
pub fn gross_net(gross: EnergyFigure, idle: Option<IdleBaseline>) -> GrossNet {
    let net = idle.map(|idle| {
        let time = seconds(gross.over_ns);
        let joules = gross.joules - idle.watts * time;
        let below = joules < 0.0;
        let reason = "the machine took less than its idle baseline: that was not idle";
        EnergyFigure {
            joules,
            low: gross.low.map(|low| low - idle.high * time),
            high: gross.high.map(|high| high - idle.low * time),
            valid: gross.valid && !below,
            reason: gross.reason.clone().or_else(|| below.then(|| reason.to_owned())),
            ..gross.clone()
        }
    });
    GrossNet { gross, net }
}

/// The idle power from an energy with nothing to do; `None` where that is not valid or took no time.
pub fn idle_baseline(idle: &EnergyFigure) -> Option<IdleBaseline> {
    let watts = idle.watts().filter(|_| idle.valid)?;
    let time = seconds(idle.over_ns);
    Some(IdleBaseline {
        watts,
        low: idle.low.map_or(watts, |low| low / time),
        high: idle.high.map_or(watts, |high| high / time),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(joules: f64, class: EnergyClass, valid: bool) -> EnergyFigure {
        EnergyFigure {
            joules,
            low: Some(joules - 1.0),
            high: Some(joules + 1.0),
            class,
            over_ns: 10_000_000_000,
            valid,
            reason: (!valid).then(|| "short".to_owned()),
        }
    }

    #[test]
    fn a_sum_is_as_good_as_its_worst_part() {
        let parts = [
            figure(100.0, EnergyClass::Counter, true),
            figure(50.0, EnergyClass::AveragedPower, true),
        ];
        let sum = energy_sum(&parts).expect("two");
        assert_eq!((sum.joules, sum.low, sum.high), (150.0, Some(148.0), Some(152.0)));
        assert_eq!((sum.class, sum.valid), (EnergyClass::AveragedPower, true));
        let stated = stated_energy(10.0, None, 10_000_000_000);
        let sum = energy_sum(&[parts[0].clone(), stated]).expect("two");
        assert_eq!((sum.class, sum.low), (EnergyClass::Stated, None));
        let bad = figure(1.0, EnergyClass::Counter, false);
        let sum = energy_sum(&[parts[0].clone(), bad]).expect("two");
        assert!(!sum.valid && sum.reason.as_deref() == Some("short"));
        assert_eq!(energy_sum(&[]), None);
    }

    #[test]
    fn the_best_is_valid_first_and_then_by_class() {
        let counter = figure(1.0, EnergyClass::Counter, true);
        let power = figure(2.0, EnergyClass::AveragedPower, true);
        let stated = stated_energy(10.0, Some(0.1), 1_000_000_000);
        let all = [stated.clone(), power.clone(), counter.clone()];
        assert_eq!(best_energy(all), Some(counter.clone()));
        let bad = EnergyFigure { valid: false, ..counter };
        assert_eq!(best_energy([bad, stated, power.clone()]), Some(power));
    }

    #[test]
    fn meters_that_disagree_are_not_believed() {
        let counter = figure(327.0, EnergyClass::Counter, true);
        let samples = figure(187.0, EnergyClass::AveragedPower, true);
        let checked = cross_checked(counter.clone(), &samples);
        assert!(!checked.valid);
        assert!(checked.reason.is_some_and(|why| why.contains("327.0") && why.contains("187.0")));
        let near = figure(320.0, EnergyClass::AveragedPower, true);
        assert!(cross_checked(counter.clone(), &near).valid);
        let invalid = figure(1.0, EnergyClass::AveragedPower, false);
        assert!(cross_checked(counter, &invalid).valid, "nothing to check it against");
    }

    #[test]
    fn net_is_gross_less_idle_with_bounds_against_each_other() {
        let gross = figure(1_000.0, EnergyClass::Counter, true);
        let idle = IdleBaseline { watts: 20.0, low: 19.0, high: 22.0 };
        let both = gross_net(gross.clone(), Some(idle));
        let net = both.net.expect("net");
        assert_eq!((net.joules, net.low, net.high), (800.0, Some(779.0), Some(811.0)));
        assert!(net.valid);
        let busy = IdleBaseline { watts: 200.0, low: 200.0, high: 200.0 };
        let net = gross_net(gross.clone(), Some(busy)).net.expect("net");
        assert!(!net.valid && net.reason.is_some_and(|why| why.contains("idle baseline")));
        assert_eq!(gross_net(gross, None).net, None);
    }

    #[test]
    fn a_baseline_comes_from_a_valid_figure() {
        let idle = idle_baseline(&figure(200.0, EnergyClass::Counter, true)).expect("valid");
        assert!((idle.watts - 20.0).abs() < 1e-12 && (idle.low - 19.9).abs() < 1e-12);
        assert_eq!(idle_baseline(&figure(200.0, EnergyClass::Counter, false)), None);
    }
}
