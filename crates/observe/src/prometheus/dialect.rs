//! Which of the text formats a page is in, and whether a body is a page at all.

use super::error::What;

/// What to ask a server for: text in either version, in which names need no escapes.
pub const ACCEPT: &str =
    "text/plain;version=1.0.0;escaping=allow-utf-8,text/plain;version=0.0.4;q=0.9";

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Prometheus text, 0.0.4 or 1.0.0: timestamps in ms.
    Text,
    /// OpenMetrics 1.0: timestamps in s, `# EOF` at the end.
    OpenMetrics,
}

/// A body of a type that was not asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the answer is {content_type}, not metrics as text; {}",
    if content_type.contains("html") { "is this the path of the metrics? It is /metrics on most servers" }
    else { "wanted is text/plain;version=0.0.4 or 1.0.0, or application/openmetrics-text;version=1.0.0" }
)]
pub struct ContentTypeError {
    /// The header's value, safe to print.
    pub content_type: String,
}

impl Dialect {
    /// The format that a `Content-Type` names; `None` where it leaves that open (no header, plain
    /// text without a version).
    ///
    /// # Errors
    /// A type that is no text of metrics (HTML, JSON, protobuf), or a version that is not read.
    pub fn from_content_type(header: Option<&str>) -> Result<Option<Self>, ContentTypeError> {
        let Some(header) = header else { return Ok(None) };
        let mut parts = header.split(';').map(|part| part.trim().to_ascii_lowercase());
        let media = parts.next().unwrap_or_default();
        let version = parts.find_map(|part| {
            let (key, value) = part.split_once('=')?;
            (key.trim() == "version").then(|| value.trim().trim_matches('"').to_owned())
        });
        match (media.as_str(), version.as_deref()) {
            ("text/plain", Some("0.0.4" | "1.0.0")) => Ok(Some(Self::Text)),
            ("text/plain" | "", None) => Ok(None),
            ("application/openmetrics-text", None | Some("0.0.1" | "1.0.0")) => {
                Ok(Some(Self::OpenMetrics))
            }
            _ => {
                let shown = header.chars().take(100);
                let content_type = shown.map(|c| if c.is_control() { ' ' } else { c }).collect();
                Err(ContentTypeError { content_type })
            }
        }
    }

    /// The format of a saved page: OpenMetrics if its last line is `# EOF`.
    pub fn of_page(page: &[u8]) -> Self {
        let page = page.trim_ascii_end();
        let last = page.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        if last == b"# EOF" { Self::OpenMetrics } else { Self::Text }
    }
}

/// What a body is if it is certainly no metrics page.
pub(super) fn certainly_not(page: &[u8]) -> Option<What> {
    for (magic, format) in
        [(&b"\x1f\x8b"[..], "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"PK\x03\x04", "zip")]
    {
        if page.starts_with(magic) {
            return Some(What::Compressed(format));
        }
    }
    if page.starts_with(b"\xff\xfe") || page.starts_with(b"\xfe\xff") {
        return Some(What::Utf16);
    }
    let start = page.trim_ascii_start();
    match start.first() {
        None => Some(What::Empty),
        Some(b'<') => Some(What::Html),
        Some(b'[') => Some(What::Json),
        Some(b'{') if is_json(start[1..].trim_ascii_start()) => Some(What::Json),
        _ => {
            let is_binary = |byte: &u8| *byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r');
            page.iter().take(512).any(is_binary).then_some(What::Binary)
        }
    }
}

/// Whether what follows an opening brace is JSON rather than `{"quoted name", …} 1`.
fn is_json(rest: &[u8]) -> bool {
    let Some(after) = rest.strip_prefix(b"\"") else { return rest.starts_with(b"}") };
    let mut escaped = false;
    let end = after.iter().position(|byte| {
        let is_end = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        is_end
    });
    end.is_some_and(|end| after[end + 1..].trim_ascii_start().starts_with(b":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        let of = |header: &str| Dialect::from_content_type(Some(header));
        assert_eq!(of("text/plain; version=0.0.4; charset=utf-8"), Ok(Some(Dialect::Text)));
        assert_eq!(of("text/plain;version=1.0.0;escaping=allow-utf-8"), Ok(Some(Dialect::Text)));
        assert_eq!(
            of("application/openmetrics-text; version=1.0.0; charset=utf-8"),
            Ok(Some(Dialect::OpenMetrics))
        );
        assert_eq!(of("text/plain; charset=utf-8"), Ok(None));
        assert_eq!(Dialect::from_content_type(None), Ok(None));
        for wrong in [
            "text/html; charset=utf-8",
            "application/json",
            "application/openmetrics-text; version=2.0.0",
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily",
        ] {
            let error = of(wrong).expect_err("not asked for");
            assert!(error.to_string().contains(wrong.split(';').next().expect("a part")));
        }
        assert!(of("text/html").expect_err("html").to_string().contains("/metrics"));
    }

    #[test]
    fn what_is_certainly_no_page() {
        let of = |page: &[u8]| certainly_not(page);
        assert_eq!(of(b"\x1f\x8b\x08\x00"), Some(What::Compressed("gzip")));
        assert_eq!(of(b"  \n<!DOCTYPE html>"), Some(What::Html));
        assert_eq!(of(b"{\"status\": \"ok\"}"), Some(What::Json));
        assert_eq!(of(b"{}"), Some(What::Json));
        assert_eq!(of(b"{ \"a\\\"b\" : 1 }"), Some(What::Json));
        assert_eq!(of(b"[1]"), Some(What::Json));
        assert_eq!(of(b"\xff\xfea\0"), Some(What::Utf16));
        assert_eq!(of(b"\x8a\x01\x0a\x05hello\x12\x00"), Some(What::Binary));
        assert_eq!(of(b" \n\n"), Some(What::Empty));
        assert_eq!(of(b"{\"a.b\"} 1"), None);
        assert_eq!(of(b"{\"a.b\",c=\"d:e\"} 1"), None);
        assert_eq!(of(b"a 1\n"), None);
    }

    #[test]
    fn open_metrics_ends_with_eof() {
        assert_eq!(Dialect::of_page(b"a 1\n# EOF\n"), Dialect::OpenMetrics);
        assert_eq!(Dialect::of_page(b"a 1\n# EOF\nb 1\n"), Dialect::Text);
        assert_eq!(Dialect::of_page(b""), Dialect::Text);
    }
}
