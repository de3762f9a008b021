//! Framing of an HTTP/1.1 body: finds the body's own bytes among those of the connection.

use super::failure::{Failure, FailureKind, excerpt};
use super::head::Framing;

/// Longest chunk extension and longest trailer section in bytes.
const SIDE_LIMIT_BYTES: u32 = 64 * 1024;

/// What the next bytes are.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes of the body.
    Body(&'a [u8]),
    /// Everything given is used up and the body goes on.
    NeedMore,
    /// The body is complete; the rest of the input belongs to something else.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a chunk's size: value and number of digits so far.
    Size(u64, u32),
    /// After the size: extension or white space, up to the end of the line.
    SizeRest(u64),
    /// Bytes left of the chunk.
    Chunk(u64),
    /// Line break after a chunk.
    ChunkEnd,
    /// `\r` seen after a chunk.
    ChunkEndLf,
    /// At the begin of a trailer line.
    Trailer,
    /// `\r` seen at the begin of a trailer line.
    TrailerLf,
    /// Within a trailer line.
    TrailerLine,
    /// Bytes left of a body of known length.
    Length(u64),
    UntilClose,
    Ended,
}

/// Decoder of one body. Where the bytes are cut makes no difference to their concatenation.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    /// Bytes seen of the present chunk extension or of the trailer section.
    side_bytes: u32,
}

impl BodyDecoder {
    /// A decoder for a body with this framing.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Chunked => State::Size(0, 0),
            Framing::Length(0) => State::Ended,
            Framing::Length(length) => State::Length(length),
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, side_bytes: 0 }
    }

    /// Takes the next piece off `input`.
    ///
    /// # Errors
    /// `bad_http` when the chunk framing is broken.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Piece<'a>, Failure> {
        loop {
            match &mut self.state {
                State::Ended => return Ok(Piece::End),
                _ if input.is_empty() => return Ok(Piece::NeedMore),
                State::UntilClose => return Ok(Piece::Body(std::mem::take(input))),
                State::Length(left) => {
                    let body = take_at_most(input, left);
                    if *left == 0 {
                        self.state = State::Ended;
                    }
                    return Ok(Piece::Body(body));
                }
                State::Chunk(left) => {
                    let body = take_at_most(input, left);
                    if *left == 0 {
                        self.state = State::ChunkEnd;
                    }
                    return Ok(Piece::Body(body));
                }
                _ => self.framing_byte(input)?,
            }
        }
    }

    /// One byte of chunk framing. Line breaks without `\r` are accepted.
    fn framing_byte(&mut self, input: &mut &[u8]) -> Result<(), Failure> {
        let byte = input[0];
        self.state = match (self.state, byte) {
            (State::Size(size, digits), _) if byte.is_ascii_hexdigit() && digits < 15 => {
                let digit = (byte as char).to_digit(16).unwrap_or_default();
                State::Size(size << 4 | u64::from(digit), digits + 1)
            }
            (State::Size(size, 1..), b'\r' | b';' | b' ' | b'\t') => {
                self.side_bytes = 0;
                State::SizeRest(size)
            }
            (State::Size(size, 1..) | State::SizeRest(size), b'\n') => self.after_size(size),
            (State::SizeRest(size), _) => self.aside(State::SizeRest(size))?,
            (State::ChunkEnd, b'\r') => State::ChunkEndLf,
            (State::ChunkEnd | State::ChunkEndLf, b'\n') => State::Size(0, 0),
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::Trailer | State::TrailerLf, b'\n') => State::Ended,
            (State::TrailerLine, b'\n') => State::Trailer,
            (State::Trailer | State::TrailerLine, _) => self.aside(State::TrailerLine)?,
            _ => return Err(broken(input)),
        };
        *input = &input[1..];
        Ok(())
    }

    fn after_size(&mut self, size: u64) -> State {
        self.side_bytes = 0;
        if size == 0 { State::Trailer } else { State::Chunk(size) }
    }

    /// Counts a byte that is neither size nor body, which must not go on forever.
    fn aside(&mut self, next: State) -> Result<State, Failure> {
        self.side_bytes += 1;
        if self.side_bytes > SIDE_LIMIT_BYTES {
            let detail = "a chunk extension or trailer is longer than 64 KiB";
            return Err(Failure::new(FailureKind::BadHttp, detail));
        }
        Ok(next)
    }
}

/// Takes up to `left` bytes off the input.
fn take_at_most<'a>(input: &mut &'a [u8], left: &mut u64) -> &'a [u8] {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    let (body, rest) = input.split_at(count);
    *left -= count as u64;
    *input = rest;
    body
}

fn broken(input: &[u8]) -> Failure {
    let detail =
        format!("the chunked framing is broken at: {}", excerpt(&input[..input.len().min(40)]));
    Failure::new(FailureKind::BadHttp, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body of `bytes` fed in pieces of `cut` bytes, and whether it ended; what is left over.
    fn decode(
        framing: Framing,
        bytes: &[u8],
        cut: usize,
    ) -> Result<(Vec<u8>, bool, usize), Failure> {
        let mut decoder = BodyDecoder::new(framing);
        let mut body = Vec::new();
        let mut used = 0;
        for part in bytes.chunks(cut.max(1)) {
            let mut input = part;
            loop {
                match decoder.next(&mut input)? {
                    Piece::Body(piece) => body.extend_from_slice(piece),
                    Piece::NeedMore => break,
                    Piece::End => {
                        return Ok((body, true, bytes.len() - used - (part.len() - input.len())));
                    }
                }
            }
            used += part.len();
        }
        Ok((body, decoder.state == State::Ended, 0))
    }

    #[test]
    fn chunks_extensions_and_trailers_are_understood_however_they_are_cut() {
        let bytes = b"4;name=value\r\nWiki\r\n5 \r\npedia\r\nA\nin chunks.\n0\r\nTrailer: x\r\nOther: y\r\n\r\nXY";
        for cut in 1..bytes.len() {
            let decoded = decode(Framing::Chunked, bytes, cut).unwrap();
            assert_eq!(decoded, (b"Wikipediain chunks.".to_vec(), true, 2), "cut {cut}");
        }
    }

    #[test]
    fn a_length_ends_the_body_and_leaves_the_rest() {
        assert_eq!(decode(Framing::Length(3), b"abcde", 2).unwrap(), (b"abc".to_vec(), true, 2));
        assert_eq!(decode(Framing::Length(9), b"abcde", 2).unwrap(), (b"abcde".to_vec(), false, 0));
        assert_eq!(decode(Framing::Length(0), b"x", 1).unwrap(), (Vec::new(), true, 1));
        assert_eq!(decode(Framing::UntilClose, b"abc", 1).unwrap(), (b"abc".to_vec(), false, 0));
    }

    #[test]
    fn broken_chunk_framing_is_an_error() {
        for bytes in [
            &b"x\r\n"[..],
            b"\r\n",
            b"4\r\nWikiX",
            b"4\r\nWiki\rX",
            b"0\r\n\rX",
            b"-1\r\n",
            b"1234567890abcdef\r\n",
        ] {
            let failure = decode(Framing::Chunked, bytes, 100).unwrap_err();
            assert_eq!(failure.kind, FailureKind::BadHttp, "{}", excerpt(bytes));
        }
        let endless = [&b"4;"[..], &vec![b'x'; 70_000]].concat();
        assert_eq!(
            decode(Framing::Chunked, &endless, 1000).unwrap_err().kind,
            FailureKind::BadHttp
        );
    }
}
