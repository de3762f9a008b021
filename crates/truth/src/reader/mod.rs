//! The bare reader: the least that any client must spend to load a server and see every token.
//!
//! One thread, one epoll, one receive per readiness into one buffer; events are counted by their
//! blank lines and nothing is parsed. It reads the plain streams of this crate's server (one
//! event after the last token for the usage, one for `[DONE]`) and is no client for anything else.

mod result;
mod run;
mod stream;

use std::net::SocketAddr;
use std::time::Duration;

pub use result::{ReaderRow, Reading, TokenRead};
pub use run::read;

/// The load to apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// So many streams at a time, `requests` in all. Connections are opened before.
    Closed {
        /// Streams at a time.
        concurrency: u32,
        /// Requests in all.
        requests: u64,
    },
    /// `rate_per_s` requests a second at even distances, for `seconds`.
    Open {
        /// Requests per second.
        rate_per_s: u32,
        /// Length of the schedule.
        seconds: u32,
    },
}

/// Everything a reading needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderPlan {
    /// The server.
    pub address: SocketAddr,
    /// The load.
    pub load: Load,
    /// Body of every request.
    pub body: String,
    /// Path of every request.
    pub path: String,
    /// Events of an answer that carry no token, all after its last token.
    pub trailing_events: u32,
    /// Whether arrivals are the kernel's receive stamps instead of the time after the read.
    pub kernel_stamps: bool,
    /// Sleep between polls, for a client that looks seldom.
    pub nap: Option<Duration>,
    /// When to give up.
    pub limit: Duration,
}

impl ReaderPlan {
    /// Chat with usage, user clock, no naps, a limit of one minute.
    pub fn new(address: SocketAddr, load: Load) -> Self {
        let body = "{\"model\":\"mock\",\"messages\":[{\"role\":\"user\",\"content\":\
                    \"the of and to in is on for the of and to in is on for\"}],\
                    \"max_tokens\":100,\"stream\":true,\"stream_options\":{\"include_usage\":true}}";
        Self {
            address,
            load,
            body: body.to_owned(),
            path: "/v1/chat/completions".to_owned(),
            trailing_events: 2,
            kernel_stamps: false,
            nap: None,
            limit: Duration::from_mins(1),
        }
    }
}
