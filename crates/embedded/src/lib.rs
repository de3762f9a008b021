//! llama.cpp in this program: its measurement and its OpenAI server.
//!
//! Both run in a child process of the program: llama.cpp ends the process when one of its checks
//! fails, and that must never take a measurement down. [`worker()`] measures what its parent asks
//! for, one JSON line each way ([`protocol`]); [`serve()`] answers HTTP.

mod error;
mod facts;
mod llama;
mod machine;
mod measure;
mod memory;
mod random;
mod serve;
mod worker;

pub use error::Error;
pub use loadline_schema::engine_protocol as protocol;
pub use serve::{ServeOptions, ended_by_signal_or_parent, serve};
pub use worker::worker;
