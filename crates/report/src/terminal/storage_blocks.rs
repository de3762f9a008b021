//! Reads and writes of blocks: the table of cells, and their bandwidth over time.

use loadline_schema::document::StorageResult;
use loadline_schema::storage::{IoLatency, StorageLoad, StorageTimeline};

use super::Page;
use super::storage::{half, marks, named, place, print_table, trials_note, value};
use crate::quantity::{self, ABSENT, DurationUnit};
use crate::style::Tone;
use crate::table::Column;
use crate::words;

/// From nothing to the largest bandwidth of a trial.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Seconds from which on a trial has a course.
const LEAST_SECONDS: usize = 5;
/// Label of the column that says what issued the I/Os.
const ENGINE: &str = "engine";
/// Bars of a course at most.
const MOST_BARS: usize = 40;

pub(super) fn section(page: &mut Page, here: &[&StorageResult], path: &str) {
    let is_io = |cell: &&&StorageResult| matches!(cell.cell.load, StorageLoad::Io(_));
    let cells: Vec<&StorageResult> = here.iter().filter(is_io).copied().collect();
    if cells.is_empty() {
        return;
    }
    let with_path = |text: String| match path {
        "" => text,
        path => format!("{path}; {text}"),
    };
    let mut note = trials_note(&cells);
    if cells.iter().any(|cell| cell.bytes_per_s.is_some_and(|rate| rate.high.is_some())) {
        note.push_str(", ± half of the 95 % interval");
    }
    let mut columns = columns(&cells);
    // The largest latency is that of a single I/O: it is in the other formats.
    columns.retain(|column| !column.title().ends_with(" max"));
    if let Some(same) = shared_engine(&cells) {
        columns.retain(|column| column.title() != ENGINE);
        note = format!("{same}; {note}");
    }
    print_table(page, ("Blocks", &with_path(note)), columns, &cells);
    over_time(page, &cells);
}

/// The cells as columns; what no cell has is left out.
pub(crate) fn columns(cells: &[&StorageResult]) -> Vec<Column> {
    let texts = |text: &dyn Fn(&StorageResult) -> String| -> Vec<String> {
        cells.iter().map(|cell| text(cell)).collect()
    };
    let number = |group: &str, label: &str, text: &dyn Fn(&StorageResult) -> String| {
        Column::numbers(group, label, texts(text))
    };
    let setting = |label: &str, text: &dyn Fn(&StorageResult) -> String| {
        number("setting", label, text).toned(Tone::Strong)
    };
    let clat = |cell: &StorageResult| cell.clat_ns.clone();
    let sync = |cell: &StorageResult| cell.directions.get("sync")?.clat_ns.clone();
    let unit = unit(cells, &clat);
    let told =
        |latency: Option<IoLatency>, of: fn(&IoLatency) -> Option<u64>, unit: DurationUnit| {
            let ns = latency.as_ref().and_then(of);
            ns.map_or_else(|| ABSENT.to_owned(), |ns| unit.number(ns as f64))
        };
    let mut columns = vec![
        named(
            "workload",
            texts(&|cell| format!("{} {}", cell.workload, marks(cell)).trim_end().to_owned()),
        ),
        setting("bs", &|cell| quantity::binary_bytes(cell.bs_bytes)),
        setting("depth", &|cell| cell.iodepth.to_string()),
        setting("jobs", &|cell| cell.numjobs.to_string()),
        number("MB/s", "mean", &|cell| value(cell.bytes_per_s, 1e6)),
        number("MB/s", "±", &|cell| half(cell.bytes_per_s, 1e6).replace('±', "")),
        number("", "IOPS", &|cell| value(cell.iops, 1.0)),
    ];
    let group = format!("clat, {}", unit.name);
    let statistics: [(&str, fn(&IoLatency) -> Option<u64>); 3] =
        [("P50", |l| l.p50), ("P99", |l| l.p99), ("P99.9", |l| l.p999)];
    for (label, of) in statistics {
        columns.push(number(&group, label, &|cell| told(clat(cell), of, unit)));
    }
    columns.push(number(&group, "max", &|cell| told(clat(cell), |l| Some(l.max), unit)));
    columns.push(number("CPU/IO", "µs", &|cell| {
        cell.cpu_ns_per_io.map_or_else(|| ABSENT.to_owned(), |ns| quantity::number(ns / 1e3))
    }));
    let of_syncs = self::unit(cells, &sync);
    let group = format!("fsync, {}", of_syncs.name);
    for (label, of) in [statistics[0], statistics[1]] {
        columns.push(number(&group, label, &|cell| told(sync(cell), of, of_syncs)));
    }
    columns.push(Column::words(ENGINE, texts(&engine)));
    if cells.iter().any(|cell| cell.trials != cell.trials_planned) {
        let of = |cell: &StorageResult| format!("{} of {}", cell.trials, cell.trials_planned);
        columns.push(number("", "trials", &of));
    }
    columns.into_iter().filter(|column| column.has_content(&[ABSENT])).collect()
}

