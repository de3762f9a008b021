//! The head of an HTTP/1.x answer: status, framing of the body, and the few headers that matter here.

use super::failure::{Failure, FailureKind, excerpt};

/// Longest head in bytes.
pub const HEAD_LIMIT_BYTES: usize = 64 * 1024;
/// Most headers in one head.
pub const HEADER_LIMIT: usize = 128;

/// What the body is, by its `Content-Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContentType {
    /// `text/event-stream`.
    EventStream,
    /// `application/json` or a `+json` type (JSON lines are `Other`).
    Json,
    /// `text/html` or XHTML.
    Html,
    /// Any other type.
    Other,
    /// The header is absent: the first byte of the body decides.
    #[default]
    Absent,
}

/// How the end of the body is told (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// In chunks, the last one empty.
    Chunked,
    /// After this many bytes.
    Length(u64),
    /// When the server closes the connection.
    UntilClose,
}

/// The head of a final answer (interim 1xx heads are skipped).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The HTTP status.
    pub status: u16,
    /// Whether the server keeps the connection open after the body.
    pub keep_alive: bool,
    /// Seconds for which the server keeps an idle connection (`Keep-Alive: timeout=`).
    pub keep_alive_timeout_s: Option<u32>,
    /// What the body is.
    pub content_type: ContentType,
    /// Seconds the server asks to wait (`Retry-After`; a date counts from the head's own `Date`).
    pub retry_after_s: Option<u32>,
    /// Target of a redirect.
    pub location: Option<String>,
    /// Compression of the body, when there is any (`identity` is none).
    pub content_encoding: Option<String>,
    /// How the end of the body is told.
    pub framing: Framing,
    /// Whether the server speaks HTTP/1.0.
    pub http_1_0: bool,
}

