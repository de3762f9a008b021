//! What the reader of a point must know: warnings as values, with stable codes and advice.

use loadline_schema::document::Point;
use loadline_schema::event::{EndedEarly, Warning};
use loadline_schema::outcome::ErrorKind;
use loadline_schema::plan::{Load, Prompt, Warmup};

use crate::client::ClientTally;
use crate::input::{StageInput, without_repeats};
use crate::judged::{infinite_means, not_judged, not_recorded};
use crate::limits::{
    beyond_selftest, client_limited, clock_moved, slow_writes, store_slow, user_clock,
};
use crate::saturation::saturated;
use crate::steady::not_steady;
use crate::tally::{Tally, attempts};
use crate::trial::TrialFigures;

/// Requests that the 99th percentile needs to be bounded from above.
const NEEDED_FOR_P99: u64 = 299;
/// Tokens of a chat template where its length is not known.
const TEMPLATE_TOKENS: f64 = 64.0;

/// Percentiles of a metric that are not stated.
#[derive(Debug)]
pub(crate) struct Withheld {
    pub(crate) metric: &'static str,
    pub(crate) censored: Vec<&'static str>,
    pub(crate) uncertain: Vec<&'static str>,
}

/// All that warnings are judged by.
pub(crate) struct Evidence<'a> {
    pub(crate) input: &'a StageInput<'a>,
    pub(crate) load: &'a Load,
    pub(crate) point: &'a Point,
    pub(crate) tally: &'a Tally,
    pub(crate) client: &'a ClientTally,
    pub(crate) trials: &'a [TrialFigures],
    pub(crate) own_lag_p99_ns: Option<u64>,
    pub(crate) withheld: &'a [Withheld],
}

/// Every warning of a point, the gravest first.
pub(crate) fn point_warnings(e: &Evidence, limits: &[String]) -> Vec<Warning> {
    let found = [
        incomplete(e),
        no_answers(e),
        errors(e),
        dropped(e),
        client_limited(limits),
        beyond_selftest(e),
        few_samples(e),
        censored(e),
        late_gaps(e),
        late_first_tokens(e),
        saturated(e),
        not_judged(e),
        not_recorded(e),
        infinite_means(e),
        not_steady(e),
        not_stationary(e),
        warm_up_short(e),
        output_length(e),
        no_usage(e),
        no_input_count(e),
        per_chunk(e),
        single_event(e),
        no_chunk_times(e),
        empty_answers(e),
        prefix_cache(e),
        user_clock(e),
        slow_writes(e),
        integrity(e),
        clock_moved(e),
        store_slow(e),
    ];
    without_repeats(found.into_iter().flatten().collect())
}

fn incomplete(e: &Evidence) -> Option<Warning> {
    let incomplete = e.point.incomplete.as_ref()?;
    let unknown: u64 = e.trials.iter().map(|t| t.unknown).sum();
    let killed = e.trials.iter().any(|t| !t.ended);
    let reason = match incomplete.reason {
        Some(EndedEarly::Interrupted) => "the run was stopped",
        Some(EndedEarly::StopAfterErrors) => "too many requests failed",
        Some(EndedEarly::NoAnswers) => "no answer came any more",
        Some(EndedEarly::TokenCap) => "the limit of tokens was reached",
        Some(EndedEarly::StoreFailed) => "the records could not be stored",
        None if killed => "the client was killed",
        None if unknown > 0 => "operations left no record",
        None => "trials were not begun",
    };
    let open = if unknown == 0 {
        String::new()
    } else {
        format!("; {unknown} started operations left no record")
    };
    let message = format!(
        "{} of {} trials did not end as planned: {reason}{open}",
        incomplete.trials,
        e.point.trials_planned.max(e.trials.len() as u32),
    );
    let advice = "the figures are of what there is and must not be judged; \
                  resume the run or repeat the point";
    Some(Warning::new("incomplete", message, advice))
}

fn no_answers(e: &Evidence) -> Option<Warning> {
    let all = attempts(&e.point.requests);
    (e.point.requests.ok == 0 && !e.trials.is_empty()).then(|| {
        let message = format!("none of {all} attempts ended ok, so there are no latencies");
        Warning::new("no_answers", message, "look at the errors of this point")
    })
}

fn errors(e: &Evidence) -> Option<Warning> {
    let r = &e.point.requests;
    let bad = r.failed + r.timed_out + r.cut_short;
    if bad == 0 {
        return None;
    }
    let never_sent = [ErrorKind::InFlightLimit, ErrorKind::TrialEnded];
    let mut kinds: Vec<_> =
        e.tally.errors.iter().filter(|(k, _)| !never_sent.contains(k)).collect();
    kinds.sort_by_key(|(kind, n)| (std::cmp::Reverse(**n), **kind));
    let listed: Vec<String> = kinds.iter().map(|(kind, n)| format!("{n} × {kind}")).collect();
    let all = attempts(r);
    let mut message =
        format!("{bad} of {all} attempts ({}) did not end ok", percent(bad as f64 / all as f64));
    if !listed.is_empty() {
        message = format!("{message}: {}", listed.join(", "));
    }
    Some(Warning::new("errors", message, error_advice(kinds.first().map(|(k, _)| **k))))
}

