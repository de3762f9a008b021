//! Splits a body into server-sent events (WHATWG HTML, section 9.2), in place where an event lies
//! wholly in the bytes at hand.

/// Longest event in bytes.
pub const EVENT_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// An event's data is longer than [`EVENT_LIMIT_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than 64 MiB")]
pub struct EventTooLong;

/// One event with data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SseEvent<'a> {
    /// The data, lines joined by `\n`.
    pub data: &'a [u8],
    /// Whether the event's type is `error`.
    pub is_error: bool,
    /// All lines of the event, its empty line included, when they lie in the bytes at hand, hold one
    /// line of data (which `data` points into), and mean the same at the begin of any event.
    pub raw: Option<&'a [u8]>,
}

/// What one line says.
enum Line<'a> {
    Empty,
    Data(&'a [u8]),
    Type(&'a [u8]),
    /// Comment, `id`, `retry` or an unknown field.
    Nothing,
}

/// Splitter of one stream. Where the bytes are cut makes no difference to the events.
#[derive(Debug, Default)]
pub struct Splitter {
    /// Begin of a line whose end has not arrived.
    line: Vec<u8>,
    /// Data of the present event, as far as it had to be copied.
    data: Vec<u8>,
    /// Whether `data` holds at least one line.
    has_data: bool,
    /// `data` was handed out and is to be emptied at the next call.
    handed_out: bool,
    is_error: bool,
    /// The last line ended with `\r` at the end of the bytes: a `\n` belongs to it.
    skip_lf: bool,
    /// A line was completed, so that no byte-order mark can follow.
    begun: bool,
}

impl Splitter {
    /// Makes ready for another stream; keeps buffers up to `kept_capacity` bytes.
    pub fn reset(&mut self, kept_capacity: usize) {
        for buffer in [&mut self.line, &mut self.data] {
            buffer.clear();
            buffer.shrink_to(kept_capacity);
        }
        *self = Self {
            line: std::mem::take(&mut self.line),
            data: std::mem::take(&mut self.data),
            ..Self::default()
        };
    }

    /// Whether the next byte begins an event and nothing read before can change its meaning.
    pub fn at_boundary(&self) -> bool {
        let pending = (self.has_data || self.is_error) && !self.handed_out;
        self.begun && !pending && !self.skip_lf && self.line.is_empty()
    }

    /// Takes the next event off `input`; `None` when the input is used up.
    ///
    /// # Errors
    /// [`EventTooLong`]; the stream is of no use after it.
    pub fn next<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<SseEvent<'s>>, EventTooLong> {
        self.take_back();
        // Data of the present event, as long as it is one line in the bytes at hand.
        let mut held: Option<&'i [u8]> = None;
        let mut event_begin: &'i [u8] = input;
        let mut whole = self.at_boundary();
        loop {
            self.drop_lf(input);
            let Some((line, ends_with_cr)) = split_line(input) else {
                self.keep_rest(held, input)?;
                return Ok(None);
            };
            self.skip_lf = ends_with_cr && input.is_empty();
            if !self.line.is_empty() || !self.begun {
                self.carried_line(held.take(), line)?;
                if self.handed_out {
                    return Ok(Some(self.buffered()));
                }
                continue;
            }
            match classify(line) {
                Line::Data(data) if held.is_none() && !self.has_data => held = Some(data),
                Line::Data(data) => {
                    self.copy_held(held.take())?;
                    self.append(data)?;
                }
                Line::Type(name) => self.is_error = name == b"error",
                Line::Nothing => {}
                Line::Empty if held.is_none() && !self.has_data => {
                    self.is_error = false;
                    (event_begin, whole) = (*input, !self.skip_lf);
                }
                Line::Empty => {
                    let Some(data) = held else {
                        self.handed_out = true;
                        return Ok(Some(self.buffered()));
                    };
                    let is_error = std::mem::take(&mut self.is_error);
                    let raw = &event_begin[..event_begin.len() - input.len()];
                    let raw = (whole && !ends_with_cr).then_some(raw);
                    return Ok(Some(SseEvent { data, is_error, raw }));
                }
            }
        }
    }

    /// The event that the end of the stream left without its empty line, if it has data.
    ///
    /// # Errors
    /// [`EventTooLong`].
    pub fn finish(&mut self) -> Result<Option<SseEvent<'_>>, EventTooLong> {
        self.take_back();
        if !self.line.is_empty() {
            self.carried_line(None, &[])?;
        }
        if !self.has_data {
            return Ok(None);
        }
        self.handed_out = true;
        Ok(Some(self.buffered()))
    }

    /// Empties the buffers of an event that was handed out.
    fn take_back(&mut self) {
        if std::mem::take(&mut self.handed_out) {
            self.data.clear();
            self.has_data = false;
            self.is_error = false;
        }
    }

    fn buffered(&self) -> SseEvent<'_> {
        SseEvent { data: &self.data, is_error: self.is_error, raw: None }
    }

    fn drop_lf(&mut self, input: &mut &[u8]) {
        if self.skip_lf && !input.is_empty() {
            self.skip_lf = false;
            if let Some(rest) = input.strip_prefix(b"\n") {
                *input = rest;
            }
        }
    }

    /// The input ended inside an event: what was seen of it is copied.
    fn keep_rest(&mut self, held: Option<&[u8]>, input: &mut &[u8]) -> Result<(), EventTooLong> {
        self.copy_held(held)?;
        self.line.extend_from_slice(input);
        *input = &[];
        // A field name and its colon belong to the line and not to the data.
        if self.line.len() > EVENT_LIMIT_BYTES + 8 { Err(EventTooLong) } else { Ok(()) }
    }

    /// Completes the line begun in earlier bytes (or the first one, which may have a byte-order mark).
    /// An event that it completes is marked as handed out.
    fn carried_line(&mut self, held: Option<&[u8]>, tail: &[u8]) -> Result<(), EventTooLong> {
        self.copy_held(held)?;
        let mut buffer = std::mem::take(&mut self.line);
        buffer.extend_from_slice(tail);
        let mut line = buffer.as_slice();
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        let taken = match classify(line) {
            Line::Data(data) => self.append(data),
            Line::Type(name) => {
                self.is_error = name == b"error";
                Ok(())
            }
            Line::Nothing => Ok(()),
            Line::Empty => {
                self.handed_out = self.has_data;
                self.is_error &= self.has_data;
                Ok(())
            }
        };
        buffer.clear();
        self.line = buffer;
        taken
    }

    fn copy_held(&mut self, held: Option<&[u8]>) -> Result<(), EventTooLong> {
        held.map_or(Ok(()), |data| self.append(data))
    }

    /// Adds a line of data to the present event.
    fn append(&mut self, data: &[u8]) -> Result<(), EventTooLong> {
        if std::mem::replace(&mut self.has_data, true) {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(data);
        if self.data.len() > EVENT_LIMIT_BYTES { Err(EventTooLong) } else { Ok(()) }
    }
}

/// Takes a line and its end (`\n`, `\r\n` or `\r`) off the input; the flag says that it ended with
/// `\r` alone, as far as the input shows.
fn split_line<'a>(input: &mut &'a [u8]) -> Option<(&'a [u8], bool)> {
    let bytes = *input;
    let end = memchr::memchr2(b'\n', b'\r', bytes)?;
    let lone_cr = bytes[end] == b'\r' && bytes.get(end + 1) != Some(&b'\n');
    let next = if bytes[end] == b'\r' && !lone_cr { end + 2 } else { end + 1 };
    *input = &bytes[next..];
    Some((&bytes[..end], lone_cr))
}

fn classify(line: &[u8]) -> Line<'_> {
    match line {
        [] => Line::Empty,
        [b'd', b'a', b't', b'a', b':', b' ', data @ ..]
        | [b'd', b'a', b't', b'a', b':', data @ ..] => Line::Data(data),
        b"data" => Line::Data(&[]),
        b"event" => Line::Type(&[]),
        _ => match line.strip_prefix(b"event:") {
            Some(name) => Line::Type(name.strip_prefix(b" ").unwrap_or(name)),
            None => Line::Nothing,
        },
    }
}

#[cfg(test)]
#[path = "sse_tests.rs"]
mod tests;
