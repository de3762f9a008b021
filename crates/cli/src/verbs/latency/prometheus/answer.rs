//! Answers of a Prometheus server's HTTP API, as far as they are read.

use std::collections::{BTreeMap, BTreeSet};

use loadline_serving::ask::Reply;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::exit::{Exit, Failure};

/// What was asked for, and what the server warns of.
#[derive(Debug)]
pub(super) struct Answer<T> {
    pub(super) told: T,
    pub(super) warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Envelope<T> {
    status: String,
    data: Option<T>,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

/// Reads an answer; `name` is what was asked for.
pub(super) fn read<T: DeserializeOwned>(reply: &Reply, name: &str) -> Result<Answer<T>, Failure> {
    let envelope: Envelope<T> = match serde_json::from_slice(&reply.body) {
        Ok(envelope) => envelope,
        Err(error) if reply.is_success() => {
            return Err(Failure::usage(format!(
                "{name}: the answer is not that of a Prometheus server ({error}); an LLM server \
                 itself is given as SOURCE, without --prometheus"
            )));
        }
        Err(_) => {
            let status = format!("HTTP status {}", reply.status);
            let said = reply.message.clone().unwrap_or(status);
            let exit = if reply.status >= 500 { Exit::Unreachable } else { Exit::Usage };
            let message = format!("{name}: {said}; is this the address of a Prometheus server?");
            return Err(Failure { exit, message });
        }
    };
    match (envelope.status.as_str(), envelope.data) {
        ("success", Some(told)) => Ok(Answer { told, warnings: envelope.warnings }),
        _ => {
            let why = envelope.error.unwrap_or_else(|| "it does not say why".to_owned());
            let exit = if reply.status >= 500 { Exit::Unreachable } else { Exit::Usage };
            Err(Failure { exit, message: format!("{name}: Prometheus refuses the query: {why}") })
        }
    }
}

/// One entry of `/api/v1/metadata`.
#[derive(Debug, Deserialize)]
pub(super) struct MetadataOf {
    #[serde(rename = "type")]
    pub(super) metric_type: String,
}

/// The `data` of a query.
#[derive(Debug, Deserialize)]
pub(super) struct Raw {
    #[serde(rename = "resultType")]
    result_type: String,
    #[serde(default)]
    result: Vec<RawSeries>,
}

#[derive(Debug, Deserialize)]
struct RawSeries {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

/// A series with its raw samples: s since the Unix epoch, value. Never without a sample.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub(super) labels: BTreeMap<String, String>,
    samples: Vec<(f64, f64)>,
}

impl Raw {
    /// The servers of what was found, whatever kind of answer it is.
    pub(super) fn instances(&self) -> BTreeSet<String> {
        let labels = self.result.iter().map(|series| series.metric.get("instance"));
        labels.map(|instance| instance.cloned().unwrap_or_default()).collect()
    }

    /// The series with samples; native histograms have none that is a number, and are passed over.
    pub(super) fn series(self, name: &str) -> Result<Vec<Series>, Failure> {
        if self.result_type != "matrix" {
            let what = self.result_type;
            return Err(Failure::usage(format!("{name}: the answer is a {what}, not raw samples")));
        }
        let mut all = Vec::with_capacity(self.result.len());
        for RawSeries { metric, values } in self.result {
            let mut samples = Vec::with_capacity(values.len());
            for (at_s, text) in values {
                let value = text.parse().map_err(|_| {
                    Failure::usage(format!("{name}: the sample `{text}` is no number"))
                })?;
                samples.push((at_s, value));
            }
            if !samples.is_empty() {
                all.push(Series { labels: metric, samples });
            }
        }
        Ok(all)
    }
}

impl Series {
    pub(super) fn name(&self) -> &str {
        self.labels.get("__name__").map_or("", String::as_str)
    }

    pub(super) fn instance(&self) -> &str {
        self.labels.get("instance").map_or("", String::as_str)
    }

    /// Raw samples: s since the Unix epoch, value.
    pub(super) fn samples(&self) -> &[(f64, f64)] {
        &self.samples
    }

    /// Time of the last sample, s since the Unix epoch.
    pub(super) fn last_s(&self) -> f64 {
        self.samples.last().map_or(f64::NEG_INFINITY, |(at_s, _)| *at_s)
    }

    pub(super) fn last_value(&self) -> f64 {
        self.samples.last().map_or(f64::NAN, |(_, value)| *value)
    }

    /// The shortest time between two samples, s.
    pub(super) fn interval_s(&self) -> Option<f64> {
        self.samples.windows(2).map(|pair| pair[1].0 - pair[0].0).reduce(f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Raw {
        serde_json::from_str(json).expect("an answer")
    }

    #[test]
    fn samples_are_read_as_they_are() {
        let raw = raw(r#"{"resultType":"matrix","result":[
            {"metric":{"__name__":"a_count","instance":"h:1"},"values":[[10.5,"1"],[25.5,"NaN"],[40,"+Inf"]]},
            {"metric":{"__name__":"native"},"histograms":[[10,{"count":"1"}]]}]}"#);
        let series = raw.series("p").expect("samples");
        assert_eq!(series.len(), 1);
        assert_eq!((series[0].name(), series[0].instance()), ("a_count", "h:1"));
        assert_eq!((series[0].last_s(), series[0].last_value()), (40.0, f64::INFINITY));
        assert_eq!(series[0].interval_s(), Some(14.5));
    }

    #[test]
    fn what_is_no_raw_sample_is_refused() {
        let vector = raw(r#"{"resultType":"vector","result":[{"metric":{},"value":[1,"2"]}]}"#);
        assert!(vector.series("p").expect_err("a vector").message.contains("vector"));
        let words = r#"{"resultType":"matrix","result":[{"metric":{},"values":[[1,"many"]]}]}"#;
        assert!(raw(words).series("p").expect_err("words").message.contains("`many`"));
    }
}
