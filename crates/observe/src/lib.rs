//! Readers of hardware.
