//! Readers of what is going on: GPUs, the host, power. They read and convert units; they draw no
//! conclusion and keep nothing. Whatever could not be read is named with its reason.

pub mod gpu;
pub mod host;
pub mod power;
pub mod prometheus;
pub mod rows;
mod sys_file;
