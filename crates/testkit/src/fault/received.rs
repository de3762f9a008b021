//! Requests as a fault server read them.

/// A request, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedRequest {
    /// Number of the connection, from 0 in order of acceptance.
    pub connection: usize,
    /// Head and body exactly as they came, a chunked body included.
    pub raw: Vec<u8>,
    /// Bytes of the head, its blank line included.
    pub head_bytes: usize,
}

impl ReceivedRequest {
    /// The head as text, lossy where it is not UTF-8.
    pub fn head(&self) -> String {
        String::from_utf8_lossy(&self.raw[..self.head_bytes]).into_owned()
    }

    /// The method, as in `POST`.
    pub fn method(&self) -> String {
        self.word(0)
    }

    /// The target as it stands in the request line, query included.
    pub fn target(&self) -> String {
        self.word(1)
    }

    fn word(&self, index: usize) -> String {
        let head = self.head();
        let line = head.lines().next().unwrap_or("");
        line.split(' ').nth(index).unwrap_or("").to_owned()
    }

    /// The first header of this name, without blanks around it.
    pub fn header(&self, name: &str) -> Option<String> {
        self.head().lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }

    /// The bytes after the head, as they came.
    pub fn body(&self) -> &[u8] {
        &self.raw[self.head_bytes..]
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none (a test's assertion).
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(self.body()).expect("the request's body is JSON")
    }
}

/// Bytes of the first request in `bytes`: (head, whole), or `None` while more must come. A head
/// that is not HTTP counts as a whole request as soon as its blank line is there.
pub(super) fn request_bytes(bytes: &[u8]) -> Option<(usize, usize)> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let request = ReceivedRequest { connection: 0, raw: bytes[..head].to_vec(), head_bytes: head };
    let chunked = request.header("transfer-encoding").is_some_and(|coding| coding == "chunked");
    let body = if chunked {
        let end = b"\r\n0\r\n\r\n";
        // From the head's own line end, so that an empty body is found too.
        let from = &bytes[head - 2..];
        from.windows(end.len()).position(|window| window == end)? + end.len() - 2
    } else {
        request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)
    };
    (bytes.len() >= head + body).then_some((head, head + body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_where_its_body_ends() {
        let sized = b"POST /x?q HTTP/1.1\r\nContent-Length: 3\r\nX-A:  b \r\n\r\nabcGET";
        assert_eq!(request_bytes(sized).map(|(_, whole)| whole), Some(sized.len() - 3));
        assert_eq!(request_bytes(&sized[..sized.len() - 4]), None);
        let chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
        assert_eq!(request_bytes(chunked).map(|(_, whole)| whole), Some(chunked.len()));
        assert_eq!(request_bytes(&chunked[..chunked.len() - 1]), None);
        let empty = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert_eq!(request_bytes(empty).map(|(_, whole)| whole), Some(empty.len()));
        assert_eq!(request_bytes(b"GET / HTTP/1.1\r\n\r\n").map(|(head, _)| head), Some(18));

        let head_bytes = request_bytes(sized).expect("whole").0;
        let request = ReceivedRequest { connection: 0, raw: sized.to_vec(), head_bytes };
        assert_eq!((request.method().as_str(), request.target().as_str()), ("POST", "/x?q"));
        assert_eq!(request.header("x-a").as_deref(), Some("b"));
        assert_eq!(request.header("x-b"), None);
    }
}
