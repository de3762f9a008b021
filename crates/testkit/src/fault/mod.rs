//! A server that does what a script says: one thread a connection, blocking sockets.

mod action;
mod play;
mod received;
mod server;
mod socket;

pub use action::{Action, Script};
pub use received::ReceivedRequest;
pub use server::{FaultBuilder, FaultServer};
