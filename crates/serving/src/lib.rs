//! Driver for OpenAI-compatible LLM servers: one reactor per core sends requests when they are due,
//! stamps the answers' bytes on arrival and hands on one record for each operation.

pub mod answer;
pub mod ask;
pub mod calibrate;
pub mod dataset;
pub mod discover;
pub mod endpoint;
pub mod keep_alive;
pub mod prompt;
mod reactor;
pub mod request_body;
pub mod socket;
pub mod target;
pub mod tls;
pub mod tokenize;
pub mod trial;

pub use reactor::{Batch, Requests, Sink};
