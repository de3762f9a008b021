//! A storage stage: where it was measured, the answers (how long a model loads, a checkpoint saves,
//! which targets are missed), what to beware of, then every cell with its interval.

use loadline_schema::document::{Document, Estimate, StorageResult, StorageSummary};
use loadline_schema::event::Warning;
use loadline_schema::storage::{FilesystemFacts, LoadSentence, StorageLoad};

use super::caveats::{self as run_caveats, advise};
use super::{Page, answer, storage_blocks as blocks, storage_whole as whole};
use crate::quantity::{self, ABSENT};
use crate::style::Tone;
use crate::table::{Column, Table};
use crate::words::{self, plain};

/// Marks of a row: data may come from memory, bandwidth was not steady.
const CACHED: char = '*';
const NOT_STEADY: char = '~';
/// Warnings that marks stand for.
const MARKED: [&str; 3] = ["cached", "memory_filesystem", "not_steady"];
/// Mount options that decide bandwidth.
const OPTIONS: [&str; 12] = [
    "sync",
    "async",
    "noac",
    "soft",
    "rsize",
    "wsize",
    "proto",
    "direct_io",
    "nocto",
    "cache",
    "data",
    "compress",
];

/// What holds for the whole run stands with the first stage, after its answers.
pub(super) fn section(
    page: &mut Page,
    document: &Document,
    stage: &StorageSummary,
    is_first: bool,
) {
    let cells: Vec<&StorageResult> =
        document.storage.iter().filter(|cell| cell.stage == stage.stage).collect();
    head(page, document, stage, &cells);
    let answers = answers(stage, &cells);
    let is_empty = cells.iter().all(|cell| cell.trials == 0);
    if is_empty || !answers.is_empty() {
        page.blank();
    }
    if is_empty {
        page.paragraph("Nothing was measured: no trial left a figure.", 0, Tone::Bad);
    }
    for (name, text, tone) in answers {
        answer::line(page, &name, &text, tone);
    }
    if is_first {
        run_caveats::of_run(page, document);
    }
    caveats(page, &cells);
    leftovers(page, stage);
    for path in paths(&cells) {
        let here: Vec<&StorageResult> =
            cells.iter().filter(|cell| cell.path == path).copied().collect();
        let note = if paths(&cells).len() > 1 { plain(path) } else { String::new() };
        blocks::section(page, &here, &note);
        whole::checkpoints(page, &here, &note);
        whole::loads(page, &here, &note);
    }
    if stage.imported {
        page.blank();
        page.paragraph("Imported: measured by another tool, not by Loadline.", 0, Tone::Warning);
    }
}

/// The paths in the order of the cells.
pub(super) fn paths<'a>(cells: &[&'a StorageResult]) -> Vec<&'a str> {
    let mut paths: Vec<&str> = Vec::new();
    for cell in cells {
        if !paths.contains(&cell.path.as_str()) {
            paths.push(&cell.path);
        }
    }
    paths
}

fn head(page: &mut Page, document: &Document, stage: &StorageSummary, cells: &[&StorageResult]) {
    let many =
        document.storage_stages.len() + document.engine_stages.len() + document.serving.len() > 1;
    page.blank();
    if many {
        page.hanging("", "", &format!("{}: storage", plain(&stage.stage)), Tone::Strong);
    }
    for facts in &stage.filesystems {
        page.hanging("", "", &plain(&facts.path), Tone::Strong);
        page.paragraph(&filesystem_words(facts).join(" · "), 0, Tone::Faint);
    }
    if stage.filesystems.is_empty() {
        let paths: Vec<String> = paths(cells).into_iter().map(plain).collect();
        page.hanging("", "", &format!("Storage at {}", paths.join(", ")), Tone::Strong);
    }
}

