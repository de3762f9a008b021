//! Quantities as people write them: "500ms", "1MiB", "2.5/s", "0.1%".
