//! Reads JSON member by member: no tree, no copy, no allocation, wrong UTF-8 left as it is.
//!
//! Why not a deserializer: chunks have a dozen members of which two or three matter, and servers
//! that count tokens in each chunk make every one different. `benches/decode.rs` has the cost of a
//! chunk; a typed parse by serde_json takes half as long again. What is accepted as JSON is the
//! same as for serde_json (nesting apart, which ends at 128), and a property test says so.

use std::borrow::Cow;

/// Deepest nesting that is read.
const DEPTH_LIMIT: u32 = 128;

/// What is wrong with a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub(crate) struct BadJson {
    what: &'static str,
    at: usize,
}

/// Whether and how reading went on.
pub(crate) type Parsed<T = ()> = Result<T, BadJson>;

/// A place in a document.
#[derive(Debug)]
pub(crate) struct Json<'de> {
    bytes: &'de [u8],
    at: usize,
    depth: u32,
}

impl<'de> Json<'de> {
    /// At the begin of a document.
    pub(crate) fn new(bytes: &'de [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    /// Checks that the document ends here.
    pub(crate) fn end(&mut self) -> Parsed {
        self.peek();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.bad("something follows")) }
    }

    /// Checks that an object begins here.
    pub(crate) fn object(&mut self) -> Parsed {
        if self.peek() == b'{' { Ok(()) } else { Err(self.bad("expected an object")) }
    }

    /// Calls `take` with each member's name, at its value, which `take` must read. Any other value
    /// than an object is skipped.
    pub(crate) fn members(&mut self, mut take: impl FnMut(&mut Self, &[u8]) -> Parsed) -> Parsed {
        if self.peek() != b'{' {
            return self.skip();
        }
        self.enter()?;
        if self.closes(b'}') {
            return Ok(());
        }
        loop {
            let (quoted, escaped) = self.string()?;
            if self.peek() != b':' {
                return Err(self.bad("expected a colon"));
            }
            self.at += 1;
            if escaped {
                take(self, &resolved(quoted))?;
            } else {
                take(self, &quoted[1..quoted.len() - 1])?;
            }
            if !self.goes_on(b'}')? {
                return Ok(());
            }
        }
    }

    /// Calls `take` at each element, which it must read. Any other value than an array is skipped.
    pub(crate) fn elements(&mut self, mut take: impl FnMut(&mut Self) -> Parsed) -> Parsed {
        if self.peek() != b'[' {
            return self.skip();
        }
        self.enter()?;
        if self.closes(b']') {
            return Ok(());
        }
        loop {
            take(self)?;
            if !self.goes_on(b']')? {
                return Ok(());
            }
        }
    }

    /// The bytes of the value here.
    pub(crate) fn raw(&mut self) -> Parsed<&'de [u8]> {
        self.peek();
        let start = self.at;
        self.skip()?;
        Ok(&self.bytes[start..self.at])
    }

    /// The count here; anything else than a whole number from 0 to 2³² − 1 is skipped and none.
    pub(crate) fn count(&mut self) -> Parsed<Option<u32>> {
        let raw = self.raw()?;
        if raw.len() < 10 && raw.iter().all(u8::is_ascii_digit) {
            let value = raw.iter().fold(0, |sum, &digit| sum * 10 + u32::from(digit - b'0'));
            return Ok(Some(value));
        }
        // A quoted number does not parse, since its quotes belong to `raw`.
        let number = std::str::from_utf8(raw).ok().and_then(|raw| raw.parse::<f64>().ok());
        let whole = number.filter(|n| n.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(n));
        Ok(whole.map(|n| n as u32))
    }

    /// Reads over the value here.
    pub(crate) fn skip(&mut self) -> Parsed {
        match self.peek() {
            b'"' => self.string().map(|_| ()),
            b'{' => self.members(|json, _| json.skip()),
            b'[' => self.elements(Self::skip),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => Err(self.bad("expected a value")),
        }
    }

    /// Skips white space; the next byte, 0 (which begins nothing) at the end.
    #[inline]
    fn peek(&mut self) -> u8 {
        while let Some(&byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return byte;
            }
            self.at += 1;
        }
        0
    }

    #[cold]
    fn bad(&self, what: &'static str) -> BadJson {
        let what = if self.at >= self.bytes.len() { "the document ends" } else { what };
        BadJson { what, at: self.at }
    }

    #[inline]
    fn enter(&mut self) -> Parsed {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_LIMIT { Err(self.bad("nested too deeply")) } else { Ok(()) }
    }

    /// Whether an object or array ends right here.
    #[inline]
    fn closes(&mut self, close: u8) -> bool {
        let closes = self.peek() == close;
        if closes {
            self.at += 1;
            self.depth -= 1;
        }
        closes
    }

    /// After a member or element: whether another one follows.
    #[inline]
    fn goes_on(&mut self, close: u8) -> Parsed<bool> {
        let byte = self.peek();
        if byte != b',' && byte != close {
            return Err(self.bad("expected a comma or the end"));
        }
        self.at += 1;
        self.depth -= u32::from(byte == close);
        Ok(byte == b',')
    }

    /// The string here, quotes included, and whether it has escapes.
    fn string(&mut self) -> Parsed<(&'de [u8], bool)> {
        if self.peek() != b'"' {
            return Err(self.bad("expected a string"));
        }
        let start = self.at;
        let mut escaped = false;
        self.at += 1;
        loop {
            let (length, is_quote) = plain_length(&self.bytes[self.at..]);
            self.at += length;
            if is_quote {
                self.at += 1;
                return Ok((&self.bytes[start..self.at], escaped));
            }
            match self.bytes.get(self.at) {
                Some(b'\\') => self.escape()?,
                _ => return Err(self.bad("a control character in a string")),
            }
            escaped = true;
        }
    }

    fn escape(&mut self) -> Parsed {
        let length = match self.bytes[self.at + 1..] {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(u8::is_ascii_hexdigit) => 6,
            _ => return Err(self.bad("a wrong escape")),
        };
        self.at += length;
        Ok(())
    }

    fn number(&mut self) -> Parsed {
        self.accept(b'-');
        if self.accept(b'0') {
            if self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
                return Err(self.bad("a number begins with zero"));
            }
        } else {
            self.digits()?;
        }
        if self.accept(b'.') {
            self.digits()?;
        }
        if self.accept(b'e') || self.accept(b'E') {
            let _signed = self.accept(b'+') || self.accept(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Parsed {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        self.at += length;
        if length == 0 { Err(self.bad("expected a digit")) } else { Ok(()) }
    }

    #[inline]
    fn accept(&mut self, byte: u8) -> bool {
        let found = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn literal(&mut self, word: &'static [u8]) -> Parsed {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.bad("expected a value"));
        }
        self.at += word.len();
        Ok(())
    }
}

/// The text of a quoted name with escapes, which are as good as never seen in names.
#[cold]
fn resolved(quoted: &[u8]) -> Cow<'_, [u8]> {
    serde_json::from_slice::<String>(quoted)
        .map_or(Cow::Borrowed(quoted), |name| Cow::Owned(name.into_bytes()))
}

/// Number of bytes before the first quote, backslash or control character, eight at a time; and
/// whether a quote is what was found.
#[inline]
fn plain_length(bytes: &[u8]) -> (usize, bool) {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // High bit of each byte under `limit` (up to 0x80). A borrow can only mark bytes behind a
    // marked one, and the first marked one is all that counts.
    let under = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGH;
    let (words, tail) = bytes.as_chunks::<8>();
    let mut length = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let quote = under(word ^ (ONES * u64::from(b'"')), 1);
        let other = under(word ^ (ONES * u64::from(b'\\')), 1) | under(word, 0x20);
        let found = quote | other;
        if found != 0 {
            let first = found & found.wrapping_neg();
            return (length + first.trailing_zeros() as usize / 8, other & first == 0);
        }
        length += 8;
    }
    let ends = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
    match tail.iter().position(ends) {
        Some(at) => (length + at, tail[at] == b'"'),
        None => (bytes.len(), false),
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