/// What decides the speed of a file system, in pieces.
pub(crate) fn filesystem_words(facts: &FilesystemFacts) -> Vec<String> {
    let mut words = vec![format!("{} from {}", plain(&facts.kind), plain(&facts.source))];
    if facts.mount_point != facts.path && !facts.mount_point.is_empty() {
        words.push(format!("mounted on {}", plain(&facts.mount_point)));
    }
    words.extend(facts.nfs_version.as_ref().map(|version| format!("vers={}", plain(version))));
    words.extend(facts.nfs_nconnect.map(|n| format!("nconnect={n}")));
    let matters = |option: &&String| {
        let name = option.split('=').next().unwrap_or(option);
        OPTIONS.contains(&name)
    };
    words.extend(facts.options.iter().filter(matters).map(|option| plain(option)));
    if let Some(device) = &facts.device {
        let model = facts.device_model.as_deref().map(|model| format!(" ({})", plain(model)));
        words.push(format!("device {}{}", plain(device), model.unwrap_or_default()));
    }
    if facts.rotational == Some(true) {
        words.push("rotating disk".to_owned());
    }
    words.extend(facts.scheduler.as_ref().map(|name| format!("scheduler {}", plain(name))));
    words.extend(
        facts.read_ahead_bytes.map(|n| format!("read-ahead {}", quantity::binary_bytes(n))),
    );
    words.push(if facts.direct.supported {
        let align = quantity::binary_bytes(u64::from(facts.direct.offset_align));
        format!("direct I/O aligned to {align}")
    } else {
        "no direct I/O".to_owned()
    });
    if facts.total_bytes > 0 {
        words.push(format!(
            "{} of {} free",
            quantity::decimal_bytes(facts.free_bytes as f64),
            quantity::decimal_bytes(facts.total_bytes as f64)
        ));
    }
    words
}

/// Name, text and tone of each answer.
pub(crate) fn answers(
    stage: &StorageSummary,
    cells: &[&StorageResult],
) -> Vec<(String, String, Tone)> {
    let mut answers = Vec::new();
    let several = stage.model_loads.len() > 1;
    for LoadSentence { path, sentence, flags, .. } in &stage.model_loads {
        let at = if several { format!("{}: ", plain(path)) } else { String::new() };
        answers.push(("Model load".to_owned(), format!("{at}{}", plain(sentence)), Tone::Strong));
        for (engine, flag) in flags {
            answers.push((plain(engine), plain(flag), Tone::Plain));
        }
    }
    answers.extend(whole::checkpoint_answers(cells));
    for cell in cells {
        if let Some((text, tone)) = verdict(cells, cell) {
            answers.push(("Target".to_owned(), text, tone));
        }
    }
    answers
}

/// "seq-write 480 MB/s (470 MB/s–490 MB/s): misses 500 MB/s".
fn verdict(cells: &[&StorageResult], cell: &StorageResult) -> Option<(String, Tone)> {
    let (target, rate) = (cell.target?, cell.bytes_per_s?);
    let word = match (target.met, target.certain) {
        (true, true) => "reaches",
        (true, false) => "likely reaches",
        (false, true) => "misses",
        (false, false) => "likely misses",
    };
    let wanted = quantity::bandwidth(target.bytes_per_s);
    let assumed = if target.assumed { ", the default target" } else { "" };
    let memory = if cell.cached { ", but may be a figure of memory" } else { "" };
    let rate = quantity::estimate(&rate, quantity::bandwidth);
    let text = format!("{} {rate}: {word} {wanted}{assumed}{memory}", place(cells, cell));
    Some((text, if target.met { Tone::Plain } else { Tone::Bad }))
}

/// A cell by what tells it from the others: its workload, its setting, its path.
pub(crate) fn place(cells: &[&StorageResult], cell: &StorageResult) -> String {
    let alike =
        |other: &&&StorageResult| other.workload == cell.workload && other.path == cell.path;
    let words = if cells.iter().filter(alike).count() > 1 {
        plain(&cell.setting)
    } else {
        cell.workload.to_string()
    };
    if paths(cells).len() > 1 { format!("{} on {}", words, plain(&cell.path)) } else { words }
}

