//! The HTTP head and the chunk framing: nothing panics, and framing does not depend on the cuts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use loadline_serving::answer::Framing;
use loadline_serving::answer::body::{BodyDecoder, Piece};
use loadline_serving::answer::head::Head;

/// The body, whether it ended, whether its framing broke; how many bytes are left.
fn body<'a>(
    framing: Framing,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<u8>, bool, bool, usize) {
    let mut decoder = BodyDecoder::new(framing);
    let mut body = Vec::new();
    let (mut ended, mut broken, mut left) = (framing == Framing::Length(0), false, 0);
    for mut input in pieces {
        while !broken {
            match decoder.next(&mut input) {
                Ok(Piece::Body(piece)) => body.extend_from_slice(piece),
                Ok(Piece::NeedMore) => break,
                Ok(Piece::End) => {
                    ended = true;
                    break;
                }
                Err(_) => broken = true,
            }
        }
        left += input.len();
    }
    // The end of a body shows at the next call, whether or not a byte follows.
    ended |= !broken && decoder.next(&mut &[][..]) == Ok(Piece::End);
    (body, ended, broken, if broken { 0 } else { left })
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, bytes)) = input.split_first() else { return };
    if let Ok(head) = Head::parse(bytes) {
        assert!(head.status != 101);
        assert!(!(head.keep_alive && head.framing == Framing::UntilClose));
    }
    for framing in [Framing::Chunked, Framing::UntilClose, Framing::Length(u64::from(choice))] {
        let whole = body(framing, std::iter::once(bytes));
        assert_eq!(body(framing, bytes.chunks(1 + usize::from(choice))), whole, "{framing:?}");
        assert_eq!(body(framing, bytes.chunks(1)), whole, "{framing:?}");
    }
});
