//! Tests of the event splitter.
