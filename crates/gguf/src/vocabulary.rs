//! The vocabulary of made models: a SentencePiece one that reads any text.
//!
//! Ids: 0 `<unk>`, 1 `<s>`, 2 `</s>`, 3 `<|im_start|>`, 4 `<|im_end|>`, 256 bytes, the space `▁`, and
//! then pieces of lower-case letters with and without a space before them, short ones first. So
//! every id but the first five stands for text (an id without text would give a stream of answers
//! nothing to send). English prose takes about one token for 2.3 characters, where real vocabularies
//! take one for 4; what is neither space nor lower-case letter takes one token a byte.

/// Fewest tokens of a vocabulary.
pub const MIN: u32 = 512;
/// Most tokens of a vocabulary: those of the largest real ones.
pub const MAX: u32 = 1 << 18;
/// Id of the token that begins a text.
pub const BOS: u32 = 1;
/// Id of the token that ends a text.
pub const EOS: u32 = 2;
/// Id of the token that ends a message.
pub const EOT: u32 = 4;
/// How messages become a text: the form called chatml, which llama.cpp knows.
pub const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] \
    + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}\
    {{ '<|im_start|>assistant\n' }}{% endif %}";

const SPECIAL: [(&str, i32); 5] = [
    ("<unk>", UNKNOWN),
    ("<s>", CONTROL),
    ("</s>", CONTROL),
    ("<|im_start|>", CONTROL),
    ("<|im_end|>", CONTROL),
];
const SPACE: &str = "\u{2581}";

// The numbers of `llama_token_type` in llama.h.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;

/// One token.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Its text.
    pub text: String,
    /// Neighbours whose union has the highest score are joined first.
    pub score: f32,
    /// Its number in `llama_token_type`.
    pub kind: i32,
}

/// The first `vocab` tokens, at most [`MAX`], by id.
pub fn tokens(vocab: u32) -> impl Iterator<Item = Token> {
    let special = SPECIAL.map(|(text, kind)| (text.to_owned(), kind));
    let bytes = (0..=u8::MAX).map(|byte| (format!("<0x{byte:02X}>"), BYTE));
    let space = (SPACE.to_owned(), NORMAL);
    let pieces = pieces().map(|text| (text, NORMAL));
    let all = special.into_iter().chain(bytes).chain([space]).chain(pieces);
    all.take(vocab as usize).enumerate().map(|(id, (text, kind))| {
        let score = if kind == NORMAL { -(id as f32) } else { 0.0 };
        Token { text, score, kind }
    })
}

/// `▁a`…, `aa`…, `▁aa`…, `aaa`…, `▁aaa`…, `aaaa`…
fn pieces() -> impl Iterator<Item = String> {
    let spaced = |letters: u32| words(letters).map(|word| format!("{SPACE}{word}"));
    spaced(1).chain(words(2)).chain(spaced(2)).chain(words(3)).chain(spaced(3)).chain(words(4))
}

/// All words of so many letters, in alphabetical order.
fn words(letters: u32) -> impl Iterator<Item = String> {
    (0..26_u32.pow(letters)).map(move |number| {
        let letter = |place: u32| (b'a' + (number / 26_u32.pow(place) % 26) as u8) as char;
        (0..letters).rev().map(letter).collect()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_token_differs_and_there_are_enough() {
        let texts: HashSet<_> = tokens(MAX).map(|token| token.text).collect();
        assert_eq!(texts.len(), MAX as usize);
        let few: Vec<_> = tokens(MIN).collect();
        assert_eq!(few.len(), MIN as usize);
        assert_eq!(few[BOS as usize].text, "<s>");
        assert_eq!(few[EOS as usize].text, "</s>");
        assert_eq!(few[EOT as usize].text, "<|im_end|>");
        assert_eq!((few[5 + 0xe2].text.as_str(), few[5 + 0xe2].kind), ("<0xE2>", BYTE));
        assert_eq!(few[262].text, "\u{2581}a");
        assert_eq!(few[288].text, "aa");
    }
}
