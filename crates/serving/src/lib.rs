//! loadline-serving
