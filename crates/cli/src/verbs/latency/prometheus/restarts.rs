//! Restarts within a window. Its ends alone need not show one: a server that serves more after its
//! restart than before has larger counts at the end, and their difference means nothing. Between two
//! samples the count falls.

use std::collections::BTreeSet;

use loadline_observe::prometheus::Snapshot;

use super::super::when::in_words;
use super::answer::Series;
use super::{Archive, quoted};
use crate::exit::Failure;

/// A count that fell between two samples that follow each other: times in s since the Unix epoch.
#[derive(Debug, Clone, PartialEq)]
struct Fall {
    instance: String,
    before: (f64, f64),
    after: (f64, f64),
}

impl Archive<'_> {
    /// Refuses a window in which a server of the job began anew: its busiest histogram tells.
    pub(super) fn is_one_process(
        &self,
        start_s: f64,
        end_s: f64,
        ends: [&Snapshot; 2],
    ) -> Result<(), Failure> {
        let Some(name) = busiest(ends) else { return Ok(()) };
        let (job, quoted_name) = (quoted(self.job), quoted(&name));
        let range_ms = ((end_s - start_s + self.lookback_s) * 1e3).round();
        let of = |more: &str| format!("{{__name__={quoted_name},job={job}{more}}}[{range_ms}ms]");
        let suspects = self.query(&format!("resets({}) > 0", of("")), end_s)?.told.instances();
        let mut falls = Vec::new();
        for instance in suspects {
            let samples = of(&format!(",instance={}", quoted(&instance)));
            let answer = self.query(&samples, end_s)?.told;
            let series = answer.series(&self.query_name())?;
            // What fell before the window's first sample is no matter.
            falls.extend(series.iter().flat_map(falls_of).filter(|fall| fall.after.0 > start_s));
        }
        falls.sort_by(|one, other| one.after.0.total_cmp(&other.after.0));
        let Some(fall) = falls.first() else { return Ok(()) };
        let servers: BTreeSet<&str> = falls.iter().map(|fall| fall.instance.as_str()).collect();
        Err(Failure::usage(format!(
            "job {} at {}: {} was restarted between {} and {} ({name} fell from {} to {}){}; choose a \
             window without a restart, before or after it",
            self.job,
            self.web.name(),
            fall.instance,
            in_words(fall.before.0),
            in_words(fall.after.0),
            fall.before.1,
            fall.after.1,
            match servers.len() {
                1 => String::new(),
                2 => ", and so was another server".to_owned(),
                more => format!(", and so were {} other servers", more - 1),
            }
        )))
    }
}

/// The count of the histogram with the most values.
fn busiest(ends: [&Snapshot; 2]) -> Option<String> {
    let families = ends.into_iter().flat_map(|snapshot| &snapshot.histograms);
    let counts = families.map(|family| {
        let count: f64 = family.series.iter().map(|series| series.value.count).sum();
        (count, family.name.as_str())
    });
    let (_, name) = counts.max_by(|one, other| one.0.total_cmp(&other.0))?;
    Some(format!("{name}_count"))
}

fn falls_of(series: &Series) -> Vec<Fall> {
    let pairs = series.samples().windows(2).filter(|pair| pair[1].1 < pair[0].1);
    let fall = |pair: &[(f64, f64)]| Fall {
        instance: series.instance().to_owned(),
        before: pair[0],
        after: pair[1],
    };
    pairs.map(fall).collect()
}
