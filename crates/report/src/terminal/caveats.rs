//! What to know before reading any number: trials that ended early, and warnings with advice.

use loadline_schema::document::{Document, Point, Serving};
use loadline_schema::event::Warning;

use super::{Page, at_points};
use crate::style::Tone;
use crate::words::{self, plain};

pub(super) fn of_run(page: &mut Page, document: &Document) {
    if document.warnings.is_empty() {
        return;
    }
    page.blank();
    for warning in &document.warnings {
        print(page, warning, "");
    }
}

pub(super) fn of_stage(page: &mut Page, stage: &Serving) {
    let incomplete: Vec<&Point> =
        stage.points.iter().filter(|point| point.incomplete.is_some()).collect();
    let groups = grouped(&stage.points);
    if incomplete.is_empty() && groups.is_empty() {
        return;
    }
    page.blank();
    for point in incomplete {
        print_incomplete(page, point);
    }
    for (warning, points) in groups {
        // Where all points share it, naming them says nothing.
        let is_general = points.len() == stage.points.len() && points.len() > 1;
        let place = if is_general { String::new() } else { at_points(points.into_iter()) };
        print(page, warning, &place);
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

/// Each different warning once, with the points that have it, in order of appearance.
fn grouped(points: &[Point]) -> Vec<(&Warning, Vec<&Point>)> {
    let mut groups: Vec<(&Warning, Vec<&Point>)> = Vec::new();
    for point in points {
        for warning in &point.warnings {
            match groups.iter_mut().find(|(known, _)| *known == warning) {
                Some((_, members)) => members.push(point),
                None => groups.push((warning, vec![point])),
            }
        }
    }
    groups
}

fn print(page: &mut Page, warning: &Warning, place: &str) {
    let message = plain(&warning.message);
    let text = if place.is_empty() { message } else { format!("{place}: {message}") };
    page.hanging("! ", "  ", &text, Tone::Warning);
    if !warning.advice.is_empty() {
        page.hanging("  → ", "    ", &plain(&warning.advice), Tone::Plain);
    }
}
