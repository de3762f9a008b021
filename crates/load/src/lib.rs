//! loadline-load
