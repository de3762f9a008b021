//! One line of a page, read from left to right.

use std::borrow::Cow;

/// A place in a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        Self { rest: line }
    }

    pub(super) fn rest(&self) -> &'a str {
        self.rest
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Passes over blanks and tabs; whether there were any.
    pub(super) fn blanks(&mut self) -> bool {
        let trimmed = self.rest.trim_start_matches([' ', '\t']);
        let any = trimmed.len() < self.rest.len();
        self.rest = trimmed;
        any
    }

    /// Passes over this byte if it comes next.
    pub(super) fn takes(&mut self, byte: char) -> bool {
        match self.rest.strip_prefix(byte) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    pub(super) fn is_at(&self, byte: char) -> bool {
        self.rest.starts_with(byte)
    }

    /// A name without quotes: a letter or `_`, then digits, too; `:` only in names of metrics.
    pub(super) fn name(&mut self, colons: bool) -> Option<&'a str> {
        let is_part =
            |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || (colons && byte == b':');
        let bytes = self.rest.as_bytes();
        let end = bytes.iter().position(|byte| !is_part(*byte)).unwrap_or(bytes.len());
        if end == 0 || bytes[0].is_ascii_digit() {
            return None;
        }
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(name)
    }

    /// What stands up to the next blank.
    pub(super) fn word(&mut self) -> &'a str {
        let end = self.rest.find([' ', '\t']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// A text in quotes, which must come next. Copied only where it has escapes. `None`: the quotes
    /// are not closed.
    pub(super) fn quoted(&mut self) -> Option<Cow<'a, str>> {
        let inner = self.rest.strip_prefix('"')?;
        let bytes = inner.as_bytes();
        let mut at = 0;
        let mut escapes = false;
        loop {
            match bytes.get(at)? {
                b'"' => break,
                b'\\' => {
                    escapes = true;
                    at += 2;
                }
                _ => at += 1,
            }
        }
        // Both bytes looked for are ASCII, so the cut lies between characters.
        let text = &inner[..at];
        self.rest = &inner[at + 1..];
        Some(if escapes { Cow::Owned(unescaped(text)) } else { Cow::Borrowed(text) })
    }
}

/// `\\`, `\"` and `\n` resolved; other pairs stay as they are.
pub(super) fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => plain.push('\n'),
            Some(c @ ('\\' | '"')) => plain.push(c),
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_words() {
        let mut cursor = Cursor::new("vllm:a_1{b} 2");
        assert_eq!(cursor.name(true), Some("vllm:a_1"));
        assert!(cursor.takes('{'));
        assert_eq!(cursor.name(false), Some("b"));
        assert!(cursor.takes('}') && cursor.blanks());
        assert_eq!(cursor.word(), "2");
        assert!(cursor.is_at_end());
        assert_eq!(Cursor::new("1a").name(true), None);
        assert_eq!(Cursor::new("é").name(true), None);
    }

    #[test]
    fn quotes_and_escapes() {
        let of = |text| Cursor::new(text).quoted().map(Cow::into_owned);
        assert_eq!(of(r#""plain" rest"#).as_deref(), Some("plain"));
        assert_eq!(of(r#""a\"b\\c\nd\te""#).as_deref(), Some("a\"b\\c\nd\\te"));
        assert_eq!(of(r#""ends in a backslash\\""#).as_deref(), Some("ends in a backslash\\"));
        assert_eq!(of(r#""open"#), None);
        assert_eq!(of(r#""open\""#), None);
        assert_eq!(of(r#""open\"#), None);
        assert_eq!(of(r#""\é""#).as_deref(), Some("\\é"));
        assert!(matches!(Cursor::new(r#""a""#).quoted(), Some(Cow::Borrowed("a"))));
    }
}