/// What issued the I/Os of all cells, where that is the same.
fn shared_engine(cells: &[&StorageResult]) -> Option<String> {
    let first = engine(cells.first()?);
    cells.iter().all(|cell| engine(cell) == first).then_some(first)
}

fn engine(cell: &StorageResult) -> String {
    let way = if cell.direct { "direct" } else { "buffered" };
    format!("{}, {way}", words::plain(&cell.engine))
}

fn unit(
    cells: &[&StorageResult],
    of: &dyn Fn(&StorageResult) -> Option<IoLatency>,
) -> DurationUnit {
    let latencies = cells.iter().filter_map(|cell| of(cell));
    let ends = latencies.flat_map(|l| [l.p50, l.p99.or(Some(l.max))]).flatten();
    DurationUnit::fitting(ends.map(|ns| ns as f64))
}

/// The course of each cell's first trial, and when its jobs were done.
fn over_time(page: &mut Page, cells: &[&StorageResult]) {
    let mut rows = Vec::new();
    for cell in cells {
        let Some(first) = cell.timeline.first() else { continue };
        let text = [course(first), ends(first)];
        let text: Vec<String> = text.into_iter().flatten().collect();
        if !text.is_empty() {
            rows.push((place(cells, cell), text));
        }
    }
    if rows.is_empty() {
        return;
    }
    page.heading("Over time", "bandwidth of the first trial, from 0 to its largest second");
    for (name, texts) in rows {
        page.paragraph(&name, 0, Tone::Strong);
        for text in texts {
            page.paragraph(&text, 2, Tone::Plain);
        }
    }
}

/// "▁▃▇█ 120–480 MB/s over 60 s".
fn course(timeline: &StorageTimeline) -> Option<String> {
    let seconds = &timeline.bytes;
    let most = *seconds.iter().max()?;
    if seconds.len() < LEAST_SECONDS || most == 0 {
        return None;
    }
    let bars = seconds.len().min(MOST_BARS);
    let bar = |index: usize| {
        let part = &seconds[index * seconds.len() / bars..(index + 1) * seconds.len() / bars];
        let mean = part.iter().sum::<u64>() as f64 / part.len() as f64;
        let level = (mean / most as f64 * (BARS.len() - 1) as f64).round() as usize;
        BARS[level.min(BARS.len() - 1)]
    };
    let bars: String = (0..bars).map(bar).collect();
    let least = *seconds.iter().min()?;
    Some(format!(
        "{bars} {} to {} in {} s",
        quantity::bandwidth(least as f64),
        quantity::bandwidth(most as f64),
        quantity::count(seconds.len() as u64)
    ))
}

/// When the first and the last job were done, where that is not the same moment.
fn ends(timeline: &StorageTimeline) -> Option<String> {
    let until = timeline.first_done_bytes_per_s?;
    let (first, last) = (timeline.first_done_ns as f64, timeline.last_done_ns as f64);
    // A hundredth of the time is how threads end together.
    (last - first > 0.01 * last).then(|| {
        format!(
            "first job done after {}, last after {}; until the first was done: {}",
            quantity::duration(first),
            quantity::duration(last),
            quantity::bandwidth(until)
        )
    })
}
