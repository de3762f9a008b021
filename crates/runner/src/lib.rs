//! loadline-runner
