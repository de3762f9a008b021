//! Random numbers, as `io.rs` names them.

pub(super) use crate::permutation::random;
