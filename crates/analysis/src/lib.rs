//! loadline-analysis
