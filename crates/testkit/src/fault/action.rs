//! What a fault server can be told to do.

use std::time::Duration;

/// What happens on one connection, in order. At its end the connection is closed in good manner.
pub type Script = Vec<Action>;

/// One step of a script. A step that finds the client gone ends the script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reads one whole HTTP request and records it. The client closing instead ends the script.
    ReadRequest,
    /// Sends bytes as fast as the socket takes them.
    Send(Vec<u8>),
    /// Sends bytes in pieces of `piece` bytes with a pause after each.
    SendSlowly {
        /// What to send.
        bytes: Vec<u8>,
        /// Bytes in a piece, at least 1.
        piece: usize,
        /// Time between pieces.
        pause: Duration,
    },
    /// Does nothing for a while.
    Pause(Duration),
    /// Closes in good manner (with TLS: `close_notify` first).
    Close,
    /// Closes the TCP connection without `close_notify`; without TLS the same as `Close`.
    Cut,
    /// Closes so that the client gets a reset (TCP; a unix socket is just closed).
    Reset,
    /// Ends our direction only; the script goes on.
    HalfClose,
    /// Reads and forgets until the client closes.
    WaitForClientClose,
    /// Repeats the steps until one of them finds the client gone or closes: a keep-alive loop.
    Repeat(Script),
    /// Chooses by the path of the last request read (without its query).
    ByPath {
        /// End of the path, as in `/models`.
        ends_with: String,
        /// Played when the path ends so.
        then: Script,
        /// Played otherwise.
        otherwise: Script,
    },
}

impl Action {
    /// `Send` of anything that is bytes.
    pub fn send(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Send(bytes.into())
    }

    /// The usual script: each request of a connection gets `reply`, until the client closes.
    pub fn answer_each(reply: impl Into<Vec<u8>>) -> Script {
        vec![Self::Repeat(vec![Self::ReadRequest, Self::send(reply)])]
    }

    /// One request, one reply, then the server closes.
    pub fn answer_once(reply: impl Into<Vec<u8>>) -> Script {
        vec![Self::ReadRequest, Self::send(reply), Self::Close]
    }
}
