//! The reactor against servers that misbehave: each operation ends in exactly one record, and the
//! record says what happened.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

mod connections;
mod drive;
mod streams;
