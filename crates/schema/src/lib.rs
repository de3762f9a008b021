//! loadline-schema
