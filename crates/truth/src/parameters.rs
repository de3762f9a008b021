//! Laws as text: `name=value` pairs of a query or a command line.

use crate::delay::{Delay, Length};
use crate::error::TruthError;
use crate::law::{Law, MetricsPage, ReasoningField, RoleChunk, Stall, Told, Usage, UsagePlace};

/// Every parameter with its meaning, for help texts. Times are µs.
pub const PARAMETERS: &[(&str, &str)] = &[
    ("ttft_us=N", "time to first token, fixed"),
    ("itl_us=N", "time between writes, fixed; with ttft_us=0 as fast as it can"),
    ("ttft=LAW", "fixed:N, uniform:LOW-HIGH, exponential:MEAN or lognormal:MEDIAN,SIGMA, in µs"),
    ("itl=LAW", "the same for the time between writes"),
    ("tokens=N", "tokens of an answer; N or LOW-HIGH"),
    ("per_event=N", "tokens in one event"),
    ("burst=N", "events in one write"),
    ("spread=0|1", "shift each stream by a share of itl"),
    ("gaps=0|1", "keep the time of every write"),
    ("records=N", "answers kept in the log"),
    ("role=first|now|with", "role in the first token's chunk, in a chunk at once, or just before"),
    ("late_head=0|1", "response head only with the first token"),
    ("reasoning=N", "tokens of reasoning at the begin"),
    ("reasoning_field=reasoning_content|reasoning", "their field"),
    ("usage=asked|always|never", "when usage is told"),
    ("usage_place=own|finish|token", "in its own chunk, the finish chunk, or the last token's"),
    ("continuous=0|1", "usage in every chunk"),
    ("stall=EVERY,TOKEN,US", "every EVERYth answer pauses before TOKEN; 0 for none"),
    ("slots=N", "answers at a time; 0 for no limit"),
    ("shed=N", "429 with so many waiting; 0 for never"),
    ("errors=SHARE", "share of requests answered with 503"),
    ("limits=0|1", "honour max_tokens, min_tokens and ignore_eos"),
    ("template=N", "prompt tokens a chat template adds"),
    ("seed=N", "seed of all that is random"),
    ("kv_per_request=SHARE", "/metrics: KV cache that a running request takes"),
    ("prefix_hit_ratio=SHARE", "/metrics: prompt tokens found in the prefix cache"),
    ("preempt_every=N", "/metrics: every Nth request counts a preemption; 0 for never"),
    ("token_factor=F", "/metrics: tokens are counted F times; other than 1 is a lie"),
    ("metrics_delay_ms=N", "/metrics answers after so long, ms"),
    ("metrics=ok|absent|html|garbage", "/metrics is the page, 404, a login page or no samples"),
];

type Checked<T> = Result<T, &'static str>;

fn number(text: &str) -> Checked<u64> {
    text.parse().map_err(|_| "is not a whole number")
}

fn count(text: &str) -> Checked<u32> {
    text.parse().map_err(|_| "is not a whole number below 4,294,967,296")
}

fn micros(text: &str) -> Checked<u64> {
    number(text)?.checked_mul(1_000).ok_or("is too long a time")
}

fn switch(text: &str) -> Checked<bool> {
    match text {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err("is neither 0 nor 1"),
    }
}

fn real(text: &str) -> Checked<f64> {
    let value: f64 = text.parse().map_err(|_| "is not a number")?;
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err("is negative or not finite") }
}

fn unless_zero(text: &str) -> Checked<Option<u32>> {
    Ok(Some(count(text)?).filter(|value| *value > 0))
}