/// Warnings that no mark stands for, and no failure says already.
pub(crate) fn told(cell: &StorageResult) -> impl Iterator<Item = &Warning> {
    let failed = cell.failed.as_deref().unwrap_or_default();
    cell.warnings.iter().filter(move |warning| {
        !MARKED.contains(&warning.code.as_str()) && warning.message != failed
    })
}

/// Failures first, then each message once with its cells.
fn caveats(page: &mut Page, cells: &[&StorageResult]) {
    let mut groups: Vec<(&Warning, Vec<String>)> = Vec::new();
    for cell in cells {
        for warning in told(cell) {
            let at = place(cells, cell);
            match groups.iter_mut().find(|(known, _)| *known == warning) {
                Some((_, places)) => places.push(at),
                None => groups.push((warning, vec![at])),
            }
        }
    }
    let failed: Vec<&&StorageResult> = cells.iter().filter(|cell| cell.failed.is_some()).collect();
    if failed.is_empty() && groups.is_empty() {
        return;
    }
    page.blank();
    for cell in failed {
        let why = plain(cell.failed.as_deref().unwrap_or_default());
        page.hanging("! ", "  ", &format!("{}: {why}", place(cells, cell)), Tone::Bad);
    }
    for (index, (warning, places)) in groups.iter().enumerate() {
        let is_bad = matches!(warning.code.as_str(), "stalled" | "io_failure" | "verify_failed");
        let tone = if is_bad { Tone::Bad } else { Tone::Warning };
        let message = plain(&warning.message);
        let text = if places.len() == cells.len() && places.len() > 1 {
            message
        } else {
            format!("{}: {message}", listed(places))
        };
        page.hanging("! ", "  ", &text, tone);
        // The same advice stands once, after the last that it is for.
        let again = groups.get(index + 1).is_some_and(|(next, _)| next.advice == warning.advice);
        if !again {
            advise(page, &warning.advice);
        }
    }
}

/// The first two of some places, and how many more there are.
fn listed(places: &[String]) -> String {
    match places {
        [first, second, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second} and {} more", quantity::count(rest.len() as u64))
        }
        few => few.join(" and "),
    }
}

fn leftovers(page: &mut Page, stage: &StorageSummary) {
    for left in &stage.leftovers {
        let of = format!("{} of {}", plain(&left.path), plain(&left.host));
        let (text, tone) = match &left.why {
            _ if left.removed => (format!("removed what an earlier run left: {of}"), Tone::Faint),
            Some(why) => (format!("an earlier run left {of}: {}", plain(why)), Tone::Warning),
            None => (format!("an earlier run left {of}"), Tone::Warning),
        };
        page.hanging("! ", "  ", &text, tone);
    }
}

/// Whether figures of storage may be those of memory; a warm start is meant to be.
fn is_doubtful(cell: &StorageResult) -> bool {
    let is_warm = matches!(&cell.cell.load, StorageLoad::ModelLoad(load) if !load.cold);
    cell.cached && !is_warm
}

/// The marks of a row.
pub(super) fn marks(cell: &StorageResult) -> String {
    let marks = [(is_doubtful(cell), CACHED), (cell.steady == Some(false), NOT_STEADY)];
    marks.iter().filter(|(is_so, _)| *is_so).map(|(_, mark)| *mark).collect()
}

