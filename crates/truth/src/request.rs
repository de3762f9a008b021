//! Splits an HTTP/1.x request off the front of a connection's bytes. Pure.

/// Largest request taken, bytes; a longer one is refused.
pub(crate) const MAX_REQUEST_BYTES: usize = 64 << 20;

/// A whole request, by position in the bytes it was found in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// `GET`, `POST`, …
    pub(crate) method: String,
    /// Path without the query.
    pub(crate) path: String,
    /// What follows `?`, or nothing.
    pub(crate) query: String,
    /// The body, decoded.
    pub(crate) body: Vec<u8>,
    /// Whether the connection ends with this exchange (`Connection: close` or HTTP/1.0).
    pub(crate) close: bool,
    /// Bytes to take off the front.
    pub(crate) length: usize,
}

/// What the bytes so far are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// More must come; whether the client waits for `100 Continue` before sending it.
    Incomplete {
        /// The head is there and asks for it.
        wants_continue: bool,
    },
    /// A request.
    Whole(Request),
    /// Not HTTP, or too long.
    Bad,
}

const INCOMPLETE: Parsed = Parsed::Incomplete { wants_continue: false };

/// Looks for a request at the front of `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut fields);
    let head_bytes = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_REQUEST_BYTES => return INCOMPLETE,
        _ => return Parsed::Bad,
    };
    let field = |name: &str| {
        head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|f| f.value)
    };
    let is = |name: &str, value: &str| {
        field(name).is_some_and(|found| found.eq_ignore_ascii_case(value.as_bytes()))
    };
    let rest = &bytes[head_bytes..];
    let found = if is("transfer-encoding", "chunked") {
        chunked(rest)
    } else {
        match field("content-length") {
            None => Some(Some((Vec::new(), 0))),
            Some(text) => sized(rest, text),
        }
    };
    let Some(found) = found else { return Parsed::Bad };
    let Some((body, taken)) = found else {
        return Parsed::Incomplete { wants_continue: is("expect", "100-continue") };
    };
    let target = head.path.unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Parsed::Whole(Request {
        method: head.method.unwrap_or("").to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        body,
        close: is("connection", "close") || head.version == Some(0),
        length: head_bytes + taken,
    })
}

/// A body and the bytes it took; `None` inside means that more must come, outside that it is wrong.
type Body = Option<Option<(Vec<u8>, usize)>>;

fn sized(rest: &[u8], length: &[u8]) -> Body {
    let length: usize = std::str::from_utf8(length).ok()?.trim().parse().ok()?;
    if length > MAX_REQUEST_BYTES {
        return None;
    }
    Some(rest.get(..length).map(|body| (body.to_vec(), length)))
}

fn chunked(rest: &[u8]) -> Body {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let (start, size) = match httparse::parse_chunk_size(&rest[at..]) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Some(None),
            Err(_) => return None,
        };
        let size = usize::try_from(size).ok().filter(|size| *size <= MAX_REQUEST_BYTES)?;
        let first = at + start;
        let Some(chunk) = rest.get(first..first + size + 2) else { return Some(None) };
        if !chunk.ends_with(b"\r\n") {
            return None;
        }
        body.extend_from_slice(&chunk[..size]);
        at = first + size + 2;
        if size == 0 {
            return Some(Some((body, at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Request {
        match parse(bytes) {
            Parsed::Whole(request) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_is_whole_at_its_last_byte_and_not_before() {
        for text in [
            "POST /v1/x?a=1 HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
            "POST /v1/x?a=1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        ] {
            for cut in 0..text.len() {
                assert_eq!(parse(&text.as_bytes()[..cut]), INCOMPLETE, "{cut}");
            }
            let more = format!("{text}GET / HTTP/1.1\r\n\r\n");
            let request = whole(more.as_bytes());
            assert_eq!(request.length, text.len());
            assert_eq!(request.body, b"hello");
            assert_eq!((request.path.as_str(), request.query.as_str()), ("/v1/x", "a=1"));
            assert!(!request.close);
        }
    }

    #[test]
    fn closing_and_continue_are_seen() {
        assert!(whole(b"GET / HTTP/1.0\r\n\r\n").close);
        assert!(whole(b"GET / HTTP/1.1\r\nConnection: Close\r\n\r\n").close);
        let waiting = b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(parse(waiting), Parsed::Incomplete { wants_continue: true });
    }

    #[test]
    fn what_is_not_http_is_refused() {
        assert_eq!(parse(b"\x16\x03\x01\x02\x00\x01"), Parsed::Bad);
        assert_eq!(parse(b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n"), Parsed::Bad);
        let broken = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n";
        assert_eq!(parse(broken), Parsed::Bad);
    }
}
