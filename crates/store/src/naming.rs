//! Names in and of run directories: identifiers, times, folder and file names.

use std::fs::File;
use std::io::{self, Read};

use crate::table::Kind;

/// Longest part of a folder or file name that comes from the user, in characters.
const NAME_CHARS: usize = 40;

/// Letters of a run's identifier: base 32 of RFC 4648 in lower case.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A fresh identifier: 40 random bits as 8 base-32 letters.
///
/// # Errors
/// When the system gives no random bytes.
pub(crate) fn fresh_id() -> io::Result<String> {
    let mut bytes = [0; 5];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let bits = bytes.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    let letter = |at: u32| char::from(BASE32[(bits >> (5 * at) & 31) as usize]);
    Ok((0..8).rev().map(letter).collect())
}

/// What of a name can stand in file names: letters, digits, `-` and `_` (and `.` where wanted),
/// everything else one `-`; at most 40 characters; `otherwise` when nothing is left.
pub(crate) fn plain(name: &str, with_dots: bool, otherwise: &str) -> String {
    let mut out = String::with_capacity(name.len().min(NAME_CHARS));
    for c in name.chars() {
        let keep = c.is_ascii_alphanumeric() || c == '_' || (with_dots && c == '.');
        let c = if keep { c } else { '-' };
        if out.len() < NAME_CHARS && !(c == '-' && (out.is_empty() || out.ends_with('-'))) {
            out.push(c);
        }
    }
    let out = out.trim_matches(['-', '.']);
    if out.is_empty() { otherwise.to_owned() } else { out.to_owned() }
}

/// `20261124T101500Z` for ns since the epoch.
pub(crate) fn compact_utc(unix_ns: u64) -> String {
    timestamp(unix_ns).strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// RFC 3339 in UTC with milliseconds for ns since the epoch.
pub(crate) fn rfc3339(unix_ns: u64) -> String {
    format!("{:.3}", timestamp(unix_ns))
}

fn timestamp(unix_ns: u64) -> jiff::Timestamp {
    jiff::Timestamp::from_nanosecond(i128::from(unix_ns))
        .expect("invariant: u64 ns since 1970 end in the year 2554, inside jiff's range")
}

/// The folder of a run.
pub(crate) fn folder(started_unix_ns: u64, name: &str, id: &str) -> String {
    format!("{}-{}-{id}", compact_utc(started_unix_ns), plain(name, false, "run"))
}

/// Names for files of stages: plain and, unlike the plan's own once made plain, never the same.
pub(crate) fn stage_words<'a>(stages: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for (index, stage) in stages.enumerate() {
        let mut word = plain(stage, false, "stage");
        while words.contains(&word) {
            word = format!("{word}-{index}");
        }
        words.push(word);
    }
    words
}

/// Forms of a record file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    /// Arrow IPC stream.
    Stream,
    /// Parquet.
    Parquet,
}

impl Form {
    /// Ending of the file's name, without the dot.
    pub(crate) const fn ending(self) -> &'static str {
        match self {
            Self::Stream => "arrows",
            Self::Parquet => "parquet",
        }
    }
}

/// A record file's name, taken apart: `<stage>.<host>.<kind>.<part>.<ending>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileName {
    /// Part of the run.
    pub(crate) part: u16,
    /// Stage word.
    pub(crate) stage: String,
    /// Host word, dots allowed.
    pub(crate) host: String,
    /// The table.
    pub(crate) kind: Kind,
}

impl FileName {
    /// Puts the name together.
    pub(crate) fn with(&self, form: Form) -> String {
        let Self { part, stage, host, kind } = self;
        format!("{stage}.{host}.{}.{part}.{}", kind.as_str(), form.ending())
    }

    /// Takes a name apart; `None` for files that are no record files.
    pub(crate) fn parse(name: &str) -> Option<(Self, Form)> {
        let form = [Form::Stream, Form::Parquet]
            .into_iter()
            .find(|form| name.rsplit_once('.').is_some_and(|(_, end)| end == form.ending()))?;
        let mut words = name.rsplitn(4, '.').skip(1);
        let part = words.next()?.parse().ok()?;
        let kind = Kind::from_text(words.next()?)?;
        let (stage, host) = words.next()?.split_once('.')?;
        Some((Self { part, stage: stage.to_owned(), host: host.to_owned(), kind }, form))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_are_plain() {
        let at = 1_795_515_300_000_000_000;
        assert_eq!(folder(at, "Llama 3/8b, two 3090", "abcdefgh"), {
            "20261124T101500Z-Llama-3-8b-two-3090-abcdefgh"
        });
        assert_eq!(folder(at, "../ü", "abcdefgh"), "20261124T101500Z-run-abcdefgh");
        assert_eq!(rfc3339(at + 1_500_000), "2026-11-24T10:15:00.001Z");
        assert!(plain(&"x".repeat(300), false, "").len() == NAME_CHARS);
    }

    #[test]
    fn ids_are_eight_letters_and_differ() {
        let (one, two) = (fresh_id().unwrap(), fresh_id().unwrap());
        assert!(one.len() == 8 && one.bytes().all(|b| BASE32.contains(&b)), "{one}");
        assert_ne!(one, two);
    }

    #[test]
    fn file_names_survive_dots_in_hosts() {
        let name = FileName {
            part: 3,
            stage: "chat".into(),
            host: "gpu1.example.org".into(),
            kind: Kind::Chunks,
        };
        for form in [Form::Stream, Form::Parquet] {
            assert_eq!(FileName::parse(&name.with(form)), Some((name.clone(), form)));
        }
        for foreign in
            ["x.arrows", "a.b.request.arrows", "a.b.request.0.parquet.tmp", "a.b.c.0.arrows"]
        {
            assert_eq!(FileName::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn stages_with_one_plain_name_get_files_of_their_own() {
        let words = stage_words(["a b", "a/b", "a-b", "a-b-1"].into_iter());
        let mut unique = words.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), 4, "{words:?}");
    }
}
