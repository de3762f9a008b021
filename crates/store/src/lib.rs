//! The run directory: append while a run goes on, seal at its end, read at any time.
//!
//! A run is written by one [`RunWriter`] and read by any number of [`RunReader`]s. Records are
//! Arrow IPC streams while the run goes on and Parquet files afterwards; both forms can be read at
//! once, and a run whose writer was killed is as readable as a closed one. `docs/run-directory.md`
//! names every file and column. Nothing here reads a clock: times come in as arguments.

mod blocks;
mod catalogue;
mod cells;
mod chunk_table;
mod durable;
mod error;
mod export;
mod identity;
mod interval_table;
mod ipc_read;
mod lists;
mod naming;
mod request_table;
mod run_reader;
mod run_writer;
mod sample_table;
mod seal;
mod secrets;
mod slow_table;
mod start_table;
mod storage_rows;
mod stream;
mod table;
mod token_counts;

pub use catalogue::{RunEntry, find, list};
pub use error::StoreError;
pub use export::{Export, write_csv, write_jsonl, write_parquet};
pub use identity::{RunState, this_process};
pub use run_reader::{Events, RequestOrigin, RunReader, Torn, TrialCounts, TrialRows};
pub use run_writer::{RunStart, RunWriter};
pub use seal::{KeptStream, SealReport};
pub use secrets::{MASK, masked_place, masked_plan, masked_toml, masked_url};
