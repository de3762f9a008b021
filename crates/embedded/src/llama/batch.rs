//! The tokens of one call, each with its position, its sequence and whether its logits are wanted.

use std::ops::Range;

use llama_cpp_sys_2 as sys;

use super::Token;

/// Tokens to compute. Longer ones than a call allows are computed in parts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Batch {
    tokens: Vec<Token>,
    positions: Vec<i32>,
    sequences: Vec<i32>,
    counts: Vec<i32>,
    logits: Vec<i8>,
}

impl Batch {
    /// Removes all tokens.
    pub(crate) fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.sequences.clear();
        self.counts.clear();
        self.logits.clear();
    }

    /// Adds a token of a sequence; `logits`: whether the next token's logits are wanted.
    pub(crate) fn add(&mut self, token: Token, position: u32, sequence: u32, logits: bool) {
        self.tokens.push(token);
        self.positions.push(position as i32);
        self.sequences.push(sequence as i32);
        self.counts.push(1);
        self.logits.push(i8::from(logits));
    }

    /// Tokens.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Hands a range of the tokens to `call` in the library's form, valid during the call.
    pub(super) fn with_part<R>(
        &self,
        part: Range<usize>,
        call: impl FnOnce(sys::llama_batch) -> R,
    ) -> R {
        let sequences = &self.sequences[part.clone()];
        // The library reads its batches only, although its type has mutable pointers.
        let mut lists: Vec<*mut i32> =
            sequences.iter().map(|sequence| std::ptr::from_ref(sequence).cast_mut()).collect();
        let batch = sys::llama_batch {
            n_tokens: part.len() as i32,
            token: self.tokens[part.clone()].as_ptr().cast_mut(),
            embd: std::ptr::null_mut(),
            pos: self.positions[part.clone()].as_ptr().cast_mut(),
            n_seq_id: self.counts[part.clone()].as_ptr().cast_mut(),
            seq_id: lists.as_mut_ptr(),
            logits: self.logits[part].as_ptr().cast_mut(),
        };
        call(batch)
    }
}