/// What to do about the most frequent kind of error.
fn error_advice(kind: Option<ErrorKind>) -> &'static str {
    use ErrorKind as K;
    match kind {
        Some(K::Http429 | K::Http5xx) => "the server turns requests away: offer less load",
        Some(K::Http4xx) => "the server does not accept the request: look at its words",
        Some(K::Dns | K::ConnectRefused | K::ConnectTimeout | K::Tls) => {
            "the server could not be reached: check that it runs and the address"
        }
        Some(K::StaleConnection) => {
            "the server closes idle connections sooner than it says: allow a retry"
        }
        Some(K::FirstTokenTimeout | K::GapTimeout | K::TotalTimeout) => {
            "answers took longer than the limits: offer less load or raise the limits"
        }
        _ => "latencies are of the answers that ended ok: look at the server's log",
    }
}

fn dropped(e: &Evidence) -> Option<Warning> {
    let (dropped, all) = (e.point.requests.dropped, attempts(&e.point.requests));
    (dropped > 0).then(|| {
        let share = percent(dropped as f64 / all as f64);
        let message = format!("{dropped} of {all} operations ({share}) were due and never sent");
        let advice = "the server did not keep up with the rate: offer less, \
                      or raise the limit of requests in flight";
        Warning::new("dropped", message, advice)
    })
}

fn few_samples(e: &Evidence) -> Option<Warning> {
    let e2e = e.point.e2e_ns.as_ref().filter(|d| d.p99.is_some())?;
    let bounded = e2e.intervals.get("p99").is_some_and(|i| i.high.is_some());
    (e2e.n < NEEDED_FOR_P99 || !bounded).then(|| {
        let n = e2e.n;
        let worth = e.point.steady.as_ref().and_then(|s| s.n_effective);
        let worth = match worth.filter(|worth| (*worth as u64) < n) {
            Some(worth) => format!(" (worth {} independent ones)", worth as u64),
            None => String::new(),
        };
        let message =
            format!("{n} answers{worth} cannot bound P99 from above: read it as \"at least\"");
        let advice = format!("measure {NEEDED_FOR_P99} requests or more: longer, or more trials");
        Warning::new("few_samples", message, advice)
    })
}

fn censored(e: &Evidence) -> Option<Warning> {
    let list = withheld(e, |w| &w.censored)?;
    let left_out = attempts(&e.point.requests) - e.point.requests.ok;
    let message = format!(
        "percentiles not stated, since they lie among {left_out} attempts that \
                           did not end ok or answers that have no such value: {list}"
    );
    let advice = "percentiles are over ok answers; get rid of the errors to state them";
    Some(Warning::new("censored_percentiles", message, advice))
}

fn late_gaps(e: &Evidence) -> Option<Warning> {
    let list = withheld(e, |w| &w.uncertain)?;
    let late = percent_fine(e.point.client.late_gaps.unwrap_or(0.0));
    let message =
        format!("percentiles not stated, since {late} of the gaps were read late: {list}");
    let advice = "the client could not read in time: give it a core of its own";
    Some(Warning::new("late_gaps", message, advice))
}

/// `TTFT p99, p999; E2E p999`.
fn withheld(e: &Evidence, names: impl Fn(&Withheld) -> &Vec<&'static str>) -> Option<String> {
    let listed: Vec<String> = e
        .withheld
        .iter()
        .filter(|w| !names(w).is_empty())
        .map(|w| format!("{} {}", w.metric, names(w).join(", ")))
        .collect();
    (!listed.is_empty()).then(|| listed.join("; "))
}

fn late_first_tokens(e: &Evidence) -> Option<Warning> {
    let late = e.tally.late_first_tokens;
    (late > 0).then(|| {
        let message = format!(
            "{late} of {} first tokens were read together with later ones: their TTFT is an \
             upper bound",
            e.point.requests.ok
        );
        let advice = "the client could not read in time: give it a core of its own";
        Warning::new("late_first_tokens", message, advice)
    })
}

fn not_stationary(e: &Evidence) -> Option<Warning> {
    let residuals = e.trials.iter().filter(|t| t.complete);
    let residuals = residuals.filter_map(|t| t.windowed.as_ref()?.stationarity);
    let (residual, allowed) =
        residuals.filter(|(r, allowed)| r > allowed).max_by(|a, b| a.0.total_cmp(&b.0))?;
    let message = format!(
        "the load was not steady: requests in flight and arrivals × time in flight differ by {} \
         (at most {} in a steady state)",
        percent(residual),
        percent(allowed)
    );
    let advice =
        "warm up longer and measure longer; or the server is overloaded and its queue grows";
    Some(Warning::new("not_stationary", message, advice))
}

