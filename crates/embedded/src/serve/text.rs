//! Bytes of tokens turned into text that can be sent: whole characters, nothing of a stop string.

/// What a token's bytes brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Text to send now; empty: all of it is held back.
    Text(String),
    /// Text before a stop string, which ends the answer.
    Stopped(String),
}

/// The text of one answer.
#[derive(Debug, Default)]
pub(super) struct Text {
    stops: Vec<String>,
    /// Whether incomplete characters are told at once, as U+FFFD.
    every_token: bool,
    /// First bytes of a character whose others are still to come.
    bytes: Vec<u8>,
    /// Text that may be the beginning of a stop string.
    held: String,
}

impl Text {
    /// An answer that ends at the first of these strings, which are not empty.
    pub(super) fn new(stops: Vec<String>, every_token: bool) -> Self {
        Self { stops, every_token, ..Self::default() }
    }

    /// Adds a token. A token without text becomes U+FFFD, so that it can be seen.
    pub(super) fn push(&mut self, piece: &[u8]) -> Told {
        let new = if piece.is_empty() {
            let mut text = self.rest_of_bytes();
            text.push(char::REPLACEMENT_CHARACTER);
            text
        } else {
            self.bytes.extend_from_slice(piece);
            let mut text = self.whole_characters();
            if self.every_token {
                text.push_str(&self.rest_of_bytes());
            }
            text
        };
        self.held.push_str(&new);
        if let Some(at) = self.first_stop() {
            self.held.truncate(at);
            return Told::Stopped(std::mem::take(&mut self.held));
        }
        let kept = self.beginning_of_stop();
        let later = self.held.split_off(self.held.len() - kept);
        Told::Text(std::mem::replace(&mut self.held, later))
    }

    /// What was held back, when the answer ends without more tokens.
    pub(super) fn finish(&mut self) -> String {
        let rest = self.rest_of_bytes();
        let mut text = std::mem::take(&mut self.held);
        text.push_str(&rest);
        text
    }

    /// Takes all bytes but the first ones of a character that can still become whole.
    fn whole_characters(&mut self) -> String {
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.bytes) {
                Ok(valid) => {
                    text.push_str(valid);
                    self.bytes.clear();
                    return text;
                }
                Err(error) => {
                    let valid: Vec<u8> = self.bytes.drain(..error.valid_up_to()).collect();
                    text.push_str(&String::from_utf8_lossy(&valid));
                    let Some(wrong) = error.error_len() else { return text };
                    self.bytes.drain(..wrong);
                    text.push(char::REPLACEMENT_CHARACTER);
                }
            }
        }
    }

    /// What is left of an incomplete character, as U+FFFD.
    fn rest_of_bytes(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.bytes)).into_owned()
    }

    /// Where the first stop string begins.
    fn first_stop(&self) -> Option<usize> {
        self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min()
    }

    /// Length of the longest end of the text that begins a stop string, bytes.
    fn beginning_of_stop(&self) -> usize {
        let begins = |stop: &String| {
            let ends = self.held.char_indices().map(|(at, _)| &self.held[at..]);
            ends.map(|end| if stop.starts_with(end) { end.len() } else { 0 }).max()
        };
        self.stops.iter().filter_map(begins).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(told: Told) -> String {
        match told {
            Told::Text(text) => text,
            Told::Stopped(text) => panic!("stopped after {text:?}"),
        }
    }

    #[test]
    fn a_character_is_held_back_until_it_is_whole() {
        let mut answer = Text::new(Vec::new(), false);
        assert_eq!(text(answer.push(b"a\xe2")), "a");
        assert_eq!(text(answer.push(b"\x82")), "");
        assert_eq!(text(answer.push(b"\xac!")), "€!");
        assert_eq!(answer.finish(), "");
    }

    #[test]
    fn bytes_that_cannot_become_text_are_told_at_once() {
        let mut answer = Text::new(Vec::new(), false);
        assert_eq!(text(answer.push(b"\xff")), "\u{fffd}");
        assert_eq!(text(answer.push(b"\xe2")), "");
        assert_eq!(text(answer.push(b"A")), "\u{fffd}A");
        assert_eq!(text(answer.push(b"")), "\u{fffd}", "a token without text");
        assert_eq!(text(answer.push(b"\xe2")), "");
        assert_eq!(answer.finish(), "\u{fffd}");
    }

    #[test]
    fn every_token_is_visible_where_that_is_wanted() {
        let mut answer = Text::new(Vec::new(), true);
        for piece in [&b"\xe2"[..], b"\x82", b"\xac", b"", b"a"] {
            assert!(!text(answer.push(piece)).is_empty());
        }
        assert_eq!(answer.finish(), "");
    }

    #[test]
    fn nothing_of_a_stop_string_is_told() {
        let mut answer = Text::new(vec!["END".into(), "\n\n".into()], false);
        assert_eq!(text(answer.push(b"one E")), "one ");
        assert_eq!(text(answer.push(b"N")), "");
        assert_eq!(text(answer.push(b"E")), "EN");
        assert_eq!(text(answer.push(b"N")), "");
        assert_eq!(answer.push(b"D rest"), Told::Stopped(String::new()));
        let mut answer = Text::new(vec!["é!".into()], false);
        assert_eq!(text(answer.push("é".as_bytes())), "");
        assert_eq!(answer.finish(), "é");
    }
}
