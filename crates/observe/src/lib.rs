//! What a machine and its servers tell about themselves, besides what a client measures.

pub mod prometheus;
