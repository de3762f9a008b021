//! Truth for a load client: an OpenAI-compatible server that knows when it sent every token, and
//! the bare reader, the least that any client must spend.
//!
//! ```
//! use std::time::Duration;
//! use loadline_truth::{Law, TruthThread};
//!
//! // TTFT 5 ms, 1 ms between tokens, 10 tokens; on a free port of 127.0.0.1, until dropped.
//! let server = TruthThread::start(Law::fixed(Duration::from_millis(5), Duration::from_millis(1), 10))?;
//! assert!(server.url().starts_with("http://127.0.0.1:"));
//! assert!(server.log().is_empty());
//! # Ok::<(), loadline_truth::TruthError>(())
//! ```
//!
//! A client's error is found request by request: [`known_answer::compare`] matches its rows with
//! [`TruthThread::log`] (or a file of `/dump`, see [`dump::read`]) by the id in the answer.

mod ask;
mod book;
mod connection;
mod control;
mod delay;
pub mod dump;
mod error;
mod frame;
mod histogram;
pub mod known_answer;
mod law;
mod metrics;
mod parameters;
pub mod reader;
mod record;
mod request;
mod serve;
mod server;
mod thread;
mod wire;

pub use book::Stats;
pub use delay::{Delay, Length};
pub use error::TruthError;
pub use law::{Law, MetricsPage, ReasoningField, RoleChunk, Stall, Told, Usage, UsagePlace};
pub use parameters::PARAMETERS;
pub use record::{Outcome, TruthRecord};
pub use server::{Listen, Truth};
pub use thread::TruthThread;
