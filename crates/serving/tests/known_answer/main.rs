//! The driver against a server that knows when it sent every token: each request is matched by its
//! answer's id, and what the client says is held against what really happened.
//!
//! Bounds are on medians and 90th percentiles, wide enough for a loaded machine of two cores, where
//! either side can lose its core between a stamp and the call it belongs to. A wrong stamp, a lost or
//! doubled token or a gap in the wrong place is off in every request and breaks them all the same.

mod drive;
mod loops;
mod shapes;
