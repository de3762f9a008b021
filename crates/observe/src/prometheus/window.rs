//! What came between two looks at a server. Differences, never rates: nothing is extrapolated. And
//! nothing is mended: where a count fell, the server began anew and the difference means nothing.

use std::collections::{BTreeMap, BTreeSet};

use loadline_schema::event::Warning;
use loadline_schema::metric_window::{
    Family, GaugeEnds, Histogram, Invalid, InvalidKind, Labels, MetricWindow, Series,
};

use super::series_in_words;
use super::snapshot::Snapshot;

/// Why a metric says nothing.
type Reason = (InvalidKind, String);

/// What came between the first look and the second.
///
/// The window as a whole says nothing (but for gauges) where `process_start_time_seconds` changed; a
/// metric, where one of its series has another `_created`, fell, or is gone, or where its bounds or its
/// type changed, or a page tells it in a way that cannot be right. A series that was not there at first
/// counts from zero.
pub fn window(first: &Snapshot, second: &Snapshot) -> MetricWindow {
    let mut window = MetricWindow { gauges: gauges(first, second), ..MetricWindow::default() };
    if let Some(reason) = restarted(first, second) {
        window.invalid.push(invalid(None, reason));
        return window;
    }
    if first.process_starts.is_empty() {
        window.notes.push(Warning::new(
            "restart_unseen",
            "the page has no process_start_time_seconds: a restart shows only where a count fell",
            "make sure that the server was not started anew in between",
        ));
    }
    let mut bad = BTreeSet::new();
    for (page, snapshot) in [("first", first), ("second", second)] {
        for problem in &snapshot.problems {
            if bad.insert(problem.metric.clone()) {
                let line = problem.line;
                // What is wrong on both pages is told without the page.
                let page = if second.problems == first.problems { "the" } else { page };
                let page = page.replace("first", "the first").replace("second", "the second");
                let message = format!("{} (from line {line} of {page} page)", problem.message);
                let reason = (InvalidKind::BadSeries, message);
                window.invalid.push(invalid(Some(&problem.metric), reason));
            }
        }
    }
    let looks = Looks { first, second, bad: &bad };
    let (histograms, reasons) = looks.differences(
        |snapshot| &snapshot.histograms,
        |last, first| match first {
            Some(first) => histogram_since(last, first),
            None => Ok(last.clone()),
        },
    );
    window.histograms = histograms;
    window.invalid.extend(reasons);
    let (counters, reasons) = looks.differences(
        |snapshot| &snapshot.counters,
        |last, first| {
            let first = first.copied().unwrap_or(0.0);
            if *last < first { Err(fell("", first, *last)) } else { Ok(last - first) }
        },
    );
    window.counters = counters;
    window.invalid.extend(reasons);
    window.notes.extend(looks.appeared());
    window
}

fn invalid(metric: Option<&str>, (kind, message): Reason) -> Invalid {
    Invalid { metric: metric.map(str::to_owned), kind, message }
}

fn fell(what: &str, first: f64, last: f64) -> Reason {
    let message = format!(
        "{what}fell from {first} to {last}: the server began anew, or the pages are in the wrong order"
    );
    (InvalidKind::Decreased, message)
}

fn restarted(first: &Snapshot, second: &Snapshot) -> Option<Reason> {
    let name = "process_start_time_seconds";
    let (before, after) = (&first.process_starts, &second.process_starts);
    let changed = before.iter().find(|(labels, start)| {
        after.get(*labels).map(|start| start.to_bits()) != Some(start.to_bits())
    });
    let message = match (changed, after.keys().find(|labels| !before.contains_key(*labels))) {
        (Some((labels, start)), _) => {
            let series = series_in_words(name, labels);
            match after.get(labels) {
                Some(now) => format!("{series} was {start} and is {now}"),
                None => format!("{series} was {start} and is gone"),
            }
        }
        (None, Some(labels)) => format!("{} was not there at first", series_in_words(name, labels)),
        (None, None) => return None,
    };
    let why = "another process answered (a restart, or several servers behind one address)";
    Some((InvalidKind::Restarted, format!("{message}: {why}")))
}

/// The difference of two states of a histogram.
fn histogram_since(last: &Histogram, first: &Histogram) -> Result<Histogram, Reason> {
    let Some(since) = last.since(first) else {
        let (before, after) = (first.bounds_in_words(), last.bounds_in_words());
        let message = format!("the bounds of its buckets were {before} and are {after}");
        return Err((InvalidKind::BoundsChanged, message));
    };
    let counts = last.buckets.iter().zip(&first.buckets);
    let mut counts =
        counts.map(|(last, first)| (format!("the bucket {} ", first.le), first.count, last.count));
    let count = (String::from("_count "), first.count, last.count);
    if let Some((what, first, last)) = counts.find(|(_, a, b)| b < a) {
        return Err(fell(&what, first, last));
    }
    if last.count < first.count {
        return Err(fell(&count.0, count.1, count.2));
    }
    // A sum may fall where values may be negative, which a bound at or below zero shows.
    let is_positive = first.buckets.first().is_some_and(|bucket| bucket.le > 0.0);
    if let (Some(before), Some(after), true) = (first.sum, last.sum, is_positive)
        && after < before
    {
        return Err(fell("_sum ", before, after));
    }
    Ok(since)
}