/// The default warm-up takes care of itself; this is about one that was asked for.
fn warm_up_short(e: &Evidence) -> Option<Warning> {
    if matches!(e.load, Load::Burst { .. }) || matches!(e.input.stage.warmup, Warmup::Steady { .. })
    {
        return None;
    }
    let median = e.point.e2e_ns.as_ref()?.p50?;
    let shortest = e.trials.iter().filter_map(|t| t.warm_up_ns).min()?;
    (shortest < median.saturating_mul(2)).then(|| {
        let message = format!(
            "the warm-up lasted {}, less than two answers ({} each)",
            ms(shortest as f64),
            ms(median as f64)
        );
        let advice = "the first answers met an idle server: warm up for two answers or more";
        Warning::new("warm_up_short", message, advice)
    })
}

fn output_length(e: &Evidence) -> Option<Warning> {
    let asked = e.tally.tokens.asked.mean().filter(|mean| *mean > 0.0)?;
    let got = e.tally.tokens.got.mean()?;
    ((got - asked).abs() > asked / 100.0).then(|| {
        let message =
            format!("answers have {got:.1} tokens in the mean, {asked:.1} were asked for");
        let advice = "latencies and rates are of other answers than planned: \
                      use a server that knows ignore_eos, or compare equal lengths only";
        Warning::new("output_length_differs", message, advice)
    })
}

fn no_usage(e: &Evidence) -> Option<Warning> {
    let n = e.tally.tokens.by_chunks;
    (n > 0).then(|| {
        let message = format!(
            "the server told no token counts for {n} of {} answers: events were counted",
            e.point.requests.ok
        );
        let advice = "token counts are lower bounds: use a server that sends usage";
        Warning::new("no_usage", message, advice)
    })
}

fn no_input_count(e: &Evidence) -> Option<Warning> {
    let absent = e.point.requests_per_s.is_some_and(|r| r.value > 0.0)
        && e.point.input_tokens_per_s.is_none();
    absent.then(|| {
        let message = "the server did not tell the prompt tokens of every answer, so input \
                       tokens/s is not stated";
        Warning::new("no_input_count", message, "use a server that sends usage")
    })
}

fn per_chunk(e: &Evidence) -> Option<Warning> {
    e.point.itl_ns.as_ref()?;
    let tokens = &e.tally.tokens;
    if tokens.untold * 100 <= tokens.got.sum.max(tokens.output.sum) || tokens.untold == 0 {
        return None;
    }
    let per_chunk =
        tokens.per_chunk().map_or_else(String::new, |k| format!(" ({k:.2} tokens each)"));
    let message = format!(
        "events and tokens differ in number{per_chunk} and the server does not tell the tokens of \
         an event: ITL is the gap between events"
    );
    let advice = "compare TPOT between servers, or ask for usage in each chunk where there is one";
    Some(Warning::new("itl_per_chunk", message, advice))
}

fn single_event(e: &Evidence) -> Option<Warning> {
    let n = e.tally.single_event;
    (n > 0).then(|| {
        let message = format!(
            "{n} of {} answers brought all their tokens in one event: they have no TPOT and no ITL",
            e.point.requests.ok
        );
        let advice = "the server, or a proxy before it, does not stream: switch its buffering off";
        Warning::new("single_event_answers", message, advice)
    })
}

fn no_chunk_times(e: &Evidence) -> Option<Warning> {
    let n = e.tally.without_chunk_times;
    (n > 0).then(|| {
        let message = format!("{n} answers have no chunk times, so their gaps are in no figure");
        let advice = "switch the storing of chunk times on for ITL";
        Warning::new("no_chunk_times", message, advice)
    })
}

fn empty_answers(e: &Evidence) -> Option<Warning> {
    let n = e.tally.empty;
    (n > 0).then(|| {
        let message = format!(
            "{n} of {} ok answers had no token: they count as left out of TTFT",
            e.point.requests.ok
        );
        let advice = "look at their finish reasons; a stop right away is often a prompt's fault";
        Warning::new("empty_answers", message, advice)
    })
}

fn prefix_cache(e: &Evidence) -> Option<Warning> {
    let cached = e.tally.tokens.cached.mean()?;
    let input = e.tally.tokens.input.mean()?;
    let template = e.input.calibration.and_then(|c| c.template_tokens);
    let template = template.map_or(TEMPLATE_TOKENS, f64::from);
    let shared = match e.input.stage.prompt {
        Prompt::Synthetic { shared_prefix, .. } => f64::from(shared_prefix),
        Prompt::File { .. } => 0.0,
    };
    (cached > template + shared + input / 100.0).then(|| {
        let message = format!(
            "the server took {cached:.1} of {input:.1} prompt tokens from its prefix cache, \
             {:.1} are the template's and the planned prefix",
            template + shared
        );
        let advice = "TTFT is better than without the cache: use other prompts, or restart the \
                      server before the run";
        Warning::new("prefix_cache_hits", message, advice)
    })
}

fn integrity(e: &Evidence) -> Option<Warning> {
    let repeated: u64 = e.trials.iter().map(|t| t.repeated).sum();
    (repeated > 0).then(|| {
        let message = format!("{repeated} records name an operation that another one names too");
        let advice = "the first of each was taken; please report this as a fault of the program";
        Warning::new("repeated_records", message, advice)
    })
}

pub(crate) fn ms(ns: f64) -> String {
    format!("{:.2} ms", ns / 1e6)
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn percent_fine(share: f64) -> String {
    format!("{:.3} %", share * 100.0)
}
