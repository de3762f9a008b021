//! The page cache of this machine.