fn delay(text: &str) -> Checked<Delay> {
    let (law, values) = text.split_once(':').ok_or("is not LAW:VALUES, as in exponential:20000")?;
    match law {
        "fixed" => Ok(Delay::Fixed(micros(values)?)),
        "uniform" => {
            let (low, high) = values.split_once('-').ok_or("uniform needs LOW-HIGH")?;
            let (low_ns, high_ns) = (micros(low)?, micros(high)?);
            if low_ns > high_ns {
                return Err("has its ends in the wrong order");
            }
            Ok(Delay::Uniform { low_ns, high_ns })
        }
        "exponential" => Ok(Delay::Exponential { mean_ns: micros(values)? }),
        "lognormal" => {
            let (median, sigma) = values.split_once(',').ok_or("lognormal needs MEDIAN,SIGMA")?;
            Ok(Delay::Lognormal { median_ns: micros(median)?, sigma: real(sigma)? })
        }
        _ => Err("names no law; there are fixed, uniform, exponential, lognormal"),
    }
}

fn length(text: &str) -> Checked<Length> {
    let Some((low, high)) = text.split_once('-') else { return Ok(Length::Fixed(count(text)?)) };
    let (low, high) = (count(low)?, count(high)?);
    if low > high {
        return Err("has its ends in the wrong order");
    }
    Ok(Length::Uniform { low, high })
}

fn stall(text: &str) -> Checked<Option<Stall>> {
    if text == "0" {
        return Ok(None);
    }
    let parts: Vec<&str> = text.split(',').collect();
    let [every, token, time] = parts[..] else { return Err("is not EVERY,TOKEN,US") };
    let every = number(every)?.max(1);
    Ok(Some(Stall { every, at_token: count(token)?, for_ns: micros(time)? }))
}

fn share(text: &str) -> Checked<f64> {
    let value = real(text)?;
    if value <= 1.0 { Ok(value) } else { Err("is over 1") }
}

fn set_told(told: &mut Told, key: &str, value: &str) -> Checked<()> {
    match (key, value) {
        ("kv_per_request", _) => told.kv_per_request = share(value)?,
        ("prefix_hit_ratio", _) => told.prefix_hit_ratio = share(value)?,
        ("preempt_every", _) => told.preempt_every = number(value)?,
        ("token_factor", _) => told.token_factor = real(value)?,
        ("metrics_delay_ms", _) => {
            told.delay_ns = number(value)?.checked_mul(1_000_000).ok_or("is too long a time")?;
        }
        ("metrics", "ok") => told.page = MetricsPage::Ok,
        ("metrics", "absent") => told.page = MetricsPage::Absent,
        ("metrics", "html") => told.page = MetricsPage::Html,
        ("metrics", "garbage") => told.page = MetricsPage::Garbage,
        ("metrics", _) => return Err("is none of the words this parameter takes"),
        _ => return Err("is no parameter; `loadline-truth --help` lists them"),
    }
    Ok(())
}

fn set_form(law: &mut Law, key: &str, value: &str) -> Checked<()> {
    match (key, value) {
        ("role", "first") => law.role = RoleChunk::InFirstToken,
        ("role", "now") => law.role = RoleChunk::AtOnce,
        ("role", "with") => law.role = RoleChunk::WithFirstToken,
        ("reasoning_field", "reasoning_content") => {
            law.reasoning_field = ReasoningField::ReasoningContent;
        }
        ("reasoning_field", "reasoning") => law.reasoning_field = ReasoningField::Reasoning,
        ("usage", "asked") => law.usage = Usage::WhenAsked,
        ("usage", "always") => law.usage = Usage::Always,
        ("usage", "never") => law.usage = Usage::Never,
        ("usage_place", "own") => law.usage_place = UsagePlace::OwnChunk,
        ("usage_place", "finish") => law.usage_place = UsagePlace::FinishChunk,
        ("usage_place", "token") => law.usage_place = UsagePlace::LastToken,
        ("role" | "reasoning_field" | "usage" | "usage_place", _) => {
            return Err("is none of the words this parameter takes");
        }
        _ => return set_told(&mut law.told, key, value),
    }
    Ok(())
}

