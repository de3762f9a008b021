//! The JSON objects in fio's output: found among its messages, mended where old versions write `nan`,
//! and of the reports of one run the last.

use serde_json::{Map, Value};

use super::FioError;

/// An object of JSON.
pub(super) type Object = Map<String, Value>;

/// One report of fio.
pub(super) struct Document {
    /// `3.33`.
    pub(super) version: String,
    /// When it was written, ms since 1970.
    pub(super) written_unix_ms: Option<u64>,
    /// Options of `[global]`.
    pub(super) global: Object,
    /// The jobs; those of a client without their sum.
    pub(super) jobs: Vec<Object>,
    /// fio said that a signal ended it.
    pub(super) interrupted: bool,
    /// What a reader should know.
    pub(super) notes: Vec<String>,
}

/// Two reports belong to one run when their starts are not further apart, ms: fio states elapsed
/// time in whole seconds.
const SAME_START_MS: u64 = 2000;

/// All reports in the output.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Document>, FioError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let start = object_start(bytes, 0).ok_or(FioError::NotJson)?;
    let (values, mut notes) = match values(bytes, start) {
        Ok(found) => found,
        Err(error) => {
            let (mended, count) = without_nan(bytes);
            if count == 0 {
                return Err(error);
            }
            let (values, mut notes) = self::values(&mended, start).map_err(|_| error)?;
            notes.push(format!(
                "fio wrote {count} values that are no numbers (nan or inf); they are taken as not \
                 measured."
            ));
            (values, notes)
        }
    };
    let interrupted = contains(bytes, b"fio: terminating on signal");
    let mut documents: Vec<Document> = Vec::new();
    let mut replaced = 0;
    for value in values {
        let document = document(value, interrupted)?;
        if documents.last().is_some_and(|earlier| same_run(earlier, &document)) {
            documents.pop();
            replaced += 1;
        }
        documents.push(document);
    }
    if replaced > 0 {
        notes.push(format!(
            "The last of {} reports of one run counts (--status-interval).",
            replaced + 1
        ));
    }
    if let Some(first) = documents.first_mut() {
        first.notes.extend(notes);
    }
    Ok(documents)
}

/// Where the first line at or after a byte that begins with `{` begins its object.
fn object_start(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    for line in bytes[from..].split_inclusive(|byte| *byte == b'\n') {
        let blank = line.len() - line.trim_ascii_start().len();
        if line.get(blank) == Some(&b'{') {
            return Some(at + blank);
        }
        at += line.len();
    }
    None
}

/// All objects from a byte on. A cut one after a whole one is left out, with a note.
fn values(bytes: &[u8], start: usize) -> Result<(Vec<Value>, Vec<String>), FioError> {
    let (mut values, mut notes) = (Vec::new(), Vec::new());
    let mut next = Some(start);
    while let Some(at) = next {
        let mut stream = serde_json::Deserializer::from_slice(&bytes[at..]).into_iter::<Value>();
        match stream.next() {
            Some(Ok(value)) => values.push(value),
            Some(Err(error)) if values.is_empty() => {
                let lines = bytes[..at].iter().filter(|byte| **byte == b'\n').count();
                let line = (lines + error.line()) as u64;
                return Err(FioError::Broken { line, what: plain(&error) });
            }
            Some(Err(_)) => {
                notes.push(format!("What follows report {} is cut off.", values.len()));
                break;
            }
            None => break,
        }
        next = object_start(bytes, at + stream.byte_offset());
    }
    Ok((values, notes))
}

/// The decoder's words without its place, which counts from the object's beginning.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what).to_owned()
}

