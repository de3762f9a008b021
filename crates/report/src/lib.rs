//! loadline-report
