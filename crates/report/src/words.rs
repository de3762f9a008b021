//! Words for values of the document, text from outside made safe to print, and line breaking.

use loadline_schema::document::{Point, PointLoad};
use loadline_schema::event::EndedEarly;
use loadline_schema::manifest::RunStatus;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::quantity;

/// Text of a server or a user with its control characters blanked: it must not steer the terminal.
pub(crate) fn plain(text: &str) -> String {
    let is_steering = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let blanked: String = text.chars().map(|c| if is_steering(c) { ' ' } else { c }).collect();
    blanked.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Columns that a text takes.
pub(crate) fn columns(text: &str) -> usize {
    text.width()
}

/// The text cut to so many columns, with "…" where something was cut.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > most {
            break;
        }
        kept.push(c);
    }
    kept + "…"
}

/// Running text, wrapped to `width` columns, every line indented and ended.
pub fn indented(text: &str, indent: usize, width: usize) -> String {
    let blanks = " ".repeat(indent);
    wrap(text, width.saturating_sub(indent))
        .into_iter()
        .map(|line| format!("{blanks}{line}\n"))
        .collect()
}

/// The text broken at blanks into lines of at most `width` columns; a longer word is broken where
/// the line ends.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(10);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word = word.to_owned();
        loop {
            let line = lines.last_mut().expect("invariant: lines starts with one line");
            let used = columns(line);
            let gap = usize::from(used > 0);
            if used + gap + columns(&word) <= width {
                line.push_str(&" ".repeat(gap));
                line.push_str(&word);
                break;
            }
            if used > 0 {
                lines.push(String::new());
                continue;
            }
            let end = fitting(&word, width);
            line.push_str(&word[..end]);
            word.drain(..end);
            lines.push(String::new());
        }
    }
    lines
}

/// Bytes of the longest start of `word` that takes at most `width` columns (at least one
/// character).
fn fitting(word: &str, width: usize) -> usize {
    let mut used = 0;
    for (at, c) in word.char_indices() {
        used += c.width().unwrap_or(0);
        if used > width && at > 0 {
            return at;
        }
    }
    word.len()
}

/// The load as a table's key, without its unit: "16", "2.5".
pub(crate) fn load_short(load: &PointLoad) -> String {
    if let Some(setting) = &load.setting {
        return plain(setting);
    }
    match (load.concurrency, load.rate_per_s, load.burst) {
        (Some(n), _, _) | (None, None, Some(n)) => quantity::count(n),
        (None, Some(rate), _) => as_given(rate),
        (None, None, None) => quantity::ABSENT.to_owned(),
    }
}

/// A rate as it was asked for where that is short: "8", "2.5".
fn as_given(rate: f64) -> String {
    let text = rate.to_string();
    if text.len() <= 5 { text } else { quantity::number(rate) }
}

/// The load in running text: "concurrency 16", "2.5 requests/s", "a burst of 32".
pub(crate) fn load_long(load: &PointLoad) -> String {
    let number = load_short(load);
    match (load.concurrency, load.rate_per_s, load.burst) {
        _ if load.setting.is_some() => number,
        (Some(_), _, _) => format!("concurrency {number}"),
        (None, Some(_), _) => format!("{number} requests/s"),
        (None, None, Some(_)) => format!("a burst of {number}"),
        (None, None, None) => "an unknown load".to_owned(),
    }
}

/// Head of the column that holds the load of these points.
pub(crate) fn load_head(points: &[Point]) -> (&'static str, &'static str) {
    match points.first().map(|point| &point.load) {
        Some(PointLoad { concurrency: Some(_), .. }) => ("", "concurrency"),
        Some(PointLoad { rate_per_s: Some(_), .. }) => ("offered", "requests/s"),
        Some(PointLoad { burst: Some(_), .. }) => ("", "burst"),
        _ => ("", "load"),
    }
}

/// The loop of a stage in words.
pub(crate) fn loop_name(load: &PointLoad) -> String {
    match load.arrival.as_str() {
        "closed" => "closed loop".into(),
        "burst" => "bursts".into(),
        law => format!("open loop, {}", plain(law)),
    }
}

/// State of the run.
pub(crate) fn status(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Running => "is not closed: it still runs, or was killed",
        RunStatus::Sealed => "is complete",
        RunStatus::Interrupted => "ended before its plan was fulfilled",
    }
}

/// Why a trial ended early; `None`: the client was killed.
pub(crate) fn ended_early(reason: Option<EndedEarly>) -> &'static str {
    match reason {
        Some(EndedEarly::Interrupted) => "it was interrupted",
        Some(EndedEarly::StopAfterErrors) => "the share of errors reached --stop-after-errors",
        Some(EndedEarly::NoAnswers) => "no request ended ok for three times the total timeout",
        Some(EndedEarly::TokenCap) => "--max-tokens-total was reached",
        Some(EndedEarly::StoreFailed) => "the records could not be stored",
        None => "the client was killed",
    }
}

/// "1 trial", "3 trials".
pub(crate) fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", quantity::count(n), if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_steer_the_terminal() {
        assert_eq!(plain("a\x1b[31mb\r\n\tc\u{202e}d"), "a [31mb c d");
    }

    #[test]
    fn lines_break_at_blanks_and_inside_long_words() {
        assert_eq!(wrap("one two three", 10), ["one two", "three"]);
        assert_eq!(wrap("abcdefghijklmno", 10), ["abcdefghij", "klmno"]);
        assert_eq!(wrap("日本語日本語日本語", 10), ["日本語日本", "語日本語"]);
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abcd", 4), "abcd");
    }
}
