//! Whole files: checkpoints that are saved and restored, models that are loaded.

use loadline_schema::document::{Estimate, StorageResult};
use loadline_schema::storage::{CheckpointResult, StorageLoad};

use super::Page;
use super::storage::{half, marks, named, paths, print_table, trials_note, value};
use crate::quantity::{self, ABSENT};
use crate::style::Tone;
use crate::table::Column;
use crate::words::plain;

fn of<'a>(here: &[&'a StorageResult], is_so: fn(&StorageLoad) -> bool) -> Vec<&'a StorageResult> {
    here.iter().filter(|cell| is_so(&cell.cell.load)).copied().collect()
}

fn note(cells: &[&StorageResult], path: &str) -> String {
    let trials = trials_note(cells);
    if path.is_empty() { trials } else { format!("{path}; {trials}") }
}

/// A number of seconds as a duration.
fn seconds(s: f64) -> String {
    quantity::duration(s * 1e9)
}

fn estimate(value: Option<Estimate>, text: fn(f64) -> String) -> Option<String> {
    value.map(|value| quantity::estimate(&value, text))
}

/// What each checkpoint comes to: name, text, tone.
pub(super) fn checkpoint_answers(cells: &[&StorageResult]) -> Vec<(String, String, Tone)> {
    let several = paths(cells).len() > 1;
    let told = cells.iter().filter_map(|cell| {
        let checkpoint = cell.checkpoint.as_ref()?;
        let save = checkpoint.full_save_s?;
        let size = quantity::decimal_bytes(checkpoint.full_bytes as f64);
        let model = plain(&checkpoint.model);
        let on = if several { format!(" on {}", plain(&cell.path)) } else { String::new() };
        let mut text = format!("a save of {model} ({size}){on} takes {}", seconds(save));
        if is_scaled(checkpoint) {
            text.push_str(", extrapolated from a smaller one");
        }
        if let (Some(interval), Some(share)) = (checkpoint.interval_s, checkpoint.time_share) {
            let share = quantity::percent(share);
            text.push_str(&format!("; every {} that is {share} of the time", seconds(interval)));
        }
        if cell.cached {
            text.push_str("; it may be a figure of memory");
        }
        Some(("Checkpoint".to_owned(), text, Tone::Strong))
    });
    told.collect()
}

fn is_scaled(checkpoint: &CheckpointResult) -> bool {
    // Files are whole multiples of 4 KiB, so that sizes differ a little without scaling, too.
    (checkpoint.bytes as f64) < 0.99 * checkpoint.full_bytes as f64
}

/// Each checkpoint as a list of what was found.
pub(super) fn checkpoints(page: &mut Page, here: &[&StorageResult], path: &str) {
    let cells = of(here, |load| matches!(load, StorageLoad::Checkpoint(_)));
    for cell in &cells {
        let Some(checkpoint) = &cell.checkpoint else { continue };
        let title = format!("Checkpoint {}", marks(cell));
        page.heading(title.trim_end(), &note(&[cell], path));
        page.paragraph(&plain(&cell.setting), 0, Tone::Faint);
        for (name, text) in facts(cell, checkpoint) {
            page.hanging(&format!("  {name:11}"), &" ".repeat(13), &text, Tone::Plain);
        }
        super::storage::print_legend(page, &[cell]);
    }
}

/// Name and text of everything that is known of a checkpoint.
fn facts(cell: &StorageResult, checkpoint: &CheckpointResult) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let bandwidth = |rate: Option<Estimate>| {
        let rate = rate.map(|rate| format!(", {}", quantity::bandwidth(rate.value)));
        rate.unwrap_or_default()
    };
    if let Some(save) = estimate(checkpoint.save_s, seconds) {
        let size = quantity::decimal_bytes(checkpoint.bytes as f64);
        facts.push(("save", format!("{size} in {save}{}", bandwidth(cell.bytes_per_s))));
    }
    if let Some(share) = checkpoint.fsync_share {
        facts.push(("fsync", format!("{} of the slowest rank's time", quantity::percent(share))));
    }
    if let (Some(rank), Some(ratio)) = (checkpoint.slowest_rank, checkpoint.slowest_ratio) {
        let ratio = quantity::number(ratio);
        facts.push(("slowest", format!("rank {rank}, {ratio} times the median of the ranks")));
    }
    if let Some(restore) = estimate(checkpoint.restore_s, seconds) {
        let rate = bandwidth(checkpoint.restore_bytes_per_s);
        facts.push(("restore", format!("{restore}{rate}")));
    }
    if let Some(save) = checkpoint.full_save_s.filter(|_| is_scaled(checkpoint)) {
        let size = quantity::decimal_bytes(checkpoint.full_bytes as f64);
        let text = format!("{size} would take {} at that bandwidth", seconds(save));
        facts.push(("real size", text));
    }
    if let (Some(interval), Some(share)) = (checkpoint.interval_s, checkpoint.time_share) {
        let share = quantity::percent(share);
        facts.push((
            "interval",
            format!("every {}: saves take {share} of the time", seconds(interval)),
        ));
    }
    if let (Some(best), Some(loss)) = (checkpoint.optimum_s, checkpoint.optimum_loss) {
        let loss = quantity::percent(loss);
        let text =
            format!("every {}: saves and lost work take {loss} (Young, Daly)", seconds(best));
        facts.push(("optimum", text));
    }
    facts
}

