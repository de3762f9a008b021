//! The server's own metrics.

use loadline_observe::prometheus::{Limits, Snapshot, parse, stored_series};
use loadline_schema::gpu::{Missing, MissingKind};
use loadline_schema::metric_window::Family;
use loadline_schema::observe::{MetricsPages, ObservePlan, ObserverKind, Observing};
use loadline_schema::server_metrics::{Meaning, known};
use loadline_serving::target::{Target, TargetSettings};

use super::page::Page;
use super::{Course, Look, Observers, Seen, at};
use crate::{RunError, key};

/// Time that a look took, s: Prometheus's own name of it.
const DURATION: &str = "scrape_duration_seconds";
/// 1 for a look at the edge of a trial, which has histograms.
const EDGE: &str = "scrape_edge";

/// The pages of a stage, each read once.
#[derive(Default)]
pub(crate) struct Pages {
    of_servers: Vec<Page>,
    /// The page of a dcgm-exporter.
    pub(super) exporter: Option<Page>,
    missing: Vec<Missing>,
}

impl Pages {
    /// Reads each page once.
    ///
    /// # Errors
    /// A page that the plan names cannot be read. That an endpoint has none is no error.
    pub(crate) fn open(
        plan: &ObservePlan,
        target: &Target,
        settings: &TargetSettings<'_>,
        may_ask: bool,
    ) -> Result<Self, RunError> {
        let mut found = Self::default();
        match &plan.metrics {
            MetricsPages::Off => {}
            // A target that is asked nothing but the load is not asked for its metrics.
            MetricsPages::Auto if !may_ask => {}
            MetricsPages::Auto => {
                for endpoint in 0..target.endpoints.len() {
                    let page = Page::of_endpoint(target, endpoint);
                    if !found.has(&page) {
                        found.take(page);
                    }
                }
            }
            MetricsPages::Urls(urls) => {
                let token = plan.metrics_token.as_ref().map(key::read).transpose()?;
                for url in urls {
                    let page = Page::at(url, token.clone(), target, settings)?;
                    read(&page).map_err(|why| RunError::Page(format!("{}: {why}", page.name)))?;
                    if !found.has(&page) {
                        found.of_servers.push(page);
                    }
                }
            }
        }
        if let loadline_schema::observe::GpuChoice::Exporter(url) = &plan.gpu {
            let page = Page::at(url, None, target, settings)?;
            page.fetch().map_err(|why| RunError::Page(format!("{}: {why}", page.name)))?;
            found.exporter = Some(page);
        }
        Ok(found)
    }

    /// Whether it is there under this or another name: it would count twice.
    fn has(&self, page: &Page) -> bool {
        self.of_servers.iter().any(|known| known.place() == page.place())
    }

    fn take(&mut self, page: Page) {
        match read(&page) {
            Ok(_) => self.of_servers.push(page),
            Err(why) => {
                let missing = Missing {
                    kind: MissingKind::Unavailable,
                    reason: format!(
                        "{}: {why} (llama.cpp has metrics with --metrics, SGLang with \
                         --enable-metrics)",
                        page.name
                    ),
                    grant: None,
                };
                self.missing.push(missing);
            }
        }
    }

    /// What there is, for the log.
    pub(crate) fn tell(&self, observing: &mut Observing) {
        observing.pages.extend(self.of_servers.iter().map(|page| page.name.clone()));
        let missing = self.missing.iter().cloned();
        observing.missing.extend(missing.map(|missing| (ObserverKind::Metrics, missing)));
    }

    /// Starts an observer for each page.
    pub(crate) fn start(&self, observers: &mut Observers, course: &Course) {
        for page in &self.of_servers {
            let look = Box::new(Metrics { page: page.clone(), clock: course.clock });
            observers.add(ObserverKind::Metrics, page.name.clone(), look, course);
        }
    }
}

/// The page as it is now, where it has a metric whose meaning is known.
fn read(page: &Page) -> Result<Snapshot, String> {
    let bytes = page.fetch()?;
    let scrape = parse(&bytes, None, &Limits::default()).map_err(|error| error.to_string())?;
    let snapshot = Snapshot::of(&scrape);
    if stored_series(&snapshot, true).is_empty() {
        return Err("none of its metrics is one of an LLM server that is known".to_owned());
    }
    Ok(snapshot)
}

struct Metrics {
    page: Page,
    clock: loadline_clock::RunClock,
}

impl Look for Metrics {
    fn look(&mut self, now_ns: u64, at_edge: bool) -> Result<Seen, String> {
        let snapshot = read(&self.page)?;
        let mut rows = stored_series(&snapshot, at_edge);
        let took_s = (self.clock.now_ns() - now_ns) as f64 / 1e9;
        rows.push((DURATION.to_owned(), took_s));
        if at_edge {
            rows.push((EDGE.to_owned(), 1.0));
        }
        let is_busy = snapshot.gauges.iter().any(is_at_work);
        Ok(Seen { rows: at(now_ns, rows), is_busy, partial: None })
    }
}

/// Whether a gauge says that requests are in the server.
fn is_at_work(family: &Family<f64>) -> bool {
    let Some(known) = known(&family.name) else { return false };
    // Series that tell different things apart may be limits.
    known.metric.apart.is_empty()
        && matches!(known.metric.meaning, Meaning::Running | Meaning::Waiting)
        && family.series.iter().any(|series| series.value > 0.0)
}
