//! Figures of a trial that two runs are compared by, and limits on their change:
//! `ttft_p99<=+5%`.

use std::fmt;
use std::str::FromStr;

use crate::sla::{Latency, Statistic};
use crate::units::{Decimal, DurationNs, UnitError};

/// A figure of one trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrialMetric {
    /// A figure of a latency, ns; one of [`TrialMetric::STATISTICS`].
    Latency(Latency, Statistic),
    /// Answers that ended ok in the window, per second.
    RequestsPerS,
    /// Output tokens received in the window, per second.
    OutputTokensPerS,
    /// 1 / mean TPOT, tokens/s.
    OutputTokensPerSPerUser,
    /// Share of attempts that are not ok, 0–1.
    ErrorRate,
    /// Prompt processing of an engine's cell, tokens/s.
    PromptTokensPerS,
    /// Generation of an engine's cell, tokens/s.
    DecodeTokensPerS,
    /// Bandwidth of a storage cell, bytes/s.
    BytesPerS,
    /// I/Os per second of a storage cell.
    Iops,
    /// 99th percentile of a storage cell's completion latency, ns.
    ClatP99,
    /// Time of a checkpoint's save, s.
    SaveS,
    /// Time of its restore, s.
    RestoreS,
    /// Time of loading a model, s.
    LoadS,
}

/// What a figure is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// A load on a server.
    Load,
    /// A cell of an engine.
    Engine,
    /// A storage cell.
    Storage,
}

impl TrialMetric {
    /// The figures of a latency that a trial has. P95 and P99.9 are not among them: a comparison of
    /// many figures of one distribution only costs power, and few trials hold a P99.9.
    pub const STATISTICS: [Statistic; 4] =
        [Statistic::P50, Statistic::P90, Statistic::P99, Statistic::Mean];

    /// What is compared unless more is asked for: speed at its middle and at its edge, throughput,
    /// and failures. Each further metric makes the proof of every other one harder.
    pub const DEFAULT: [Self; 9] = [
        Self::Latency(Latency::Ttft, Statistic::P50),
        Self::Latency(Latency::Ttft, Statistic::P99),
        Self::Latency(Latency::Itl, Statistic::P50),
        Self::Latency(Latency::Itl, Statistic::P99),
        Self::Latency(Latency::E2e, Statistic::P50),
        Self::Latency(Latency::E2e, Statistic::P99),
        Self::RequestsPerS,
        Self::OutputTokensPerS,
        Self::ErrorRate,
    ];

    /// What is compared at the cells of an engine.
    pub const OF_ENGINE: [Self; 2] = [Self::PromptTokensPerS, Self::DecodeTokensPerS];

    /// What is compared at storage cells, as far as a cell has it. The bandwidth of a checkpoint or
    /// a model load says the same as its time, and that of blocks the same as I/Os per second, but
    /// each is the usual word for some workload.
    pub const OF_STORAGE: [Self; 6] =
        [Self::BytesPerS, Self::Iops, Self::ClatP99, Self::SaveS, Self::RestoreS, Self::LoadS];

    /// What it is a figure of.
    pub fn kind(self) -> MetricKind {
        match self {
            _ if Self::OF_ENGINE.contains(&self) => MetricKind::Engine,
            _ if Self::OF_STORAGE.contains(&self) => MetricKind::Storage,
            _ => MetricKind::Load,
        }
    }

    /// Whether larger values are better.
    pub const fn higher_is_better(self) -> bool {
        !matches!(
            self,
            Self::Latency(..)
                | Self::ErrorRate
                | Self::ClatP99
                | Self::SaveS
                | Self::RestoreS
                | Self::LoadS
        )
    }

    /// Whether its change is a difference and not a ratio: a share of failures may be 0.
    pub const fn is_share(self) -> bool {
        matches!(self, Self::ErrorRate)
    }
}

impl fmt::Display for TrialMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latency(latency, statistic) => write!(f, "{latency}_{statistic}"),
            Self::RequestsPerS => f.write_str("requests_per_s"),
            Self::OutputTokensPerS => f.write_str("output_tokens_per_s"),
            Self::OutputTokensPerSPerUser => f.write_str("output_tokens_per_s_per_user"),
            Self::ErrorRate => f.write_str("error_rate"),
            Self::PromptTokensPerS => f.write_str("prompt_tokens_per_s"),
            Self::DecodeTokensPerS => f.write_str("decode_tokens_per_s"),
            Self::BytesPerS => f.write_str("bytes_per_s"),
            Self::Iops => f.write_str("iops"),
            Self::ClatP99 => f.write_str("clat_p99"),
            Self::SaveS => f.write_str("save_s"),
            Self::RestoreS => f.write_str("restore_s"),
            Self::LoadS => f.write_str("load_s"),
        }
    }
}

