//! A histogram as bars, one line for each bucket, with the quantiles beside the buckets that hold
//! them.

use loadline_schema::latency::{BucketCount, LatencyResult};

use super::super::Page;
use super::{Scale, name};
use crate::quantity;
use crate::style::Tone;
use crate::words::columns;

/// Parts of a full block, from one eighth up.
const EIGHTHS: [&str; 8] = ["▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"];
/// Columns of the longest bar, where there is room.
const LONGEST: usize = 48;
/// Columns that the longest bar should have.
const SHORTEST: usize = 8;

/// A line of the picture.
struct Row {
    label: String,
    n: u64,
    share: String,
    quantiles: String,
}

pub(super) fn picture(page: &mut Page, result: &LatencyResult, scale: &Scale) {
    let rows = rows(result, scale);
    let most = rows.iter().map(|row| row.n).max().unwrap_or(0);
    if most == 0 {
        return;
    }
    let width = |cell: fn(&Row) -> usize| rows.iter().map(cell).max().unwrap_or(0);
    let label = width(|row| columns(&row.label));
    let count = width(|row| columns(&quantity::count(row.n)));
    let share = width(|row| columns(&row.share));
    let quantiles = width(|row| columns(&row.quantiles));
    let page_width = page.style.columns();
    let room = page_width.saturating_sub(label + count + share + quantiles + 8);
    // On a narrow page the bar is worth more than the share.
    let (share, room) =
        if room < SHORTEST { (None, room + share + 2) } else { (Some(share), room) };
    let room = room.clamp(1, LONGEST);
    page.blank();
    for row in &rows {
        let bar = bar(row.n, most, room);
        let style = page.style;
        let cells = [
            right(&row.label, label),
            format!("{bar}{}", " ".repeat(room - columns(&bar))),
            right(&quantity::count(row.n), count),
        ];
        let share = share.map(|share| right(&row.share, share));
        let quantiles = style.paint(&row.quantiles, Tone::Strong);
        let cells: Vec<String> = cells.into_iter().chain(share).chain([quantiles]).collect();
        page.line(&cells.join("  "));
    }
}

fn right(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(columns(text))))
}

/// A bar in eighths of a column; anything above zero has at least one.
fn bar(n: u64, most: u64, room: usize) -> String {
    let eighths = (n as f64 / most as f64 * (room * 8) as f64).round() as usize;
    let eighths = if n > 0 { eighths.max(1) } else { 0 };
    let mut bar = "█".repeat(eighths / 8);
    if eighths % 8 > 0 {
        bar.push_str(EIGHTHS[eighths % 8 - 1]);
    }
    bar
}

/// The buckets from the first to the last that holds a value.
fn rows(result: &LatencyResult, scale: &Scale) -> Vec<Row> {
    let buckets = &result.buckets;
    let held = |bucket: &BucketCount| bucket.n > 0;
    let Some(first) = buckets.iter().position(held) else { return Vec::new() };
    let last = buckets.iter().rposition(held).unwrap_or(first);
    let row = |at: usize| {
        let BucketCount { le, n } = buckets[at];
        let low = at.checked_sub(1).and_then(|before| buckets[before].le);
        let label = match (low, le) {
            (None, le) => format!("≤ {}", scale.bound(le)),
            (low, None) => format!("> {}", scale.bound(low)),
            (low, le) => format!("{}–{}", scale.bound(low), scale.bound(le)),
        };
        let inside = result.quantiles.iter().filter(|found| {
            let is_there = found.value.is_some() && found.n_in_bucket > 0;
            is_there && found.high == le
        });
        let quantiles: Vec<String> = inside.map(name).collect();
        Row {
            label,
            n,
            share: quantity::percent(n as f64 / result.n as f64),
            quantiles: quantiles.join(" "),
        }
    };
    (first..=last).map(row).collect()
}
