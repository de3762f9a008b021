//! loadline-store