impl FromStr for TrialMetric {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let plain = [
            Self::RequestsPerS,
            Self::OutputTokensPerS,
            Self::OutputTokensPerSPerUser,
            Self::ErrorRate,
            Self::PromptTokensPerS,
            Self::DecodeTokensPerS,
        ];
        let mut plain = plain.into_iter().chain(Self::OF_STORAGE);
        if let Some(found) = plain.find(|metric| metric.to_string() == text) {
            return Ok(found);
        }
        let found = text.rsplit_once('_').and_then(|(latency, statistic)| {
            let statistic = Statistic::from_text(statistic)?;
            let known = Self::STATISTICS.contains(&statistic);
            known.then_some(Self::Latency(Latency::from_text(latency)?, statistic))
        });
        found.ok_or_else(|| {
            UnitError::new(
                text,
                "a figure of a trial",
                "write one of ttft, ttfo, itl, tpot, e2e, max_gap with _p50, _p90, _p99 or _mean, or \
                 requests_per_s, output_tokens_per_s, output_tokens_per_s_per_user, error_rate; of an \
                 engine prompt_tokens_per_s, decode_tokens_per_s; of storage bytes_per_s, iops, clat_p99, \
                 save_s, restore_s, load_s",
            )
        })
    }
}

/// How much a metric may move.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Allowance {
    /// candidate ÷ baseline − 1.
    Ratio(f64),
    /// candidate − baseline, in the metric's unit (ns; for the error rate a share 0–1).
    Difference(f64),
}

/// A limit on a change: at most so much more, or, where larger is better, at least so much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GateTerm {
    /// The metric.
    pub metric: TrialMetric,
    /// Largest allowed change, or the smallest where larger values are better.
    pub allowance: Allowance,
}

impl GateTerm {
    /// Reads terms, each text one or several with commas between them.
    ///
    /// # Errors
    /// No term at all, a term that cannot be understood, or one metric limited twice.
    pub fn parse_all<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<Self>, UnitError> {
        let mut terms: Vec<Self> = Vec::new();
        for text in texts {
            let before = terms.len();
            for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                let term: Self = part.parse()?;
                if terms.iter().any(|known| known.metric == term.metric) {
                    let reason = format!("`{}` is limited twice: remove one of them", term.metric);
                    return Err(UnitError::new(part, "a gate", reason));
                }
                terms.push(term);
            }
            if terms.len() == before {
                let reason = "it has no terms; write some, as in `ttft_p99<=+5%`";
                return Err(UnitError::new(text, "a gate", reason));
            }
        }
        Ok(terms)
    }
}

impl FromStr for GateTerm {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = |what: String| UnitError::new(text, "a term of a gate", what);
        let found = ["<=", ">=", "≤", "≥"]
            .into_iter()
            .filter_map(|sign| Some((text.find(sign)?, sign)))
            .min();
        let Some((at, sign)) = found else {
            return Err(wrong("it has no `<=`, as in `ttft_p99<=+5%`".into()));
        };
        let metric: TrialMetric = text[..at].trim().parse()?;
        let is_floor = matches!(sign, ">=" | "≥");
        if is_floor != metric.higher_is_better() {
            let (right, example) = if is_floor { ("<=", "+5%") } else { (">=", "-5%") };
            return Err(wrong(format!(
                "a change for the worse of `{metric}` is limited with `{right}`, as in \
                 `{metric}{right}{example}`"
            )));
        }
        let allowance = allowance(metric, text[at + sign.len()..].trim()).map_err(wrong)?;
        Ok(Self { metric, allowance })
    }
}

