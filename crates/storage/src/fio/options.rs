//! A job's options: its own before those of `[global]`, all of them text.

use serde_json::Value;

use super::document::Object;
use super::{quoted, size};

/// Options that change no figure, or stand in a note of their own.
const SILENT: [&str; 26] = [
    "name",
    "description",
    "group_reporting",
    "new_group",
    "stonewall",
    "wait_for_previous",
    "thread",
    "randrepeat",
    "allrandrepeat",
    "randseed",
    "percentile_list",
    "slat_percentiles",
    "clat_percentiles",
    "lat_percentiles",
    "disable_slat",
    "write_bw_log",
    "write_lat_log",
    "write_iops_log",
    "write_hist_log",
    "log_avg_msec",
    "significant_figures",
    "bwavgtime",
    "iopsavgtime",
    "filename_format",
    "unlink",
    "create_on_open",
];

/// Options that [`super::setting`] reads.
const READ: [&str; 36] = [
    "rw",
    "rwmixread",
    "rwmixwrite",
    "bs",
    "bsrange",
    "bssplit",
    "kb_base",
    "size",
    "filesize",
    "numjobs",
    "iodepth",
    "ioengine",
    "direct",
    "buffered",
    "sync",
    "fsync",
    "fdatasync",
    "end_fsync",
    "rate_iops",
    "rate_process",
    "runtime",
    "time_based",
    "ramp_time",
    "loops",
    "buffer_compress_percentage",
    "dedupe_percentage",
    "zero_buffers",
    "verify",
    "filename",
    "directory",
    "steadystate",
    "steadystate_duration",
    "steadystate_ramp_time",
    "continue_on_error",
    "unified_rw_reporting",
    "invalidate",
];

/// Most of the other options that a note names.
const OTHERS: usize = 12;

/// The options of a job.
#[derive(Clone, Copy)]
pub(super) struct Options<'a> {
    global: &'a Object,
    /// Absent where fio did not state them.
    own: Option<&'a Object>,
}

impl<'a> Options<'a> {
    pub(super) fn new(global: &'a Object, job: &'a Object) -> Self {
        Self { global, own: job.get("job options").and_then(Value::as_object) }
    }

    /// Whether any are stated.
    pub(super) fn are_stated(&self) -> bool {
        self.own.is_some() || !self.global.is_empty()
    }

    /// Those of the job alone.
    pub(super) fn own(&self) -> Option<&'a Object> {
        self.own
    }

    /// An option's text. Numbers, where a version writes such, are text, too.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let value = self.own.and_then(|own| own.get(name)).or_else(|| self.global.get(name))?;
        Some(match value {
            Value::String(text) => text.trim().to_owned(),
            Value::Null => String::new(),
            other => other.to_string(),
        })
    }

    /// A number.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        let number: f64 = self.text(name)?.parse().ok()?;
        (number.is_finite() && number >= 0.0).then_some(number)
    }

    /// A whole number.
    pub(super) fn whole(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// Whether it is set; bare options are.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        Some(!matches!(self.text(name)?.as_str(), "0" | "false"))
    }

    /// Entries of a list for reads and for writes: `4k,8k`; the first one counts for both where
    /// there is no second.
    pub(super) fn read_write(&self, name: &str) -> Option<(String, String)> {
        let text = self.text(name)?;
        let mut entries = text.split(',').map(str::trim);
        let read = entries.next().unwrap_or("").to_owned();
        let write = entries.next().map_or_else(|| read.clone(), str::to_owned);
        Some((read, write))
    }

    /// A size for reads and for writes, bytes.
    pub(super) fn sizes(&self, name: &str) -> Option<(Option<u64>, Option<u64>)> {
        let base = if self.whole("kb_base") == Some(1000) { 1000 } else { 1024 };
        let (read, write) = self.read_write(name)?;
        Some((size::bytes(&read, base), size::bytes(&write, base)))
    }

    /// A time, ns.
    pub(super) fn time_ns(&self, name: &str) -> Option<u64> {
        size::time_ns(&self.text(name)?)
    }

    /// A note about options that are in no other place of what is imported.
    pub(super) fn others(&self) -> Option<String> {
        let own = self.own.into_iter().flat_map(|own| own.keys());
        let global =
            self.global.keys().filter(|name| !self.own.is_some_and(|own| own.contains_key(*name)));
        let mut names: Vec<&String> = own
            .chain(global)
            .filter(|name| !SILENT.contains(&name.as_str()) && !READ.contains(&name.as_str()))
            .collect();
        names.sort();
        if names.is_empty() {
            return None;
        }
        let more = names.len().saturating_sub(OTHERS);
        let stated = names.iter().take(OTHERS).map(|name| {
            let value = self.text(name).unwrap_or_default();
            quoted(&if value.is_empty() { (*name).clone() } else { format!("{name}={value}") })
        });
        let mut stated: Vec<String> = stated.collect();
        if more > 0 {
            stated.push(format!("{more} more"));
        }
        Some(format!(
            "These options of fio are not part of the imported setting: {}.",
            stated.join(", ")
        ))
    }
}
