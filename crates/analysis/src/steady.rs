//! Whether a trial's figures moved around one level.

use loadline_schema::event::Warning;
use loadline_schema::verdict::{Steadiness, Steady};

use crate::trend::trend;
use crate::warnings::{Evidence, percent};

/// Values of a batch (the 5 of MSER-5).
const BATCH: usize = 5;
/// Batches below which nothing is said.
const LEAST_BATCHES: usize = 10;
/// A window must be so many mean answers long.
const LEAST_ANSWERS: f64 = 5.0;
/// Share of the series whose truncation means that there is no steady part to speak of.
const MOST_TRUNCATED: f64 = 0.5;
/// Share of the squared error within half at which a truncation beyond half is believed.
const CLEARLY_LESS: f64 = 0.7;
/// Two-sided level of the slope test over all trials of a point.
const SLOPE_LEVEL: f64 = 0.05;
/// Difference of means, as a share, below which a beginning is like the rest: no truncation.
const SAME_LEVEL: f64 = 0.01;
/// Change of E2E over the window, as a share of its mean, that is no trend worth a word.
const SMALL_DRIFT: f64 = 0.05;

/// Steady state of one trial.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TrialSteady {
    /// Share to be left out at the beginning by MSER-5; absent where the trial is too short.
    pub(crate) truncate: Option<f64>,
    /// Change of E2E after that over the window ÷ mean, with its standard errors.
    drift: Option<Drift>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Drift {
    share: f64,
    trend: crate::trend::Trend,
}

/// A trial with a window of `window_ns`: E2E of its ok answers in order of their intended times, ns,
/// and completions in equal parts of the window.
pub(crate) fn trial_steady(e2e_ns: &[f64], completions: &[f64], window_ns: u64) -> TrialSteady {
    let nothing = TrialSteady { truncate: None, drift: None };
    let mean = e2e_ns.iter().sum::<f64>() / e2e_ns.len().max(1) as f64;
    if (window_ns as f64) < LEAST_ANSWERS * mean {
        return nothing;
    }
    let Some(of_answers) = beginning(e2e_ns) else { return nothing };
    let truncate = beginning(completions).map_or(of_answers, |share| share.max(of_answers));
    let kept = &e2e_ns[(of_answers * e2e_ns.len() as f64) as usize..];
    let drift = trend(kept).filter(|_| mean > 0.0).map(|trend| {
        let level = kept.iter().sum::<f64>() / kept.len() as f64;
        Drift { share: trend.change / level, trend }
    });
    TrialSteady { truncate: Some(truncate), drift }
}

/// The point: the worst of its trials. A trend counts where the slope is significant at 5 % over all
/// trials together and E2E changes by more than 5 %; the slope is that of the single answers, whose
/// error already holds their autocorrelation. `None` without trials.
pub(crate) fn steady(trials: &[TrialSteady], n_effective: Option<f64>) -> Option<Steady> {
    let alpha = SLOPE_LEVEL / 2.0 / trials.len().max(1) as f64;
    let verdict = |trial: &TrialSteady| {
        let Some(truncate) = trial.truncate else { return Steadiness::TooShort };
        let drifts = |d: &Drift| d.share.abs() > SMALL_DRIFT && d.trend.moves(alpha);
        if truncate > MOST_TRUNCATED || trial.drift.as_ref().is_some_and(drifts) {
            Steadiness::NotSteady
        } else {
            Steadiness::Steady
        }
    };
    let worst = trials.iter().map(verdict).max_by_key(|v| match v {
        Steadiness::Steady => 0,
        Steadiness::TooShort => 1,
        Steadiness::NotSteady => 2,
    })?;
    let drifts = trials.iter().filter_map(|t| Some(t.drift?.share));
    Some(Steady {
        verdict: worst,
        truncate: trials.iter().filter_map(|t| t.truncate).reduce(f64::max),
        drift: drifts.max_by(|a, b| a.abs().total_cmp(&b.abs())),
        n_effective,
    })
}

/// The truncation of [`mser5`], where what it leaves out differs from the rest by 1 % of the mean or
/// more: a nearly constant server has a least error somewhere, too, which then means nothing.
fn beginning(values: &[f64]) -> Option<f64> {
    let share = mser5(values)?;
    let (first, rest) = values.split_at((share * values.len() as f64).round() as usize);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len().max(1) as f64;
    let differs = (mean(first) - mean(rest)).abs() >= SAME_LEVEL * mean(rest).abs();
    Some(if differs { share } else { 0.0 })
}

/// MSER-5 (K. P. White, *Simulation* 69, 1997; with batches of 5: White, Cobb, Spratt, 2000): the
/// share of the series to leave out at the beginning so that the standard error of the mean of the
/// rest, taken as independent, is least. The last five batches are never left out, and more than half
/// only where that makes the square of the error less than 70 % of the least within half: of 15 to 40
/// batches without any trend one series in ten has its least beyond half, by a hair. `None` with fewer
/// than ten batches.
pub(crate) fn mser5(values: &[f64]) -> Option<f64> {
    let batches: Vec<f64> =
        values.chunks_exact(BATCH).map(|b| b.iter().sum::<f64>() / BATCH as f64).collect();
    let count = batches.len();
    if count < LEAST_BATCHES {
        return None;
    }
    // From the end: mean and squares of what would be kept, one batch more at a time (B. P. Welford).
    let (mut mean, mut squares) = (0.0, 0.0);
    let (mut beyond, mut within) = ((f64::INFINITY, 0), (f64::INFINITY, 0));
    for (kept, batch) in (1..).zip(batches.iter().rev()) {
        let n = f64::from(kept);
        let away = batch - mean;
        mean += away / n;
        squares += away * (batch - mean);
        let left_out = count - kept as usize;
        let too_much = left_out as f64 > MOST_TRUNCATED * count as f64;
        let best = if too_much { &mut beyond } else { &mut within };
        // Of equals the one that leaves out less.
        if kept as usize >= BATCH && squares / (n * n) <= best.0 {
            *best = (squares / (n * n), left_out);
        }
    }
    let chosen = if beyond.0 < CLEARLY_LESS * within.0 { beyond } else { within };
    Some(chosen.1 as f64 / count as f64)
}

