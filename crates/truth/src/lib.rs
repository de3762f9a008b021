//! loadline-truth