fn set(law: &mut Law, max_records: &mut usize, key: &str, value: &str) -> Checked<()> {
    match key {
        "ttft_us" => law.ttft = Delay::Fixed(micros(value)?),
        "itl_us" => law.itl = Delay::Fixed(micros(value)?),
        "ttft" => law.ttft = delay(value)?,
        "itl" => law.itl = delay(value)?,
        "tokens" => law.tokens = length(value)?,
        "per_event" => law.tokens_per_event = count(value)?.max(1),
        "burst" => law.events_per_write = count(value)?.max(1),
        "spread" => law.spread = switch(value)?,
        "gaps" => law.gaps = switch(value)?,
        "records" => *max_records = number(value)? as usize,
        "late_head" => law.late_head = switch(value)?,
        "reasoning" => law.reasoning_tokens = count(value)?,
        "continuous" => law.continuous_usage = switch(value)?,
        "stall" => law.stall = stall(value)?,
        "slots" => law.slots = unless_zero(value)?,
        "shed" => law.shed_above = unless_zero(value)?,
        "errors" => law.error_rate = share(value)?,
        "limits" => law.honour_limits = switch(value)?,
        "template" => law.template_tokens = count(value)?,
        "seed" => law.seed = number(value)?,
        _ => set_form(law, key, value)?,
    }
    Ok(())
}

/// Applies the pairs of a query to a law; what is not named stays. Nothing changes on an error.
pub(crate) fn apply_query(
    law: &mut Law,
    max_records: &mut usize,
    query: &str,
) -> Result<(), TruthError> {
    let (mut new_law, mut new_max) = (law.clone(), *max_records);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        set(&mut new_law, &mut new_max, key, value).map_err(|reason| TruthError::Parameter {
            key: key.to_owned(),
            value: value.to_owned(),
            reason: format!("{value:?} {reason}"),
        })?;
    }
    (*law, *max_records) = (new_law, new_max);
    Ok(())
}

impl Law {
    /// Applies parameters such as `ttft_us=5000&itl=exponential:2000&tokens=10`.
    pub fn with(mut self, query: &str) -> Result<Self, TruthError> {
        apply_query(&mut self, &mut 0, query)?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_parameter_is_known() {
        for (form, _) in PARAMETERS {
            let key = form.split('=').next().expect("a name");
            let error = Law::default().with(&format!("{key}=?")).expect_err("no value");
            assert!(!error.to_string().contains("no parameter"), "{key}: {error}");
        }
    }

    #[test]
    fn values_arrive_in_the_law() {
        let law = Law::default()
            .with("ttft=lognormal:200000,0.5&itl_us=3&tokens=5-9&burst=4&role=now&stall=10,3,500&slots=0")
            .expect("valid");
        assert_eq!(law.ttft, Delay::Lognormal { median_ns: 200_000_000, sigma: 0.5 });
        assert_eq!(law.itl, Delay::Fixed(3_000));
        assert_eq!(law.tokens, Length::Uniform { low: 5, high: 9 });
        assert_eq!((law.events_per_write, law.role), (4, RoleChunk::AtOnce));
        assert_eq!(law.stall, Some(Stall { every: 10, at_token: 3, for_ns: 500_000 }));
        assert_eq!(law.slots, None);
        let told = Law::default()
            .with("kv_per_request=0.5&prefix_hit_ratio=0.25&preempt_every=3&token_factor=2&metrics_delay_ms=40&metrics=garbage")
            .expect("valid")
            .told;
        assert_eq!((told.kv_per_request, told.prefix_hit_ratio), (0.5, 0.25));
        assert_eq!((told.preempt_every, told.token_factor), (3, 2.0));
        assert_eq!((told.delay_ns, told.page), (40_000_000, MetricsPage::Garbage));
    }

    #[test]
    fn errors_name_the_parameter_and_say_what_is_wrong() {
        for query in [
            "tokens=9-5",
            "errors=2",
            "ttft=often:3",
            "speed=1",
            "gaps=yes",
            "stall=3",
            "metrics=x",
        ] {
            let error = Law::default().with(query).expect_err(query).to_string();
            let key = query.split('=').next().expect("a name");
            assert!(error.contains(key), "{error}");
        }
    }
}
