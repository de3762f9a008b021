//! The first lines (what was measured, when, against what) and the last (where it is, how to read
//! it again).

use loadline_schema::document::{Document, Serving};
use loadline_schema::manifest::RunStatus;

use super::Page;
use crate::quantity::ABSENT;
use crate::style::Tone;
use crate::words::{self, plain};

pub(super) fn run(page: &mut Page, document: &Document) {
    let Some(run) = &document.run else { return };
    let name = plain(&run.name);
    let about = format!("run {} · {}", plain(&run.id), plain(&run.started));
    page.hanging("", "", &format!("{name} · {about}"), Tone::Strong);
    if run.status != RunStatus::Sealed {
        page.paragraph(&format!("This run {}.", words::status(run.status)), 0, Tone::Bad);
    }
}

/// The target of a stage.
pub(super) fn stage(page: &mut Page, stage: &Serving, one_of_many: bool) {
    page.blank();
    let model = stage.model.as_deref().map_or_else(|| "unnamed model".into(), plain);
    let engine = stage.engine.as_ref().map(|engine| {
        let version = engine.version.as_deref().map(plain).unwrap_or_default();
        format!(" on {} {version}", plain(&engine.name)).trim_end().to_owned()
    });
    let endpoints: Vec<String> = stage.endpoint.iter().map(|url| plain(url)).collect();
    let title = format!("{model}{} at {}", engine.unwrap_or_default(), endpoints.join(", "));
    let title = if one_of_many { format!("{}: {title}", plain(&stage.stage)) } else { title };
    page.hanging("", "", &title, Tone::Strong);
    let mut facts = vec![format!("{} API", plain(&stage.api))];
    if let Some(point) = stage.points.first() {
        facts.push(words::loop_name(&point.load));
    }
    if let Some(tokens) = stage.template_tokens.filter(|tokens| *tokens > 0) {
        let tokens = words::counted(u64::from(tokens), "prompt token", "prompt tokens");
        facts.push(format!("{tokens} from the chat template"));
    }
    if stage.insecure {
        facts.push("certificates not checked".into());
    }
    page.paragraph(&facts.join(" · "), 0, Tone::Faint);
}

/// Where the run lies.
pub(super) fn footer(page: &mut Page, document: &Document) {
    let Some(run) = &document.run else { return };
    let directory = plain(&run.directory);
    page.blank();
    // Not wrapped: a broken path cannot be copied.
    page.line(&format!("Run directory: {directory}"));
    let quoted = if directory.contains([' ', '\'', '"', '$', '&', ';', '(', ')']) {
        format!("'{}'", directory.replace('\'', "'\\''"))
    } else {
        directory
    };
    let again = format!("Read again: loadline report {quoted}");
    page.line(&page.style.paint(&again, Tone::Faint));
    let seed = run.seed;
    let text = format!(
        "Seed {seed}. Every number is defined in METRICS.md; \"{ABSENT}\" is one that could not be had."
    );
    page.paragraph(&text, 0, Tone::Faint);
}