impl Head {
    /// Reads a complete head: everything up to and with the empty line.
    ///
    /// # Errors
    /// `bad_http` when it is not a head, contradicts itself or has more than 128 headers;
    /// `encoding` when the body's framing is itself compressed.
    pub fn parse(bytes: &[u8]) -> Result<Self, Failure> {
        let mut slots = [httparse::EMPTY_HEADER; HEADER_LIMIT];
        let mut response = httparse::Response::new(&mut slots);
        let config = {
            let mut config = httparse::ParserConfig::default();
            // Old gateways do both, and nothing is lost by accepting it.
            config
                .allow_spaces_after_header_name_in_responses(true)
                .allow_obsolete_multiline_headers_in_responses(true);
            config
        };
        match config.parse_response(&mut response, bytes) {
            Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
            Ok(_) => return Err(bad_head(bytes, "the head has no status line")),
            Err(error) => return Err(bad_head(bytes, &error.to_string())),
        }
        let (Some(status), Some(version)) = (response.code, response.version) else {
            return Err(bad_head(bytes, "the head has no status line"));
        };
        Fields::collect(response.headers)?.into_head(status, version == 0)
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

fn bad_head(bytes: &[u8], why: &str) -> Failure {
    Failure::new(
        FailureKind::BadHttp,
        format!("cannot read the HTTP head ({why}): {}", excerpt(bytes)),
    )
}

/// The headers of interest, before they are weighed against each other.
#[derive(Default)]
struct Fields {
    content_length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    keep_alive_timeout_s: Option<u32>,
    content_type: ContentType,
    content_encoding: Option<String>,
    location: Option<String>,
    retry_after: RetryAfter,
    date_s: Option<i64>,
}

#[derive(Default, Clone, Copy)]
enum RetryAfter {
    #[default]
    Absent,
    Delay(u32),
    /// Seconds since 1970.
    At(i64),
}

impl Fields {
    fn collect(headers: &[httparse::Header<'_>]) -> Result<Self, Failure> {
        let mut fields = Self::default();
        for header in headers {
            let value = header.value.trim_ascii();
            fields.take(header.name, value)?;
        }
        Ok(fields)
    }

    fn take(&mut self, name: &str, value: &[u8]) -> Result<(), Failure> {
        // One comparison of lengths spares the comparison of names for most headers.
        match name.len() {
            4 if is(name, "date") => self.date_s = http_date_s(value),
            8 if is(name, "location") => self.location = Some(lossy(value)),
            10 if is(name, "connection") => self.take_connection(value),
            10 if is(name, "keep-alive") => self.keep_alive_timeout_s = timeout_s(value),
            11 if is(name, "retry-after") => self.retry_after = retry_after(value),
            12 if is(name, "content-type") => self.content_type = content_type(value),
            14 if is(name, "content-length") => self.take_length(value)?,
            16 if is(name, "content-encoding") => self.take_encoding(value),
            17 if is(name, "transfer-encoding") => self.take_transfer_encoding(value)?,
            _ => {}
        }
        Ok(())
    }

    fn take_connection(&mut self, value: &[u8]) {
        for word in words(value) {
            self.close |= word.eq_ignore_ascii_case(b"close");
            self.keep_alive |= word.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// A list of equal lengths is one length; differing ones could hide another answer.
    fn take_length(&mut self, value: &[u8]) -> Result<(), Failure> {
        for word in words(value) {
            let length = digits(word);
            if length.is_none() || self.content_length.is_some_and(|old| Some(old) != length) {
                let detail = format!("content-length is no single number: {}", excerpt(value));
                return Err(Failure::new(FailureKind::BadHttp, detail));
            }
            self.content_length = length;
        }
        Ok(())
    }

    fn take_encoding(&mut self, value: &[u8]) {
        let coding = words(value).find(|word| !word.eq_ignore_ascii_case(b"identity"));
        if let Some(coding) = coding {
            self.content_encoding = Some(lossy(coding));
        }
    }

    fn take_transfer_encoding(&mut self, value: &[u8]) -> Result<(), Failure> {
        for word in words(value) {
            if word.eq_ignore_ascii_case(b"chunked") {
                self.chunked = true;
            } else if !word.eq_ignore_ascii_case(b"identity") {
                let detail = format!("transfer-encoding {} was not asked for", excerpt(word));
                return Err(Failure::new(FailureKind::Encoding, detail));
            }
        }
        Ok(())
    }

    fn into_head(self, status: u16, http_1_0: bool) -> Result<Head, Failure> {
        let framing = if status < 200 || status == 204 || status == 304 {
            Framing::Length(0)
        } else if self.chunked {
            Framing::Chunked
        } else {
            self.content_length.map_or(Framing::UntilClose, Framing::Length)
        };
        if status == 101 {
            let detail = "the server switched protocols, which was not asked for";
            return Err(Failure::new(FailureKind::BadHttp, detail));
        }
        let retry_after_s = match self.retry_after {
            RetryAfter::Absent => None,
            RetryAfter::Delay(delay_s) => Some(delay_s),
            RetryAfter::At(then_s) => self.date_s.map(|now_s| {
                u32::try_from(then_s.saturating_sub(now_s).max(0)).unwrap_or(u32::MAX)
            }),
        };
        let wished = !self.close && (!http_1_0 || self.keep_alive);
        Ok(Head {
            status,
            keep_alive: wished && framing != Framing::UntilClose,
            keep_alive_timeout_s: self.keep_alive_timeout_s,
            content_type: self.content_type,
            retry_after_s,
            location: self.location,
            content_encoding: self.content_encoding,
            framing,
            http_1_0,
        })
    }
}

fn is(name: &str, lower: &str) -> bool {
    name.eq_ignore_ascii_case(lower)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The words of a comma-separated header value.
fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|word| !word.is_empty())
}

/// A decimal number of at most 18 digits and nothing else.
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 18 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0, |sum, &digit| sum * 10 + u64::from(digit - b'0')))
}

/// Seconds of `timeout=5, max=100`.
fn timeout_s(value: &[u8]) -> Option<u32> {
    words(value).find_map(|word| {
        let (name, number) = word.split_at_checked(8)?;
        let number = name.eq_ignore_ascii_case(b"timeout=").then(|| digits(number))?;
        u32::try_from(number?).ok()
    })
}

fn content_type(value: &[u8]) -> ContentType {
    let essence = value.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    let is = |name: &str| essence.eq_ignore_ascii_case(name.as_bytes());
    let ends = |name: &str| {
        essence
            .len()
            .checked_sub(name.len())
            .is_some_and(|start| essence[start..].eq_ignore_ascii_case(name.as_bytes()))
    };
    if essence.is_empty() {
        ContentType::Absent
    } else if is("text/event-stream") {
        ContentType::EventStream
    } else if is("text/html") || is("application/xhtml+xml") {
        ContentType::Html
    } else if is("application/json")
        || is("text/json")
        || ends("+json") && !is("application/stream+json")
    {
        ContentType::Json
    } else {
        ContentType::Other
    }
}

fn retry_after(value: &[u8]) -> RetryAfter {
    if let Some(seconds) = digits(value) {
        return RetryAfter::Delay(u32::try_from(seconds).unwrap_or(u32::MAX));
    }
    http_date_s(value).map_or(RetryAfter::Absent, RetryAfter::At)
}

/// Seconds since 1970 of a date like `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7; the
/// two obsolete forms are not read).
fn http_date_s(value: &[u8]) -> Option<i64> {
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    if value.len() != 29 || !value.ends_with(b" GMT") {
        return None;
    }
    let number =
        |from: usize, to: usize| digits(&value[from..to]).and_then(|n| i64::try_from(n).ok());
    let month = MONTHS.chunks(3).position(|name| name == &value[8..11])?;
    let (day, year) = (number(5, 7)?, number(12, 16)?);
    let (hour, minute, second) = (number(17, 19)?, number(20, 22)?, number(23, 25)?);
    if !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_since_1970(year, i64::try_from(month).ok()? + 1, day);
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Days from 1970-01-01 in the Gregorian calendar. The year is taken to begin in March, so that the
/// leap day is its last; 719,468 days lie between 0000-03-01 and 1970-01-01.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (march_year, month_since_march) =
        if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days =
        march_year.div_euclid(4) - march_year.div_euclid(100) + march_year.div_euclid(400);
    let days_before_month = (153 * month_since_march + 2) / 5;
    march_year * 365 + leap_days + days_before_month + day - 1 - 719_468
}

/// Finds the end of a head in bytes that arrive piece by piece.
#[derive(Debug, Default)]
pub(crate) struct HeadEnd {
    /// Bytes already searched.
    searched: usize,
}

impl HeadEnd {
    /// Length of the head with its empty line, when `bytes` (all bytes of the head so far) hold it.
    pub(crate) fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        // The last two bytes may begin an end ("\n", "\n\r") that the next read completes.
        let from = self.searched.saturating_sub(2);
        for at in memchr::memchr_iter(b'\n', &bytes[from..]) {
            match bytes[from + at + 1..] {
                [b'\n', ..] => return Some(from + at + 2),
                [b'\r', b'\n', ..] => return Some(from + at + 3),
                _ => {}
            }
        }
        self.searched = bytes.len();
        None
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
