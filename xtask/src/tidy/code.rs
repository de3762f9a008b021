//! Separates Rust code from its comments and literals, so that a rule about code is not set off by
//! a word in a sentence. A scanner of a few states, not a parser.

/// The source with comments and the contents of text literals blanked by spaces; every line keeps
/// its number and every character its column.
pub(super) fn code_only(source: &str) -> String {
    let mut scanner = Scanner { rest: source, code: String::with_capacity(source.len()) };
    while let Some(next) = scanner.rest.chars().next() {
        scanner.step(next);
    }
    scanner.code
}

struct Scanner<'a> {
    rest: &'a str,
    code: String,
}

impl Scanner<'_> {
    fn step(&mut self, next: char) {
        if self.rest.starts_with("//") {
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.blank(end);
        } else if self.rest.starts_with("/*") {
            let end = block_comment_end(self.rest);
            self.blank(end);
        } else if let Some(end) = self.raw_text_end() {
            self.blank(end);
        } else if next == '"' {
            let end = quoted_end(self.rest, '"');
            self.blank(end);
        } else if next == '\'' {
            let end = character_end(self.rest);
            self.blank(end);
        } else {
            self.code.push(next);
            self.rest = &self.rest[next.len_utf8()..];
        }
    }

    /// Blanks the next `length` bytes, line ends excepted.
    fn blank(&mut self, length: usize) {
        let (gone, rest) = self.rest.split_at(length);
        self.code.extend(gone.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        self.rest = rest;
    }

    /// Length of the raw text literal that starts here, if one does: `r"…"`, `br#"…"#` and so on.
    fn raw_text_end(&self) -> Option<usize> {
        let in_word = self.code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if in_word {
            return None;
        }
        let after_prefix = ["br", "cr", "r"]
            .into_iter()
            .find_map(|prefix| self.rest.strip_prefix(prefix))
            .filter(|after| after.starts_with(['"', '#']))?;
        let hashes = after_prefix.len() - after_prefix.trim_start_matches('#').len();
        let body = after_prefix[hashes..].strip_prefix('"')?;
        let close = format!("\"{}", "#".repeat(hashes));
        let length = body.find(&close).map_or(body.len(), |at| at + close.len());
        Some(self.rest.len() - body.len() + length)
    }
}

/// Length of the block comment at the start of `text`; they nest.
fn block_comment_end(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of the literal at the start of `text` that ends with an unescaped `quote`.
fn quoted_end(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + c.len_utf8();
        }
    }
    text.len()
}

/// Length of the character literal at the start of `text`, or 1 where the quote is a lifetime's.
fn character_end(text: &str) -> usize {
    let mut following = text.chars().skip(1);
    match (following.next(), following.next()) {
        (Some('\\'), _) => quoted_end(text, '\''),
        (Some(only), Some('\'')) => 2 + only.len_utf8(),
        _ => 1,
    }
}

/// Whether `word` stands in `line` with no letter, digit or `_` directly before or after it.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !joins(before) && !joins(after)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{code_only, has_word};

    #[test]
    fn comments_and_texts_are_blanked_and_code_stays() {
        let source =
            "let a = \"x // y\"; // tail\nlet b = 'c'; /* one /* two */ \n still */ let c;";
        let code = code_only(source);
        assert_eq!(code.lines().count(), 3);
        assert!(code.contains("let a =") && code.contains("let b =") && code.contains("let c;"));
        assert!(!code.contains("tail") && !code.contains("two") && !code.contains("still"));
        assert!(!code.contains('x') && !code.contains('y'));
    }

    #[test]
    fn raw_texts_end_at_their_own_hashes() {
        let code = code_only("f(r#\"inside \" still\"#, br\"bytes\", after)");
        assert!(code.contains("after"));
        assert!(!code.contains("inside") && !code.contains("still") && !code.contains("bytes"));
    }

    #[test]
    fn lifetimes_are_no_characters() {
        let code = code_only("fn f<'a>(x: &'a str, q: char) { q == '\\'' || q == '\"'; end() }");
        assert!(code.contains("str, q: char") && code.contains("end()"));
    }

    #[test]
    fn a_word_is_found_only_whole() {
        assert!(has_word("unsafe { x }", "unsafe"));
        assert!(!has_word("expect(unsafe_code)", "unsafe"));
        assert!(!has_word("unsafely", "unsafe"));
    }

    proptest! {
        #[test]
        fn lines_and_columns_are_kept(source in "[a-z\"'/*\\\\#r\n ]{0,60}") {
            let code = code_only(&source);
            let lengths = |text: &str| -> Vec<usize> {
                text.split('\n').map(|line| line.chars().count()).collect()
            };
            prop_assert_eq!(lengths(&source), lengths(&code));
        }
    }
}
