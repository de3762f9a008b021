//! The sweep: which load each point has, and what does not fit it.

use super::super::error::Fault;
use super::super::{DEFAULT_CONCURRENCY, LoadFile, ServingFile};
use crate::plan::{Arrival, Find, Load};

/// Most slots, or requests of a burst, that one client is asked to hold.
const CONCURRENCY_MAX: u64 = 1_000_000;
/// Most requests/s that one client is asked to send.
const RATE_MAX_PER_S: f64 = 1_000_000.0;
/// Fewest: one a day.
const RATE_MIN_PER_S: f64 = 1.0 / 86_400.0;
/// Most points of a sweep: their index is a u16 in records.
const POINTS_MAX: usize = u16::MAX as usize;

pub(super) fn points(given: &LoadFile) -> Result<Vec<Load>, Fault> {
    let named: Vec<&str> = [
        ("concurrency", given.concurrency.is_some()),
        ("rate", given.rate.is_some()),
        ("burst", given.burst.is_some()),
    ]
    .into_iter()
    .filter_map(|(key, is_there)| is_there.then_some(key))
    .collect();
    if let [first, second, ..] = named[..] {
        let message = format!("both `{first}` and `{second}`: a stage has one kind of load");
        let help = "remove one of the two, or write a second [[serving]] stage";
        return Err(Fault::at(&[second], message, help));
    }
    if given.arrival.is_some() && given.rate.is_none() {
        let help = "add `rate = [1, 2, 4]`, or remove `arrival`";
        return Err(Fault::at(&["arrival"], "`arrival` without `rate`", help));
    }
    match (&given.rate, &given.burst) {
        (Some(rates), _) => open(rates, given.arrival.unwrap_or(Arrival::Poisson)),
        (None, Some(bursts)) => counted("burst", bursts, |requests| Load::Burst { requests }),
        (None, None) => {
            let slots = given.concurrency.as_deref().unwrap_or(&DEFAULT_CONCURRENCY);
            counted("concurrency", slots, |concurrency| Load::Closed { concurrency })
        }
    }
}

/// The search, where one is asked for.
pub(super) fn find(given: &LoadFile) -> Result<Option<Find>, Fault> {
    let Some(what) = given.find.as_deref() else {
        for (key, there) in [("over", given.over.is_some()), ("max", given.max.is_some())] {
            if there {
                let help = "add `find = \"load line\"`, or remove it";
                return Err(Fault::at(&[key], format!("`{key}` without `find`"), help));
            }
        }
        return Ok(None);
    };
    if what != "load line" {
        let message = format!("`find` is \"{what}\"");
        return Err(Fault::at(&["find"], message, "write `find = \"load line\"`"));
    }
    let named = [
        ("concurrency", given.concurrency.is_some()),
        ("rate", given.rate.is_some()),
        ("burst", given.burst.is_some()),
    ];
    if let Some((key, _)) = named.iter().find(|(_, is_there)| *is_there) {
        let message = format!("both `find` and `{key}`: a search chooses its points itself");
        return Err(Fault::at(&[key], message, "remove one of the two; `max` limits a search"));
    }
    let over_rate = match given.over.as_deref() {
        None => given.arrival.is_some(),
        Some("rate") => true,
        Some("concurrency") if given.arrival.is_some() => {
            let message = "`arrival` with a search over concurrency";
            return Err(Fault::at(&["arrival"], message, "remove it, or write `over = \"rate\"`"));
        }
        Some("concurrency") => false,
        Some(other) => {
            let help = "write `over = \"concurrency\"` or `over = \"rate\"`";
            return Err(Fault::at(&["over"], format!("`over` is \"{other}\""), help));
        }
    };
    let most = if over_rate { RATE_MAX_PER_S } else { CONCURRENCY_MAX as f64 };
    let least = if over_rate { RATE_MIN_PER_S } else { 1.0 };
    if let Some(max) = given.max.filter(|max| !(least..=most).contains(max)) {
        let message = format!("a search up to {max}");
        return Err(Fault::at(&["max"], message, "write a number from 1 to 1,000,000"));
    }
    Ok(Some(if over_rate {
        Find::Rate { arrival: given.arrival.unwrap_or(Arrival::Poisson), max: given.max }
    } else {
        Find::Concurrency { max: given.max.map(|max| max.floor() as u64) }
    }))
}

fn open(rates: &[crate::units::RatePerS], arrival: Arrival) -> Result<Vec<Load>, Fault> {
    check_length("rate", rates.len())?;
    let point = |(index, rate): (usize, &crate::units::RatePerS)| {
        if (RATE_MIN_PER_S..=RATE_MAX_PER_S).contains(&rate.0) {
            return Ok(Load::Open { rate_per_s: rate.0, arrival });
        }
        let message = format!("a rate of {} requests/s", rate.0);
        let help = "write a rate above 0 (one a day is the least) and up to 1,000,000 requests/s";
        Err(Fault::at(&["rate", &index.to_string()], message, help))
    };
    rates.iter().enumerate().map(point).collect()
}

fn counted(key: &str, values: &[u64], load: impl Fn(u64) -> Load) -> Result<Vec<Load>, Fault> {
    check_length(key, values.len())?;
    let point = |(index, value): (usize, &u64)| {
        if (1..=CONCURRENCY_MAX).contains(value) {
            return Ok(load(*value));
        }
        let message = format!("a {key} of {value}");
        Err(Fault::at(&[key, &index.to_string()], message, "write a number from 1 to 1,000,000"))
    };
    values.iter().enumerate().map(point).collect()
}

fn check_length(key: &str, length: usize) -> Result<(), Fault> {
    match length {
        0 => Err(Fault::at(
            &[key],
            format!("`{key}` is an empty list"),
            format!("name at least one value, or leave `{key}` out"),
        )),
        1..=POINTS_MAX => Ok(()),
        _ => Err(Fault::at(&[key], format!("{length} points in one stage"), "65,535 are the most")),
    }
}

/// Keys that mean nothing under the stage's kind of load.
pub(super) fn check_fit(
    given: &ServingFile,
    points: &[Load],
    find: Option<&Find>,
) -> Result<(), Fault> {
    let refuse = |key: &str, why: String, help: &str| Err(Fault::at(&[key], why, help));
    let is_closed = matches!(points.first(), Some(Load::Closed { .. }))
        || matches!(find, Some(Find::Concurrency { .. }));
    if !is_closed {
        for (key, value) in [("think_time", given.think_time), ("stagger", given.stagger)] {
            if value.is_some_and(|value| value.0 > 0) {
                let why = format!("`{key}` belongs to a closed loop (`concurrency`)");
                return refuse(key, why, "remove it: a rate or a burst says itself when to send");
            }
        }
    }
    let Some(limit) = given.max_in_flight else { return Ok(()) };
    if is_closed {
        let why =
            "`max_in_flight` with `concurrency`: in a closed loop the concurrency is the limit";
        return refuse("max_in_flight", why.into(), "remove one of the two");
    }
    for point in points {
        if let Load::Burst { requests } = point
            && *requests > limit
        {
            let why = format!("a burst of {requests} does not fit in `max_in_flight` = {limit}");
            return refuse("max_in_flight", why, "raise it, or make the burst smaller");
        }
    }
    Ok(())
}
