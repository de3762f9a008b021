//! Tests of the answer decoder: each behaviour by name, samples of real servers, and properties.

mod behaviours;
mod failures;
mod properties;
mod servers;
mod wire;
