//! What to know before reading any number: trials that ended early, and warnings with advice.

use loadline_schema::document::{Document, Point, Serving};
use loadline_schema::event::Warning;

use super::{Page, at_points};
use crate::style::Tone;
use crate::words::{self, plain};

/// Warnings with one code and one advice: what they say, and where.
struct Group<'a> {
    code: &'a str,
    advice: &'a str,
    messages: Vec<(&'a str, Vec<&'a Point>)>,
}

pub(super) fn of_run(page: &mut Page, document: &Document) {
    if document.warnings.is_empty() {
        return;
    }
    page.blank();
    for warning in &document.warnings {
        page.hanging("! ", "  ", &plain(&warning.message), Tone::Warning);
        advise(page, &warning.advice);
    }
}

pub(super) fn of_stage(page: &mut Page, stage: &Serving) {
    let points = &stage.points;
    let groups = grouped(points);
    // Analysis says in its own words why a point is incomplete; a document of another version may
    // not.
    let untold = |point: &&Point| {
        point.incomplete.is_some() && !point.warnings.iter().any(|w| w.code == "incomplete")
    };
    let incomplete: Vec<&Point> = points.iter().filter(untold).collect();
    if incomplete.is_empty() && groups.is_empty() {
        return;
    }
    page.blank();
    for point in incomplete {
        print_incomplete(page, point);
    }
    for group in groups {
        print(page, &group, points.len());
    }
}

fn print_incomplete(page: &mut Page, point: &Point) {
    let Some(incomplete) = &point.incomplete else { return };
    let text = format!(
        "incomplete {}: {} of {} ended short of the plan, since {}",
        at_points(std::iter::once(point)),
        incomplete.trials,
        words::counted(u64::from(point.trials_planned), "trial", "trials"),
        words::ended_early(incomplete.reason),
    );
    page.hanging("! ", "  ", &text, Tone::Bad);
}

/// Warnings of all points in order of appearance: the same advice stands once, the same message
/// once with all its points.
fn grouped(points: &[Point]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for point in points {
        for warning in &point.warnings {
            let Warning { code, message, advice } = warning;
            let known = groups.iter().position(|g| g.code == code && g.advice == advice);
            let index = known.unwrap_or_else(|| {
                groups.push(Group { code, advice, messages: Vec::new() });
                groups.len() - 1
            });
            let messages = &mut groups[index].messages;
            match messages.iter_mut().find(|(known, _)| known == message) {
                Some((_, members)) => members.push(point),
                None => messages.push((message, vec![point])),
            }
        }
    }
    groups
}

fn print(page: &mut Page, group: &Group<'_>, points: usize) {
    let tone = if group.code == "incomplete" { Tone::Bad } else { Tone::Warning };
    for (message, members) in &group.messages {
        let message = plain(message);
        // Where all points share it, naming them says nothing.
        let text = if members.len() == points && points > 1 {
            message
        } else {
            format!("{}: {message}", at_points(members.iter().copied()))
        };
        page.hanging("! ", "  ", &text, tone);
    }
    advise(page, group.advice);
}

pub(super) fn advise(page: &mut Page, advice: &str) {
    if !advice.is_empty() {
        page.hanging("  → ", "    ", &plain(advice), Tone::Plain);
    }
}
