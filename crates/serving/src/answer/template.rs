//! The fast path: an event that repeats the last one but for its text has the same facts.
//!
//! Why this cannot be fooled: the remembered event was parsed in full, so the place of its text is
//! that of one JSON string literal. The new event has the same bytes before and after that literal,
//! and between them at least one byte, no quote, no backslash and no control byte: it is the same
//! document with another non-empty literal at that place. Only events whose effect on the answer is
//! their kind and their text are remembered, so nothing else can have changed.

use super::facts::ChunkFacts;

/// Where the text of a chunk belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TextPlace {
    /// Output of choice 0.
    Output,
    /// Reasoning of choice 0.
    Reasoning,
    /// Of another choice: not kept.
    #[default]
    Elsewhere,
}

/// The remembered event.
#[derive(Debug, Default)]
pub(crate) struct Template {
    /// The event's bytes up to and with the quote that opens its text.
    before: Vec<u8>,
    /// Those from the quote that closes its text; empty when no event is remembered.
    after: Vec<u8>,
    facts: ChunkFacts,
    place: TextPlace,
    off: bool,
}

impl Template {
    /// Forgets the event and keeps buffers up to `kept_capacity` bytes.
    pub(crate) fn forget(&mut self, kept_capacity: usize) {
        for buffer in [&mut self.before, &mut self.after] {
            buffer.clear();
            buffer.shrink_to(kept_capacity);
        }
    }

    /// Switches the fast path on or off.
    pub(crate) fn switch(&mut self, on: bool) {
        self.off = !on;
        self.after.clear();
    }

    /// Remembers an event: its bytes, where in them its only text lies (without quotes), its facts.
    pub(crate) fn learn(
        &mut self,
        raw: &[u8],
        text: std::ops::Range<usize>,
        facts: ChunkFacts,
        place: TextPlace,
    ) {
        if self.off {
            return;
        }
        self.before.clear();
        self.before.extend_from_slice(&raw[..text.start]);
        self.after.clear();
        self.after.extend_from_slice(&raw[text.end..]);
        (self.facts, self.place) = (facts, place);
    }

    /// When `input` begins with an event like the remembered one: its length and its text.
    pub(crate) fn matches<'a>(&self, input: &'a [u8]) -> Option<(usize, &'a [u8])> {
        if self.after.is_empty() {
            return None;
        }
        let rest = input.strip_prefix(self.before.as_slice())?;
        let length = memchr::memchr(b'"', rest)?;
        let (text, rest) = rest.split_at(length);
        if text.is_empty() || !rest.starts_with(&self.after) || !is_plain(text) {
            return None;
        }
        Some((self.before.len() + length + self.after.len(), text))
    }

    /// Facts of the remembered event, and where its text belongs.
    pub(crate) fn known(&self) -> (ChunkFacts, TextPlace) {
        (self.facts, self.place)
    }
}

/// Whether a JSON string may hold these bytes as they are, quotes apart. No early exit: texts are
/// short, and a loop without branches is done many bytes at a time.
fn is_plain(text: &[u8]) -> bool {
    let odd =
        text.iter().fold(0, |odd, &byte| odd | u8::from(byte < 0x20) | u8::from(byte == b'\\'));
    odd == 0
}
