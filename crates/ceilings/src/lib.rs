//! What this machine can do at most: memory bandwidth.

mod bandwidth;
mod error;
mod kernel;
mod machine;
mod team;

pub use bandwidth::{MemoryBandwidth, memory_bandwidth, memory_bandwidth_on};
pub use error::CeilingError;
pub use machine::Machine;