pub(crate) fn not_steady(e: &Evidence) -> Option<Warning> {
    let steady = e.point.steady.as_ref().filter(|s| s.verdict == Steadiness::NotSteady)?;
    let truncate = steady.truncate.filter(|share| *share > MOST_TRUNCATED);
    let message = match (truncate, steady.drift) {
        (Some(share), _) => {
            format!("no steady state: the first {} of a trial differ from the rest", percent(share))
        }
        (None, Some(drift)) => {
            let direction = if drift > 0.0 { "grew" } else { "fell" };
            format!("no steady state: E2E {direction} by {} over a trial", percent(drift.abs()))
        }
        (None, None) => return None,
    };
    let advice = "figures depend on how long was measured: warm up longer and measure longer, or \
                  offer less load";
    Some(Warning::new("not_steady", message, advice))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::noise::Noise;

    fn noise(n: usize, seed: u64) -> Vec<f64> {
        let mut noise = Noise::new(seed);
        (0..n).map(|_| 100.0 + noise.normal()).collect()
    }

    #[test]
    fn microseconds_of_a_constant_server_are_no_beginning() {
        // 20 ms, the first 70 % of them 20 µs longer: MSER-5 would leave those out.
        let values: Vec<f64> =
            (0..400).map(|i| if i < 280 { 20.02e6 } else { 20e6 } + f64::from(i % 7)).collect();
        assert!(mser5(&values).is_some_and(|share| share > 0.6));
        assert_eq!(beginning(&values), Some(0.0));
        let slower: Vec<f64> =
            values.iter().map(|v| if *v > 20.01e6 { 21e6 } else { *v }).collect();
        assert!(beginning(&slower).is_some_and(|share| share > 0.6));
    }

    #[test]
    fn a_ramp_of_known_length_is_left_out() {
        // 200 values climbing from 50 to 100, then 800 around 100.
        let mut values = noise(1_000, 1);
        for (i, v) in values.iter_mut().take(200).enumerate() {
            *v -= 50.0 * (1.0 - i as f64 / 200.0);
        }
        let share = mser5(&values).expect("long");
        assert!((0.17..=0.23).contains(&share), "{share}");
        // Nothing to leave out: next to nothing is.
        assert!(mser5(&noise(1_000, 2)).expect("long") < 0.2);
        assert_eq!(mser5(&[3.0; 200]), Some(0.0));
    }

    #[test]
    fn steady_noise_is_seldom_called_unsteady() {
        for n in [50, 200, 1_000] {
            let unsteady = |seed: &u64| {
                let of_trial = trial_steady(&noise(n, *seed), &noise(n, seed + 10_000), 1_000_000);
                let found = steady(&[of_trial], None).expect("a trial");
                found.verdict != Steadiness::Steady
            };
            let alarms = (0..400).filter(unsteady).count();
            assert!(alarms <= 40, "{alarms} of 400 with {n} answers");
        }
    }

    #[test]
    fn a_trend_is_not_steady_and_tells_its_drift() {
        let climbing: Vec<f64> =
            noise(500, 3).iter().enumerate().map(|(i, v)| v + i as f64 * 0.1).collect();
        let found = steady(&[trial_steady(&climbing, &[], 1_000_000)], Some(20.0)).expect("trial");
        assert_eq!(found.verdict, Steadiness::NotSteady);
        assert_eq!(found.n_effective, Some(20.0));
    }

    #[test]
    fn short_trials_are_refused() {
        let values = noise(1_000, 4);
        assert_eq!(mser5(&values[..49]), None);
        assert!(mser5(&values[..50]).is_some());
        let verdict = |e2e: &[f64], window| steady(&[trial_steady(e2e, &[], window)], None);
        let too_short =
            |found: Option<Steady>| found.map(|s| s.verdict) == Some(Steadiness::TooShort);
        assert!(too_short(verdict(&values[..49], 1_000_000)));
        // A window of 4.9 mean answers.
        assert!(too_short(verdict(&values, 490)));
        assert!(!too_short(verdict(&values, 510)));
        assert_eq!(steady(&[], None), None);
    }

    proptest! {
        #[test]
        fn mser_is_the_least_of_its_definition(seed in 0u64..300, batches in 10usize..60) {
            let values = noise(batches * 5, seed);
            let means: Vec<f64> = values.chunks(5).map(|c| c.iter().sum::<f64>() / 5.0).collect();
            let statistic = |d: usize| {
                let kept = &means[d..];
                let mean = kept.iter().sum::<f64>() / kept.len() as f64;
                kept.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (kept.len() as f64).powi(2)
            };
            let chosen = (mser5(&values).expect("long") * batches as f64).round() as usize;
            for d in 0..=batches - 5 {
                let than = if d * 2 > batches && chosen * 2 <= batches { 0.7 } else { 1.0 };
                prop_assert!(than * statistic(chosen) <= statistic(d) * (1.0 + 1e-9), "{chosen} {d}");
            }
        }
    }
}
