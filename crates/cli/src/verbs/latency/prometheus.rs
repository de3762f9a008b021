//! The pages of a job as a Prometheus server has stored them: of every scraped server the last raw
//! samples at or before a moment. Never a rate: what was scraped is taken as it was.

mod answer;
mod range;
mod restarts;

use std::collections::BTreeMap;

use loadline_clock::unix_ns;
use loadline_observe::prometheus::{MetricType, Snapshot, SnapshotBuilder};
use loadline_schema::event::Warning;
use loadline_schema::units::DurationNs;

use super::Looks;
use super::page::Web;
use super::when::{in_words, moment_s};
use crate::exit::Failure;
use crate::latency_args::{ConnectionArgs, PrometheusArgs};
use answer::{Answer, MetadataOf, Raw, read};

const DEFAULT_LOOKBACK: DurationNs = DurationNs(300_000_000_000);
/// Only what a histogram or counter has, and the sign of a restart: gauges would make the answer longer.
const NAMES: &str = ".+_(bucket|count|sum|total|created)|process_start_time_seconds";
/// Samples of one scrape have one time; of a server that states its own they may differ by less.
const SAME_SCRAPE_S: f64 = 1.0;
/// Jitter of scrapes, as a share of their interval.
const JITTER: f64 = 0.1;

pub(super) fn looks(args: &PrometheusArgs, connection: &ConnectionArgs) -> Result<Looks, Failure> {
    let url = args.prometheus.as_deref().unwrap_or_default();
    let job = args.job.as_deref().unwrap_or_default();
    if url.contains('?') {
        return Err(Failure::usage("--prometheus takes the server's URL without a query"));
    }
    let now_s = unix_ns() as f64 / 1e9;
    let moment = |flag: &str, text: &str| {
        moment_s(text, now_s).map_err(|error| Failure::usage(format!("{flag}: {error}")))
    };
    let start_s = moment("--start", args.start.as_deref().unwrap_or_default())?;
    let end_s = moment("--end", args.end.as_deref().unwrap_or("now"))?;
    if end_s <= start_s {
        return Err(Failure::usage(format!(
            "the window ends ({}) before it begins ({})",
            in_words(end_s),
            in_words(start_s)
        )));
    }
    let (server, prefix) = server_and_prefix(url);
    let web = Web::at(server, prefix, connection, "application/json")?;
    let lookback_s = args.lookback.unwrap_or(DEFAULT_LOOKBACK).0 as f64 / 1e9;
    let archive = Archive { web, job, lookback_s };
    let mut warnings = Vec::new();
    let types = archive.types(&mut warnings);
    let first = archive.snapshot(start_s, &types, &mut warnings)?;
    let second = archive.snapshot(end_s, &types, &mut warnings)?;
    archive.is_one_process(start_s, end_s, [&first, &second])?;
    let name = archive.web.name();
    let source = format!("job {job} at {name}, {} to {}", in_words(start_s), in_words(end_s));
    Ok(Looks { source, first, second, warnings, pages: None, is_live: false })
}

/// The server of a URL, and the path under which its API lies.
fn server_and_prefix(url: &str) -> (&str, &str) {
    let host = url.find("://").map_or(0, |at| at + 3);
    let path = url[host..].find('/').map_or(url.len(), |at| host + at);
    let is_socket = url.starts_with("unix:");
    let (server, prefix) = if is_socket { (url, "") } else { url.split_at(path) };
    (server, prefix.trim_end_matches('/'))
}

/// Types by the name of the metric.
type Types = BTreeMap<String, MetricType>;

struct Archive<'a> {
    web: Web,
    job: &'a str,
    lookback_s: f64,
}