/// Checkpoints as columns, for Markdown.
pub(crate) fn checkpoint_columns(cells: &[&StorageResult]) -> Vec<Column> {
    let number = |group: &str, label: &str, text: &dyn Fn(&CheckpointResult) -> Option<String>| {
        let text = |cell: &&StorageResult| {
            cell.checkpoint.as_ref().and_then(text).unwrap_or_else(|| ABSENT.to_owned())
        };
        Column::numbers(group, label, cells.iter().map(text).collect())
    };
    let percent = |share: Option<f64>| share.map(quantity::percent);
    let settings = cells
        .iter()
        .map(|cell| format!("{} {}", plain(&cell.setting), marks(cell)).trim_end().to_owned());
    let rates = cells.iter().map(|cell| value(cell.bytes_per_s, 1e6)).collect();
    let columns = vec![
        named("checkpoint", settings.collect()),
        number("", "save", &|c| estimate(c.save_s, seconds)),
        Column::numbers("", "MB/s", rates),
        number("", "fsync", &|c| percent(c.fsync_share)),
        number("slowest", "rank", &|c| c.slowest_rank.map(|rank| rank.to_string())),
        number("slowest", "÷ median", &|c| c.slowest_ratio.map(quantity::number)),
        number("", "restore", &|c| estimate(c.restore_s, seconds)),
        number("real size", "bytes", &|c| Some(quantity::decimal_bytes(c.full_bytes as f64))),
        number("real size", "save", &|c| c.full_save_s.map(seconds)),
        number("", "interval", &|c| c.interval_s.map(seconds)),
        number("", "of the time", &|c| percent(c.time_share)),
    ];
    columns.into_iter().filter(|column| column.has_content(&[ABSENT])).collect()
}

/// The ways to load a model, one row for each.
pub(super) fn loads(page: &mut Page, here: &[&StorageResult], path: &str) {
    let cells = of(here, |load| matches!(load, StorageLoad::ModelLoad(_)));
    if cells.is_empty() {
        return;
    }
    let mut note = note(&cells, path);
    if let Some(StorageLoad::ModelLoad(load)) = cells.first().map(|cell| &cell.cell.load) {
        let size = quantity::decimal_bytes(load.bytes as f64);
        note = format!("{size} of {}; {note}", load.format);
    }
    print_table(page, ("Model load", &note), load_columns(&cells), &cells);
}

/// The ways to load a model as columns.
pub(crate) fn load_columns(cells: &[&StorageResult]) -> Vec<Column> {
    let of = |text: &dyn Fn(&loadline_schema::storage::ModelLoad) -> String| -> Vec<String> {
        let text = |cell: &&StorageResult| match &cell.cell.load {
            StorageLoad::ModelLoad(load) => text(load),
            _ => ABSENT.to_owned(),
        };
        cells.iter().map(text).collect()
    };
    let ways = of(&|load| load.method.to_string());
    let ways = ways.into_iter().zip(cells);
    let ways = ways.map(|(way, cell)| format!("{way} {}", marks(cell)).trim_end().to_owned());
    let time = |cell: &StorageResult| cell.model_load.as_ref().and_then(|load| load.load_s);
    let number = |group: &str, label: &str, text: &dyn Fn(&StorageResult) -> String| {
        Column::numbers(group, label, cells.iter().map(|cell| text(cell)).collect())
    };
    let setting = |label: &str, text: Vec<String>| {
        Column::numbers("setting", label, text).toned(Tone::Strong)
    };
    let mut columns = vec![
        named("way", ways.collect()),
        setting("readers", of(&|load| load.readers.to_string())),
        named("start", of(&|load| if load.cold { "cold" } else { "warm" }.to_owned())),
        number("time, s", "mean", &|cell| value(time(cell), 1.0)),
        number("time, s", "±", &|cell| half(time(cell), 1.0).replace('±', "")),
        number("", "GB/s", &|cell| value(cell.bytes_per_s, 1e9)),
        number("", "trials", &|cell| cell.trials.to_string()),
    ];
    let ranks = of(&|load| format!("{} {}", load.ranks, load.sharing));
    if ranks.iter().any(|text| !text.starts_with("1 ")) {
        columns.push(Column::words("ranks", ranks));
    }
    let slowest = |cell: &StorageResult| {
        let rank = cell.model_load.as_ref().and_then(|load| load.slowest_rank);
        rank.map_or_else(|| ABSENT.to_owned(), |rank| rank.to_string())
    };
    columns.push(number("slowest", "rank", &slowest));
    columns.into_iter().filter(|column| column.has_content(&[ABSENT])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_a_unit() {
        assert_eq!(seconds(0.012), "12.0 ms");
        assert_eq!(seconds(223.0), "223 s");
    }
}
