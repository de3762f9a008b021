//! Storage cells seen as points of a stage, for comparing runs, and in what the cells of two runs
//! differ beyond that.

use loadline_schema::document::{Document, Point, PointLoad, Serving};
use loadline_schema::storage::{IoExtent, StorageLoad, StorageResult};

/// What the points of cells have in the place of a law of arrivals.
pub(crate) const STORAGE: &str = "storage";

/// Whether a stage has cells on several paths, which settings alone do not tell apart.
pub(crate) fn has_paths(document: &Document) -> bool {
    document.storage_stages.iter().any(|stage| {
        let mut cells = document.storage.iter().filter(|cell| cell.stage == stage.stage);
        cells.next().is_some_and(|first| cells.any(|cell| cell.path != first.path))
    })
}

/// The document with a stage for each storage stage, whose points are its cells.
pub(crate) fn with_storage(mut document: Document, with_paths: bool) -> Document {
    let views: Vec<Serving> = document
        .storage_stages
        .iter()
        .map(|stage| {
            let cells = document.storage.iter().filter(|cell| cell.stage == stage.stage);
            let points = cells.filter(|cell| cell.trials > 0).map(|cell| Point {
                load: load(cell, with_paths),
                trials: cell.trials,
                trials_planned: cell.trials_planned,
                per_trial: cell.per_trial.clone(),
                ..Point::default()
            });
            Serving { stage: stage.stage.clone(), points: points.collect(), ..Serving::default() }
        })
        .collect();
    document.serving.extend(views);
    document
}

fn load(cell: &StorageResult, with_paths: bool) -> PointLoad {
    let words = cell.cell.in_words();
    let setting = if with_paths { format!("{}: {words}", cell.path) } else { words };
    PointLoad { setting: Some(setting), arrival: STORAGE.to_owned(), ..PointLoad::default() }
}

/// In what the cells at this point differ: what makes their figures mean different things, and what
/// a reader wants to know. `None` where the point is none of storage.
pub(crate) fn differences(
    baseline: (&Document, &str),
    candidate: (&Document, &str),
    point: &PointLoad,
    with_paths: bool,
) -> Option<(Vec<String>, Vec<String>)> {
    let of = |(document, stage): (&Document, &str)| -> Option<StorageResult> {
        let mut cells = document.storage.iter().filter(|cell| cell.stage == stage);
        cells.find(|cell| load(cell, with_paths) == *point).cloned()
    };
    let (a, b) = (of(baseline)?, of(candidate)?);
    let differ = |facts: Vec<(&str, String, String)>| {
        let differing = facts.into_iter().filter(|(_, a, b)| a != b);
        differing
            .map(|(what, a, b)| {
                format!("{what} at {}: {a} in the baseline, {b} in the candidate", a_place(point))
            })
            .collect::<Vec<_>>()
    };
    let work = |cell: &StorageResult| work(cell);
    let grave = work(&a).into_iter().zip(work(&b)).map(|((what, a), (_, b))| (what, a, b));
    let from = |cell: &StorageResult| if cell.cached { "memory" } else { "storage" }.to_owned();
    let cache = |cell: &StorageResult| if cell.direct { "direct" } else { "buffered" }.to_owned();
    let told = vec![
        ("path", a.path.clone(), b.path.clone()),
        ("file system", a.filesystem.clone(), b.filesystem.clone()),
        ("engine", a.engine.clone(), b.engine.clone()),
        ("I/O", cache(&a), cache(&b)),
        ("what is measured", from(&a), from(&b)),
    ];
    Some((differ(grave.collect()), differ(told)))
}

fn a_place(point: &PointLoad) -> &str {
    point.setting.as_deref().unwrap_or_default()
}

/// What decides a cell's figures and is not in its words.
fn work(cell: &StorageResult) -> Vec<(&'static str, String)> {
    match &cell.cell.load {
        StorageLoad::Io(load) => vec![
            ("size of a file", format!("{} bytes", load.size_bytes)),
            ("share of reads", load.read_share.to_string()),
            (
                "extent",
                match load.extent {
                    IoExtent::Runtime { .. } => "a time",
                    IoExtent::Size { .. } => "each file once",
                }
                .to_owned(),
            ),
            ("fsync at the end", load.end_fsync.to_string()),
            ("law of the rate", load.rate_process.to_string()),
            (
                "data",
                format!(
                    "{} % compressible, {} % repeated",
                    load.data.compress_percent, load.data.dedupe_percent
                ),
            ),
        ],
        StorageLoad::Checkpoint(load) => vec![
            ("bytes", load.bytes().to_string()),
            (
                "layout",
                format!("tensor {}, pipeline {}", load.tensor_parallel, load.pipeline_parallel),
            ),
            ("size of a write", format!("{} bytes", load.bs_bytes)),
        ],
        StorageLoad::ModelLoad(load) => vec![
            ("files", load.files().len().to_string()),
            ("size of a read", format!("{} bytes", load.bs_bytes)),
            ("I/Os in flight", load.iodepth.to_string()),
        ],
    }
}