/// Both looks, and the metrics that one of them tells wrongly.
struct Looks<'a> {
    first: &'a Snapshot,
    second: &'a Snapshot,
    bad: &'a BTreeSet<String>,
}

impl Looks<'_> {
    /// The differences of all families of a kind, and why some have none.
    fn differences<V>(
        &self,
        of: impl Fn(&Snapshot) -> &Vec<Family<V>>,
        since: impl Fn(&V, Option<&V>) -> Result<V, Reason>,
    ) -> (Vec<Family<V>>, Vec<Invalid>) {
        let before: BTreeMap<&str, &Family<V>> =
            of(self.first).iter().map(|family| (family.name.as_str(), family)).collect();
        let mut families = Vec::new();
        let mut reasons = Vec::new();
        for family in of(self.second) {
            if self.bad.contains(&family.name) {
                continue;
            }
            match self.difference(before.get(family.name.as_str()).copied(), family, &since) {
                Ok(family) => families.push(family),
                Err(reason) => reasons.push(invalid(Some(&family.name), reason)),
            }
        }
        let after: BTreeSet<&str> = of(self.second).iter().map(|f| f.name.as_str()).collect();
        for name in before.into_keys() {
            if !after.contains(name) && !self.bad.contains(name) {
                let reason = if self.second.has(name) {
                    (InvalidKind::TypeChanged, "its type changed".to_owned())
                } else {
                    (InvalidKind::Vanished, "it is not on the second page".to_owned())
                };
                reasons.push(invalid(Some(name), reason));
            }
        }
        (families, reasons)
    }

    fn difference<V>(
        &self,
        first: Option<&Family<V>>,
        second: &Family<V>,
        since: impl Fn(&V, Option<&V>) -> Result<V, Reason>,
    ) -> Result<Family<V>, Reason> {
        if first.is_none() && self.first.has(&second.name) {
            return Err((InvalidKind::TypeChanged, "its type changed".to_owned()));
        }
        let in_words = |labels: &Labels| series_in_words(&second.name, labels);
        let before: BTreeMap<&Labels, &V> = first
            .iter()
            .flat_map(|family| &family.series)
            .map(|series| (&series.labels, &series.value))
            .collect();
        let after: BTreeSet<&Labels> = second.series.iter().map(|series| &series.labels).collect();
        if let Some(gone) = before.keys().find(|labels| !after.contains(*labels)) {
            let message = format!("{} is not on the second page", in_words(gone));
            return Err((InvalidKind::Vanished, message));
        }
        let mut series = Vec::with_capacity(second.series.len());
        for Series { labels, value } in &second.series {
            let key = (second.name.clone(), labels.clone());
            let created = [self.first, self.second].map(|look| look.created.get(&key));
            if let [Some(then), Some(now)] = created
                && then.to_bits() != now.to_bits()
            {
                let message = format!("_created of {} was {then} and is {now}", in_words(labels));
                return Err((InvalidKind::Recreated, message));
            }
            let value = since(value, before.get(labels).copied())
                .map_err(|(kind, what)| (kind, format!("{}: {what}", in_words(labels))))?;
            series.push(Series { labels: labels.clone(), value });
        }
        Ok(Family { name: second.name.clone(), unit: second.unit.clone(), series })
    }

    /// A note about histograms that were not there at first.
    fn appeared(&self) -> Option<Warning> {
        let before: BTreeSet<&str> =
            self.first.histograms.iter().map(|family| family.name.as_str()).collect();
        let new = self.second.histograms.iter().map(|family| family.name.as_str());
        let new: Vec<&str> =
            new.filter(|name| !before.contains(name) && !self.bad.contains(*name)).collect();
        (!new.is_empty()).then(|| {
            Warning::new(
                "counted_from_zero",
                format!("not on the first page, and counted from zero: {}", new.join(", ")),
                "make sure that both pages are of the same server",
            )
        })
    }
}

impl Snapshot {
    /// Whether there is a metric with this name, of any kind.
    fn has(&self, name: &str) -> bool {
        self.histograms.iter().any(|family| family.name == name)
            || self.counters.iter().any(|family| family.name == name)
            || self.gauges.iter().any(|family| family.name == name)
    }
}

fn gauges(first: &Snapshot, second: &Snapshot) -> Vec<Family<GaugeEnds>> {
    let mut ends: BTreeMap<&str, (Option<&String>, BTreeMap<&Labels, GaugeEnds>)> = BTreeMap::new();
    for (snapshot, is_last) in [(first, false), (second, true)] {
        for family in &snapshot.gauges {
            let (unit, series) = ends.entry(&family.name).or_default();
            *unit = unit.or(family.unit.as_ref());
            for Series { labels, value } in &family.series {
                let ends = series.entry(labels).or_default();
                *(if is_last { &mut ends.last } else { &mut ends.first }) = Some(*value);
            }
        }
    }
    let family =
        |(name, (unit, series)): (&str, (Option<&String>, BTreeMap<&Labels, GaugeEnds>))| {
            let series = series.into_iter();
            Family {
                name: name.to_owned(),
                unit: unit.cloned(),
                series: series
                    .map(|(labels, value)| Series { labels: labels.clone(), value })
                    .collect(),
            }
        };
    ends.into_iter().map(family).collect()
}

#[cfg(test)]
mod tests;