/// What the marks of these rows mean, each reason once.
pub(crate) fn legend(cells: &[&StorageResult]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for cell in cells.iter().filter(|cell| is_doubtful(cell)) {
        let why = cell.cache_reason.as_deref().map(|why| format!(": {}", plain(why)));
        let line = format!("{CACHED} figures may be those of memory{}", why.unwrap_or_default());
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let restless: Vec<&StorageResult> =
        cells.iter().filter(|cell| cell.steady == Some(false)).copied().collect();
    if !restless.is_empty() {
        let most = |of: &dyn Fn(&StorageResult) -> f64| {
            quantity::percent(restless.iter().map(|cell| of(cell)).fold(0.0, f64::max))
        };
        let worst =
            |cell: &StorageResult,
             of: fn(&loadline_schema::storage::StorageTimeline) -> Option<f64>| {
                cell.timeline.iter().filter_map(of).map(f64::abs).fold(0.0, f64::max)
            };
        lines.push(format!(
            "{NOT_STEADY} not steady: single seconds up to {} off the mean, a trend of up to {} (10 % \
             each are steady)",
            most(&|cell| worst(cell, |t| t.deviation)),
            most(&|cell| worst(cell, |t| t.slope)),
        ));
    }
    lines
}

/// The legend below a table.
pub(super) fn print_legend(page: &mut Page, cells: &[&StorageResult]) {
    for line in legend(cells) {
        let (mark, text) = line.split_once(' ').unwrap_or(("", &line));
        page.hanging(&format!("{mark} "), "  ", text, Tone::Warning);
    }
}

/// The cells as tables: blocks, checkpoints, model loads.
pub(crate) fn tables(cells: &[&StorageResult]) -> Vec<Vec<Column>> {
    let of = |is_so: fn(&StorageLoad) -> bool| -> Vec<&StorageResult> {
        cells.iter().filter(|cell| is_so(&cell.cell.load)).copied().collect()
    };
    let several = paths(cells).len() > 1;
    let with_path = |rows: &[&StorageResult], mut columns: Vec<Column>| {
        if several {
            let paths = rows.iter().map(|cell| plain(&cell.path)).collect();
            columns.insert(0, Column::words("path", paths));
        }
        columns
    };
    let io = of(|load| matches!(load, StorageLoad::Io(_)));
    let saves = of(|load| matches!(load, StorageLoad::Checkpoint(_)));
    let loads = of(|load| matches!(load, StorageLoad::ModelLoad(_)));
    let all = [
        (blocks::columns(&io), io),
        (whole::checkpoint_columns(&saves), saves),
        (whole::load_columns(&loads), loads),
    ];
    let filled = all.into_iter().filter(|(_, rows)| !rows.is_empty());
    filled.map(|(columns, rows)| with_path(&rows, columns)).collect()
}

/// Words of a row: a column whose cells are words, in the group of settings.
pub(super) fn named(label: &str, cells: Vec<String>) -> Column {
    Column::words(label, cells).in_group("setting").toned(Tone::Strong)
}

/// Half of an interval: "±12".
pub(super) fn half(rate: Option<Estimate>, unit: f64) -> String {
    let half = rate.and_then(|rate| Some((rate.high? - rate.value) / unit));
    half.map_or_else(|| ABSENT.to_owned(), |half| format!("±{}", quantity::digits(half, 2)))
}

/// A value in a unit, three digits.
pub(super) fn value(rate: Option<Estimate>, unit: f64) -> String {
    rate.map_or_else(|| ABSENT.to_owned(), |rate| quantity::number(rate.value / unit))
}

/// A title with a note, a table without the columns that nobody has, and its legend.
pub(super) fn print_table(
    page: &mut Page,
    title: (&str, &str),
    columns: Vec<Column>,
    cells: &[&StorageResult],
) {
    page.heading(title.0, title.1);
    page.table(&Table::new(columns));
    print_legend(page, cells);
}

/// "3 trials", where all cells have as many.
pub(super) fn trials_note(cells: &[&StorageResult]) -> String {
    let first = cells.first().map_or(0, |cell| cell.trials);
    if cells.iter().any(|cell| cell.trials != first) {
        return "mean over trials".to_owned();
    }
    match first {
        0 => "no trial ended".to_owned(),
        1 => "one trial".to_owned(),
        n => format!("mean of {}", words::counted(u64::from(n), "trial", "trials")),
    }
}