fn document(value: Value, interrupted: bool) -> Result<Document, FioError> {
    let Value::Object(mut object) = value else { return Err(FioError::NotFio) };
    let Some(Value::String(version)) = object.remove("fio version") else {
        return Err(FioError::NotFio);
    };
    let version = version.strip_prefix("fio-").unwrap_or(&version).to_owned();
    let whole = |key: &str| object.get(key).and_then(Value::as_u64);
    let written_unix_ms = whole("timestamp_ms")
        .or_else(|| whole("timestamp").and_then(|seconds| seconds.checked_mul(1000)));
    let mut jobs = Vec::new();
    for key in ["jobs", "client_stats"] {
        if let Some(Value::Array(entries)) = object.remove(key) {
            let entries = entries.into_iter().filter_map(|entry| match entry {
                Value::Object(entry) => Some(entry),
                _ => None,
            });
            jobs.extend(entries);
        }
    }
    if jobs.iter().any(is_old) {
        return Err(FioError::TooOld { version });
    }
    // A client with several jobs adds their sum.
    if jobs.len() > 1 {
        jobs.retain(|job| job.get("jobname").and_then(Value::as_str) != Some("All clients"));
    }
    let global = match object.remove("global options") {
        Some(Value::Object(options)) => options,
        _ => Object::new(),
    };
    Ok(Document { version, written_unix_ms, global, jobs, interrupted, notes: Vec::new() })
}

/// Whether a job has the latencies of fio 2, in µs.
fn is_old(job: &Object) -> bool {
    ["read", "write"].iter().filter_map(|side| job.get(*side)?.as_object()).any(|side| {
        ["slat", "clat", "lat"].iter().any(|kind| side.contains_key(*kind))
            && !side.contains_key("lat_ns")
    })
}

/// Whether a report is a later one of the same run: the same jobs, started at the same time.
fn same_run(earlier: &Document, later: &Document) -> bool {
    let started = |document: &Document| {
        let elapsed = |job: &Object| job.get("elapsed").and_then(Value::as_u64);
        let elapsed = document.jobs.iter().filter_map(elapsed).max()?;
        document.written_unix_ms?.checked_sub(elapsed.checked_mul(1000)?)
    };
    let known = |document: &Document| -> Vec<[Option<Value>; 3]> {
        let key =
            |job: &Object| ["jobname", "groupid", "job options"].map(|name| job.get(name).cloned());
        document.jobs.iter().map(key).collect()
    };
    let (Some(one), Some(other)) = (started(earlier), started(later)) else { return false };
    one.abs_diff(other) <= SAME_START_MS
        && earlier.global == later.global
        && known(earlier) == known(later)
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// The text with `null` for `nan` and `inf` outside strings, and how many there were.
fn without_nan(bytes: &[u8]) -> (Vec<u8>, usize) {
    let (mut out, mut count, mut at) = (Vec::with_capacity(bytes.len()), 0, 0);
    let mut in_string = false;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' if in_string => {
                out.extend(&bytes[at..bytes.len().min(at + 2)]);
                at += 2;
                continue;
            }
            b'"' => in_string = !in_string,
            // A message between reports may hold a single quotation mark; a string has no newline.
            b'\n' => in_string = false,
            b'-' | b'a'..=b'z' | b'A'..=b'Z' if !in_string => {
                let word = &bytes[at..];
                let len = word.iter().skip(1).take_while(|byte| byte.is_ascii_alphabetic()).count();
                let word = &word[..=len];
                let bare = word.strip_prefix(b"-").unwrap_or(word).to_ascii_lowercase();
                let none = matches!(bare.as_slice(), b"nan" | b"inf" | b"infinity");
                out.extend(if none { b"null" } else { word });
                count += usize::from(none);
                at += word.len();
                continue;
            }
            _ => {}
        }
        out.push(byte);
        at += 1;
    }
    (out, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_numbers_become_null_and_texts_stay() {
        let text = br#"{"a": nan, "b": -nan, "c": [-inf, Infinity], "d": "nan \" inf", "e": true,
"f": -1.5e3, "g": null}"#;
        let (mended, count) = without_nan(text);
        let value: Value = serde_json::from_slice(&mended).unwrap();
        let wanted = serde_json::json!({"a": null, "b": null, "c": [null, null],
            "d": "nan \" inf", "e": true, "f": -1500.0, "g": null});
        assert_eq!((value, count), (wanted, 4));
    }

    #[test]
    fn objects_begin_lines() {
        assert_eq!(object_start(b"note { no\n\n  {\"a\":1}", 0), Some(13));
        assert_eq!(object_start(b"note {", 0), None);
        assert_eq!(object_start(b"", 0), None);
    }
}
