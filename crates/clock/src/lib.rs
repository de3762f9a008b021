//! loadline-clock
