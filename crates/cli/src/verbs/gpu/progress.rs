//! What is seen while GPUs are watched.

use std::collections::BTreeMap;
use std::io::IsTerminal;

use loadline_report::quantity;
use loadline_schema::gpu::GpuField;

use super::watch::Watch;
use crate::output::say;

/// A line that moves, in a terminal; one line at the begin elsewhere.
pub(super) struct Progress {
    bar: Option<indicatif::ProgressBar>,
    is_quiet: bool,
    end_ns: Option<u64>,
}

impl Progress {
    pub(super) fn new(is_quiet: bool, end_ns: Option<u64>) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let bar = (!is_quiet && is_terminal).then(indicatif::ProgressBar::new_spinner);
        Self { bar, is_quiet, end_ns }
    }

    pub(super) fn show(&mut self, watch: &Watch) {
        if self.is_quiet {
            return;
        }
        let end = self.end_ns.map(|ns| format!(" of {}", quantity::duration(ns as f64)));
        let end = end.unwrap_or_default();
        let Some(bar) = &self.bar else {
            self.is_quiet = true;
            let instances = watch.latest().filter(|reading| reading.mig.is_some()).count();
            let gpus = watch.latest().count() - instances;
            let noun = if gpus == 1 { "GPU" } else { "GPUs" };
            let instances = match instances {
                0 => String::new(),
                1 => " and 1 MIG instance".to_owned(),
                n => format!(" and {n} MIG instances"),
            };
            say(&format!("watching {gpus} {noun}{instances}{}", end.replace(" of ", " for ")));
            return;
        };
        let mut sums: BTreeMap<GpuField, (f64, u32)> = BTreeMap::new();
        for reading in watch.latest().filter(|reading| reading.mig.is_none()) {
            for field in [GpuField::PowerW, GpuField::SmActive] {
                if let Some(value) = reading.get(field) {
                    let (sum, n) = sums.entry(field).or_default();
                    (*sum, *n) = (*sum + value, *n + 1);
                }
            }
        }
        let mut words = format!("{}{end}", quantity::duration(watch.since_first_ns() as f64));
        if let Some((watts, _)) = sums.get(&GpuField::PowerW) {
            words += &format!("  power {} W", quantity::number(*watts));
        }
        if let Some((active, n)) = sums.get(&GpuField::SmActive) {
            words += &format!("  SM active {}", quantity::percent(active / f64::from(*n)));
        }
        bar.set_message(words);
        bar.tick();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