impl Archive<'_> {
    /// Types of metrics, as far as the server knows them without contradiction. Without any, buckets
    /// still make a histogram.
    fn types(&self, warnings: &mut Vec<Warning>) -> Types {
        let name = format!("{}/api/v1/metadata", self.web.name());
        let found = self
            .web
            .get("/api/v1/metadata", &name)
            .and_then(|reply| read::<BTreeMap<String, Vec<MetadataOf>>>(&reply, &name));
        let all = match found {
            Ok(answer) => answer.told,
            Err(failure) => {
                warnings.push(Warning::new(
                    "types_unknown",
                    format!("the types of the metrics could not be had ({})", failure.message),
                    "what has buckets is taken for a histogram",
                ));
                return Types::new();
            }
        };
        let one_type = |(name, told): (String, Vec<MetadataOf>)| {
            let first = told.first()?.metric_type.clone();
            let agreed = told.iter().all(|other| other.metric_type == first);
            Some((name, agreed.then(|| MetricType::from_text(&first)).flatten()?))
        };
        all.into_iter().filter_map(one_type).collect()
    }

    /// The job's pages at a moment.
    fn snapshot(
        &self,
        at_s: f64,
        types: &Types,
        warnings: &mut Vec<Warning>,
    ) -> Result<Snapshot, Failure> {
        let found = self.last_samples(at_s)?;
        for text in found.warnings {
            warnings.push(Warning::new("prometheus_says", format!("Prometheus warns: {text}"), ""));
        }
        let series = found.series;
        if series.is_empty() {
            return Err(self.nothing(at_s));
        }
        let mut scrapes = Scrapes::default();
        for one in &series {
            scrapes.add(one);
        }
        scrapes.know(&found.intervals_s);
        warnings.extend(scrapes.ages(at_s));
        let mut builder = SnapshotBuilder::default();
        for (name, metric_type) in types {
            builder.add_type(name, *metric_type, 0);
        }
        for one in series.iter().filter(|one| scrapes.is_in_last(one)) {
            let labels = one.labels.iter().filter(|(name, _)| *name != "__name__");
            let labels = labels.map(|(name, value)| (name.as_str(), value.as_str()));
            builder.add_sample(one.name(), labels, one.last_value(), 0);
        }
        Ok(builder.finish())
    }

    /// What is asked for by [`Self::query`].
    fn query_name(&self) -> String {
        format!("{}/api/v1/query", self.web.name())
    }

    /// The answer to an instant query at a moment.
    fn query(&self, query: &str, at_s: f64) -> Result<Answer<Raw>, Failure> {
        let path = format!("/api/v1/query?query={}&time={at_s:.3}", percent_encoded(query));
        let name = self.query_name();
        let reply = self.web.get(&path, &name).map_err(|failure| {
            if !failure.message.contains("longer than") {
                return failure;
            }
            let message = format!(
                "{}: a --lookback below {} s (two or three scrape intervals) makes it shorter",
                failure.message, self.lookback_s
            );
            Failure { message, ..failure }
        })?;
        read(&reply, &name)
    }

    /// Why there is no sample, with the jobs that there are.
    fn nothing(&self, at_s: f64) -> Failure {
        let name = format!("{}/api/v1/label/job/values", self.web.name());
        let jobs = self
            .web
            .get("/api/v1/label/job/values", &name)
            .and_then(|reply| read::<Vec<String>>(&reply, &name));
        let jobs = jobs.map(|answer| answer.told).unwrap_or_default();
        let hint = if jobs.iter().any(|job| job == self.job) {
            "; was its server up and scraped then, and does Prometheus keep samples for so long? \
             --start and --end choose the window, --lookback how far before either a sample may lie"
                .to_owned()
        } else if jobs.is_empty() {
            String::new()
        } else {
            format!("; it has the jobs {}", jobs.join(", "))
        };
        Failure::usage(format!(
            "{} has no histogram or counter of the job {} in the {} s before {}{hint}",
            self.web.name(),
            self.job,
            self.lookback_s,
            in_words(at_s)
        ))
    }
}

/// When each server of the job was scraped last.
#[derive(Default)]
struct Scrapes<'a> {
    instances: BTreeMap<&'a str, Instance>,
}

/// A scraped server: its last scrape, s since the Unix epoch, and the time between two, s.
struct Instance {
    last_s: f64,
    interval_s: Option<f64>,
}

impl<'a> Scrapes<'a> {
    fn add(&mut self, series: &'a answer::Series) {
        let (last_s, interval_s) = (series.last_s(), series.interval_s());
        let instance = self
            .instances
            .entry(series.instance())
            .or_insert(Instance { last_s, interval_s: None });
        instance.last_s = instance.last_s.max(last_s);
        instance.interval_s = shorter(instance.interval_s, interval_s);
    }

    /// Intervals that are known otherwise: two last samples have a gap between them where a scrape
    /// failed.
    fn know(&mut self, intervals_s: &BTreeMap<String, f64>) {
        for (name, instance) in &mut self.instances {
            instance.interval_s = shorter(instance.interval_s, intervals_s.get(*name).copied());
        }
    }

    /// Whether a series was on the last page of its server; if not, it had gone by then.
    fn is_in_last(&self, series: &answer::Series) -> bool {
        let instance = self.instances.get(series.instance());
        instance.is_some_and(|instance| instance.last_s - series.last_s() < SAME_SCRAPE_S)
    }

    /// Servers whose last scrape is older than their interval: the window is not quite what was asked.
    fn ages(&self, at_s: f64) -> Vec<Warning> {
        let age = |(name, instance): (&&str, &Instance)| {
            let age_s = at_s - instance.last_s;
            let text = match instance.interval_s {
                Some(interval_s) if age_s > interval_s * (1.0 + JITTER) => {
                    format!("more than one scrape interval ({interval_s:.1} s)")
                }
                Some(_) => return None,
                None => "and it is the only one, so the scrape interval is not known".to_owned(),
            };
            let at = in_words(at_s);
            Some(Warning::new(
                "stale_sample",
                format!("the last sample of {name} before {at} is {age_s:.1} s older, {text}"),
                "was the server down then, or the moment too new?",
            ))
        };
        self.instances.iter().filter_map(age).collect()
    }
}

fn shorter(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A text as a query has it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn percent_encoded(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    });
    encoded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_queries() {
        assert_eq!(server_and_prefix("http://p:9090/"), ("http://p:9090", ""));
        assert_eq!(server_and_prefix("https://p/prom/"), ("https://p", "/prom"));
        assert_eq!(server_and_prefix("unix:/run/p"), ("unix:/run/p", ""));
        assert_eq!(quoted("a\"b\\c"), r#""a\"b\\c""#);
        assert_eq!(percent_encoded("{a=\"é\"}[5m]"), "%7Ba%3D%22%C3%A9%22%7D%5B5m%5D");
    }
}
