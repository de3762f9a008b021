//! loadline-testkit