/// The limit, or what is wrong with it.
fn allowance(metric: TrialMetric, text: &str) -> Result<Allowance, String> {
    let (factor, amount) = if let Some(rest) = text.strip_prefix('+') {
        (1.0, rest.trim_start())
    } else if let Some(rest) = text.strip_prefix(['-', '−']) {
        (-1.0, rest.trim_start())
    } else {
        return Err(format!(
            "a gate limits a change, so `{text}` needs a sign: write `+5%` or `-5%` (a level belongs \
             in --sla)"
        ));
    };
    let percent = amount.strip_suffix('%').map(str::trim_end);
    let number = |digits: &str| {
        let number = Decimal::parse(digits).map(|number| format!("{}e-2", number.to_f64()));
        number.and_then(|text| text.parse::<f64>().ok())
    };
    let value = match (percent, metric) {
        (Some(digits), TrialMetric::ErrorRate) => number(digits).map(Allowance::Difference),
        (Some(digits), _) => number(digits).map(|value| Allowance::Ratio(factor * value)),
        (None, TrialMetric::Latency(..)) => {
            let duration: DurationNs =
                amount.parse().map_err(|error: UnitError| error.to_string())?;
            Some(Allowance::Difference(duration.0 as f64))
        }
        (None, _) => None,
    };
    let value = value.ok_or_else(|| match metric {
        TrialMetric::Latency(..) => {
            format!("`{text}` is neither a percentage nor a duration: write `+5%` or `+2ms`")
        }
        TrialMetric::ErrorRate => {
            format!("`{text}` is no number of percentage points: write `+0.1%`")
        }
        _ => format!("`{text}` is no percentage: write `-5%`"),
    })?;
    match value {
        Allowance::Ratio(ratio) if ratio <= -1.0 => {
            Err(format!("no change can be {text} or less: the metric would not be there any more"))
        }
        Allowance::Ratio(ratio) => Ok(Allowance::Ratio(ratio)),
        Allowance::Difference(difference) => Ok(Allowance::Difference(factor * difference)),
    }
}

impl fmt::Display for GateTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.metric.higher_is_better() { ">=" } else { "<=" };
        write!(f, "{}{sign}", self.metric)?;
        // 5 % rather than 0.05: rounded, since 0.07 × 100 is not exactly 7.
        let percent = |value: f64| (value * 1e10).round() / 1e8;
        match self.allowance {
            Allowance::Ratio(ratio) => write!(f, "{:+}%", percent(ratio)),
            Allowance::Difference(share) if self.metric.is_share() => {
                write!(f, "{:+}%", percent(share))
            }
            Allowance::Difference(ns) => {
                let sign = if ns < 0.0 { '-' } else { '+' };
                write!(f, "{sign}{}", DurationNs(ns.abs() as u64))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        GateTerm::parse_all([text]).expect_err(text).to_string()
    }

    #[test]
    fn terms_are_read_and_written_back() {
        let texts =
            "ttft_p99<=+5%, requests_per_s>=-3%,itl_p50<=+2ms,error_rate<=+0.1%,e2e_mean<=-7%";
        let terms = GateTerm::parse_all([texts]).expect("terms");
        let back: Vec<String> = terms.iter().map(GateTerm::to_string).collect();
        assert_eq!(back.join(","), texts.replace(' ', ""));
        assert_eq!(terms[0].allowance, Allowance::Ratio(0.05));
        assert_eq!(terms[1].allowance, Allowance::Ratio(-0.03));
        assert_eq!(terms[2].allowance, Allowance::Difference(2e6));
        assert_eq!(terms[3].allowance, Allowance::Difference(0.001));
        assert_eq!(terms[4].allowance, Allowance::Ratio(-0.07));
        let several = GateTerm::parse_all(["ttft_p50 ≤ +150%", "error_rate<=+0%"]).expect("terms");
        assert_eq!(several[0].allowance, Allowance::Ratio(1.5));
        assert_eq!(several[1].to_string(), "error_rate<=+0%");
        assert!(GateTerm::parse_all([]).expect("no gate").is_empty());
    }

    #[test]
    fn every_metric_reads_back_from_its_name() {
        let latencies = Latency::ALL
            .iter()
            .flat_map(|l| TrialMetric::STATISTICS.map(|s| TrialMetric::Latency(*l, s)));
        for metric in latencies.chain(TrialMetric::DEFAULT).chain(TrialMetric::OF_STORAGE) {
            assert_eq!(metric.to_string().parse(), Ok(metric));
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_reason() {
        for (text, told) in [
            ("ttft_p99", "it has no `<=`"),
            ("ttft_p99<=5%", "needs a sign"),
            ("ttft_p99<=800ms", "a level belongs in --sla"),
            ("ttft_p95<=+5%", "_p50, _p90, _p99 or _mean"),
            ("speed<=+5%", "is not a figure of a trial"),
            ("ttft_p99>=-5%", "is limited with `<=`, as in `ttft_p99<=+5%`"),
            ("requests_per_s<=+5%", "is limited with `>=`, as in `requests_per_s>=-5%`"),
            ("requests_per_s>=-5", "is no percentage"),
            ("requests_per_s>=-100%", "no change can be -100%"),
            ("itl_p50<=+2", "it has no unit"),
            ("itl_p50<=+x%", "neither a percentage nor a duration"),
            ("error_rate<=+5ms", "percentage points"),
            ("ttft_p50<=+5%,ttft_p50<=+6%", "limited twice"),
            (" , ", "it has no terms"),
        ] {
            assert!(refused(text).contains(told), "{text}: {}", refused(text));
        }
    }
}
