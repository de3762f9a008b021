//! From a byte span of the plan's text to line, column and the line itself, and from a key to its
//! span.

use std::fmt::Write as _;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Place;

/// Longest part of a line that is shown.
const SHOWN_MAX: usize = 90;

/// The place of a span. Spans that lie outside the text are moved to its end.
pub(super) fn at(text: &str, span: Range<usize>) -> Place {
    let start = floor_char(text, span.start);
    let before = &text[..start];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let before_mark = text[line_start..start].chars().count();
    let end =
        floor_char(text, span.end).clamp(start, line_start + line.len().max(start - line_start));
    let marked = text[start..end].chars().count().max(1);

    let cut = if before_mark + 10 > SHOWN_MAX { before_mark - 20 } else { 0 };
    let mut shown: String = line.chars().skip(cut).take(SHOWN_MAX).map(printable).collect();
    let mark_start = before_mark - cut;
    if line.chars().count() > cut + SHOWN_MAX {
        shown.push('…');
    }
    let width = shown.chars().count().saturating_sub(mark_start).max(1);
    Place {
        line: before.matches('\n').count() + 1,
        column: before_mark + 1,
        text: shown.trim_end().to_owned(),
        mark_start,
        mark_width: marked.min(width),
    }
}

/// The last character boundary at or before `at`.
fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Tabs become one blank, so that the mark stands under its place.
fn printable(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

/// `["serving", "0", "load", "rate"]` as `serving[0].load.rate`.
pub(super) fn spelled(steps: &[String]) -> String {
    let mut text = String::new();
    for step in steps {
        if step.bytes().all(|b| b.is_ascii_digit()) && !step.is_empty() {
            let _ = write!(text, "[{step}]");
        } else {
            let point = if text.is_empty() { "" } else { "." };
            let _ = write!(text, "{point}{step}");
        }
    }
    text
}

/// Span of the value that `steps` lead to, or of the deepest one on the way that is there.
pub(super) fn span_of(text: &str, steps: &[String]) -> Option<Range<usize>> {
    let root = DeTable::parse(text).ok()?;
    let mut table_or_value = Node::Table(root.get_ref());
    let mut span = None;
    for step in steps {
        let Some((found, node)) = table_or_value.child(step) else { break };
        span = Some(found);
        table_or_value = node;
    }
    span
}

enum Node<'a> {
    Table(&'a DeTable<'a>),
    Value(&'a DeValue<'a>),
}

impl<'a> Node<'a> {
    fn child(&self, step: &str) -> Option<(Range<usize>, Node<'a>)> {
        let table = match self {
            Node::Table(table) => table,
            Node::Value(DeValue::Table(table)) => table,
            Node::Value(DeValue::Array(list)) => {
                let value = list.get(step.parse::<usize>().ok()?)?;
                return Some((value.span(), Node::Value(value.get_ref())));
            }
            Node::Value(_) => return None,
        };
        let (key, value) = table.iter().find(|(key, _)| key.get_ref() == step)?;
        let span = if is_block(value) { key.span() } else { value.span() };
        Some((span, Node::Value(value.get_ref())))
    }
}

/// Tables under a header have the header's span or none that helps: show the key instead.
fn is_block(value: &Spanned<DeValue<'_>>) -> bool {
    matches!(value.get_ref(), DeValue::Table(_))
}

/// The keys that lead to the key which stands at byte `at`, that key included.
pub(super) fn keys_to(text: &str, at: usize) -> Option<Vec<String>> {
    let root = DeTable::parse(text).ok()?;
    let mut steps = Vec::new();
    search(root.get_ref(), at, &mut steps).then_some(steps)
}

fn search(table: &DeTable<'_>, at: usize, steps: &mut Vec<String>) -> bool {
    for (key, value) in table {
        steps.push(key.get_ref().to_string());
        if key.span().start == at || search_value(value.get_ref(), at, steps) {
            return true;
        }
        steps.pop();
    }
    false
}

fn search_value(value: &DeValue<'_>, at: usize, steps: &mut Vec<String>) -> bool {
    match value {
        DeValue::Table(table) => search(table, at, steps),
        DeValue::Array(list) => list.iter().enumerate().any(|(index, value)| {
            steps.push(index.to_string());
            let found = search_value(value.get_ref(), at, steps);
            if !found {
                steps.pop();
            }
            found
        }),
        _ => false,
    }
}
