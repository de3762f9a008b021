//! Memory bandwidth of this machine at the given numbers of threads (default: 1, then all).

use std::error::Error;
use std::thread::available_parallelism;
use std::{env, io, io::Write};

use loadline_ceilings::{Machine, memory_bandwidth};

fn main() -> Result<(), Box<dyn Error>> {
    let asked: Vec<usize> =
        env::args().skip(1).map(|word| word.parse()).collect::<Result<_, _>>()?;
    let all = available_parallelism()?.get();
    let threads = if asked.is_empty() { vec![1, all] } else { asked };
    let bytes = Machine::default().working_set_bytes()?;
    for threads in threads {
        let measured = memory_bandwidth(threads, bytes, 3)?;
        let gb = |rate: Option<f64>| rate.unwrap_or_default() / 1e9;
        writeln!(
            io::stdout(),
            "{threads} threads, {bytes} bytes: triad {:.2} GB/s (median {:.2}), read {:.2} GB/s (median {:.2})",
            gb(measured.best_triad_bytes_per_s()),
            gb(measured.median_triad_bytes_per_s()),
            gb(measured.best_read_bytes_per_s()),
            gb(measured.median_read_bytes_per_s()),
        )?;
    }
    Ok(())
}
