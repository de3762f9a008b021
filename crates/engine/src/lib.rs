//! The engine benchmark: the grid, the tools of llama.cpp as engines, and their stored results.

mod batched_bench;
mod child;
mod error;
mod found;
mod import;
mod json_lines;
mod list;
mod llama_bench;
mod server_process;
mod worker;

pub use batched_bench::{decode_arguments, prompt_arguments};
pub use error::{EngineError, ImportError, Place};
pub use found::{Found, Measured};
pub use import::{Imported, import};
pub use json_lines::JsonLines;
pub use list::{ListError, parse_list};
pub use llama_bench::arguments;
pub use server_process::ServerProcess;
pub use worker::{Worker, WorkerError};
