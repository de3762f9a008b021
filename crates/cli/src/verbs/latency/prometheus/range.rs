//! How far before a moment raw samples are asked for: as far as the last two scrapes of each server
//! need, where that can be known; else the whole lookback. What is found is the same.

use std::collections::BTreeMap;

use super::answer::Series;
use super::{Archive, NAMES, SAME_SCRAPE_S, quoted};
use crate::exit::Failure;

/// Scrapes that are wanted of each server: the last one, and the one before for the interval.
const SCRAPES: usize = 2;

/// What was found of a job at a moment.
pub(super) struct Found {
    /// The series with their last raw samples.
    pub(super) series: Vec<Series>,
    /// What Prometheus warns of.
    pub(super) warnings: Vec<String>,
    /// The shortest time between two scrapes of each server, as far as it is known already, s.
    pub(super) intervals_s: BTreeMap<String, f64>,
}

impl Archive<'_> {
    /// The job's series with what they had in their last scrapes at or before a moment.
    pub(super) fn last_samples(&self, at_s: f64) -> Result<Found, Failure> {
        let scrapes = self.scrapes(at_s)?;
        let intervals = scrapes.iter().filter_map(|one| Some((one, one.interval_s()?)));
        let intervals_s: BTreeMap<String, f64> =
            intervals.map(|(one, interval_s)| (one.instance().to_owned(), interval_s)).collect();
        if let Some(range_s) = range_s(&scrapes, at_s).filter(|range_s| *range_s < self.lookback_s)
        {
            let (series, warnings) = self.raw(range_s, at_s)?;
            if self.is_whole(&series, at_s - range_s, at_s)? {
                return Ok(Found { series, warnings, intervals_s });
            }
        }
        let (series, warnings) = self.raw(self.lookback_s, at_s)?;
        Ok(Found { series, warnings, intervals_s: BTreeMap::new() })
    }

    /// When each server of the job was scraped, by Prometheus's own `up`; none where it has none, as
    /// of what was written to it from elsewhere.
    fn scrapes(&self, at_s: f64) -> Result<Vec<Series>, Failure> {
        let lookback_ms = milliseconds(self.lookback_s);
        let query = format!("up{{job={}}}[{lookback_ms}ms]", quoted(self.job));
        let mut all = self.query(&query, at_s)?.told.series(&self.query_name())?;
        all.retain(|series| series.name() == "up");
        Ok(all)
    }

    /// Raw samples of so many seconds before a moment, with the server's warnings.
    fn raw(&self, range_s: f64, at_s: f64) -> Result<(Vec<Series>, Vec<String>), Failure> {
        let job = quoted(self.job);
        let range_ms = milliseconds(range_s);
        let answer =
            self.query(&format!("{{job={job},__name__=~\"{NAMES}\"}}[{range_ms}ms]"), at_s)?;
        Ok((answer.told.series(&self.query_name())?, answer.warnings))
    }

    /// Whether the last page of every server that has any sample in the lookback is there whole.
    /// Samples may have times that their page states, far from those of `up`.
    fn is_whole(&self, series: &[Series], begin_s: f64, at_s: f64) -> Result<bool, Failure> {
        let (job, lookback_ms) = (quoted(self.job), milliseconds(self.lookback_s));
        let all = format!("{{job={job},__name__=~\"{NAMES}\"}}[{lookback_ms}ms]");
        let query = format!("count by (instance) (last_over_time({all}))");
        let servers = self.query(&query, at_s)?.told.instances();
        Ok(servers.iter().all(|server| {
            let of_it = series.iter().filter(|one| one.instance() == server);
            of_it.map(Series::last_s).fold(f64::NEG_INFINITY, f64::max) >= begin_s + SAME_SCRAPE_S
        }))
    }
}

/// The range that has the last scrapes that succeeded of each server, s; `None` where none did.
fn range_s(scrapes: &[Series], at_s: f64) -> Option<f64> {
    let begin_s = |server: &Series| {
        let good = server.samples().iter().rev().filter(|(_, up)| *up == 1.0);
        good.take(SCRAPES).last().map(|(time_s, _)| *time_s)
    };
    let begin_s = scrapes.iter().filter_map(begin_s).reduce(f64::min)?;
    // Of the samples of one scrape some may be a little older, and a range may leave its begin out.
    Some(at_s - begin_s + 2.0 * SAME_SCRAPE_S)
}

/// A time as a query has it: whole milliseconds, at least one.
fn milliseconds(time_s: f64) -> f64 {
    (time_s * 1e3).ceil().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::super::answer::Raw;
    use super::*;

    fn up(samples: &str) -> Series {
        let json = format!(
            r#"{{"resultType":"matrix","result":[{{"metric":{{"__name__":"up"}},"values":[{samples}]}}]}}"#
        );
        let raw: Raw = serde_json::from_str(&json).expect("an answer");
        raw.series("p").expect("samples").remove(0)
    }

    #[test]
    fn the_two_last_good_scrapes_of_every_server_are_in_the_range() {
        let steady = up(r#"[900,"1"],[930,"1"],[960,"1"],[990,"1"]"#);
        assert_eq!(range_s(std::slice::from_ref(&steady), 1_000.0), Some(42.0));
        // The slowest of them counts, and scrapes that failed have no samples.
        let failing = up(r#"[900,"1"],[930,"1"],[960,"0"],[990,"0"]"#);
        assert_eq!(range_s(&[steady.clone(), failing], 1_000.0), Some(102.0));
        let once = up(r#"[995,"1"]"#);
        assert_eq!(range_s(&[once], 1_000.0), Some(7.0));
        // One that was never up had no page, and hides no other.
        let down = up(r#"[990,"0"]"#);
        assert_eq!(range_s(std::slice::from_ref(&down), 1_000.0), None);
        assert_eq!(range_s(&[down, steady], 1_000.0), Some(42.0));
        assert_eq!(range_s(&[], 1_000.0), None);
    }
}
