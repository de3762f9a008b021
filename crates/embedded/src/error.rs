//! What can go wrong in the engine.

use std::net::SocketAddr;

use crate::memory::Bytes;

/// Why the engine could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model's file cannot be loaded.
    #[error("model {path}: {reason}")]
    Load {
        /// The file.
        path: String,
        /// The decisive line of llama.cpp's log.
        reason: String,
    },
    /// A cell was to be measured before a model was opened.
    #[error("no model is open: `open` comes before `measure`")]
    NoModel,
    /// A setting of the cell or server that cannot work.
    #[error("{setting} is {value}: {reason}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What was asked for.
        value: String,
        /// Why it cannot be.
        reason: String,
    },
    /// A sequence would grow beyond what the model was trained for.
    #[error(
        "{needed} tokens of context for each sequence, but the model was trained for {trained}: \
         ask for less context, prompt or output"
    )]
    Context {
        /// Tokens of one sequence.
        needed: u64,
        /// The model's own limit, tokens.
        trained: u64,
    },
    /// What is asked for does not fit in memory.
    #[error(
        "{what} needs {} of memory ({detail}), but {} are free: ask for a smaller batch, context \
         or model",
        Bytes(*.needed), Bytes(*.available)
    )]
    Memory {
        /// The model or the context.
        what: &'static str,
        /// Its parts.
        detail: String,
        /// Memory that is needed, bytes.
        needed: u64,
        /// Memory that is left to this process, bytes.
        available: u64,
    },
    /// llama.cpp made no context.
    #[error("no context of {sequences} × {tokens} tokens: {reason}")]
    NoContext {
        /// Sequences.
        sequences: u32,
        /// Tokens of each sequence.
        tokens: u32,
        /// The decisive line of llama.cpp's log.
        reason: String,
    },
    /// llama.cpp could not compute a batch.
    #[error("computing {tokens} tokens failed with code {code}: {reason}")]
    Decode {
        /// Tokens of the batch.
        tokens: usize,
        /// What `llama_decode` returned: 1 means that no slot in the KV cache was found.
        code: i32,
        /// The decisive line of llama.cpp's log.
        reason: String,
    },
    /// llama.cpp could not keep or restore a sequence's state.
    #[error("the KV cache of sequence {sequence} could not be {done}")]
    State {
        /// The sequence.
        sequence: u32,
        /// What was tried: `saved`, `restored`, `cut back`.
        done: &'static str,
    },
    /// A line of the protocol that is not a request.
    #[error("request line: {0}")]
    Request(#[source] serde_json::Error),
    /// A reply that cannot be written as JSON.
    #[error("reply line: {0}")]
    Reply(#[source] serde_json::Error),
    /// The parent's pipe broke.
    #[error("pipe to the parent process: {0}")]
    Pipe(#[source] std::io::Error),
    /// The server cannot listen.
    #[error("listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The server's threads cannot start, or its sockets broke.
    #[error("server: {0}")]
    Server(#[source] std::io::Error),
    /// The engine's thread ended before the server did.
    #[error("the engine's thread ended early: {reason}")]
    Engine {
        /// Why.
        reason: String,
    },
}

impl Error {
    /// A setting that cannot work.
    pub(crate) fn setting(
        setting: &'static str,
        value: impl ToString,
        reason: impl Into<String>,
    ) -> Self {
        Self::Setting { setting, value: value.to_string(), reason: reason.into() }
    }
}
