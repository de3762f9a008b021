//! `loadline export RUN`: every request as a row.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};

use loadline_store::{Export, RunReader, StoreError, write_csv, write_jsonl, write_parquet};

use crate::args::{ExportArgs, ExportFormat};
use crate::exit::{Exit, Failure};
use crate::measure::find_run;

pub(crate) fn run(args: &ExportArgs) -> Result<Exit, Failure> {
    let run = RunReader::open(&find_run(&args.out, &args.run)?)?;
    // A run without its plan can still be exported.
    if run.plan().is_ok_and(|plan| plan.serving().next().is_none()) {
        return Err(Failure::usage(format!(
            "{} measured an engine and has no requests to export; its cells: loadline report {0} \
             --format csv",
            run.dir().display()
        )));
    }
    let export = Export { chunk_times: args.chunk_times };
    let result = match &args.output {
        Some(path) => {
            let file = File::create_new(path).map_err(|error| {
                Failure::usage(format!("cannot create {}: {error}", path.display()))
            })?;
            write(&run, args.format, export, BufWriter::new(file))
        }
        None if args.format == ExportFormat::Parquet && std::io::stdout().is_terminal() => {
            return Err(Failure::usage("Parquet is binary: name a file with --output FILE"));
        }
        None => write(&run, args.format, export, BufWriter::new(std::io::stdout())),
    };
    match result {
        Err(StoreError::Export { source }) if source.kind() == std::io::ErrorKind::BrokenPipe => {
            Ok(Exit::Ok)
        }
        other => Ok(other.map(|()| Exit::Ok)?),
    }
}

fn write(
    run: &RunReader,
    format: ExportFormat,
    export: Export,
    mut out: impl Write + Send,
) -> Result<(), StoreError> {
    match format {
        ExportFormat::Csv => write_csv(run, &mut out, export),
        ExportFormat::Jsonl => write_jsonl(run, &mut out, export),
        ExportFormat::Parquet => write_parquet(run, &mut out, export),
    }
}
