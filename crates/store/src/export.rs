//! Exports of the request table: CSV, JSON lines, one Parquet file. All parts, stages and hosts of
//! a run in order, row by row, in constant memory.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;

use loadline_schema::SCHEMA_VERSION;
use loadline_schema::record::{ChunkTimes, RequestRow};

use crate::cells::Value;
use crate::error::StoreError;
use crate::run_reader::{RequestOrigin, RunReader};
use crate::seal::{plain_error, properties};
use crate::{chunk_table, request_table};

/// Rows of a batch of an exported Parquet file.
const BATCH_ROWS: usize = 1024;

/// What to export beside the request table's own columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Export {
    /// The chunk times of each request as lists.
    pub chunk_times: bool,
}

/// Why an export ended early.
struct Stop(StoreError);

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self(error)
    }
}

impl From<io::Error> for Stop {
    fn from(source: io::Error) -> Self {
        Self(StoreError::Export { source })
    }
}

/// Writes CSV (RFC 4180): a line of column names, then one line for each request; absent values
/// are empty. Chunk times are JSON lists in columns of their own.
///
/// # Errors
/// [`StoreError::Export`] when `out` refuses bytes; otherwise what reading brings.
pub fn write_csv(run: &RunReader, out: &mut dyn Write, export: Export) -> Result<(), StoreError> {
    let mut line = csv_names(export);
    let mut write = || -> Result<(), Stop> {
        out.write_all(line.as_bytes())?;
        run.each_request(None, export.chunk_times, |origin, row| {
            line.clear();
            csv_line(&mut line, origin, &row, export);
            out.write_all(line.as_bytes()).map_err(Stop::from)
        })?;
        out.flush().map_err(Stop::from)
    };
    write().map_err(|Stop(error)| error)
}

fn csv_names(export: Export) -> String {
    let mut fields: Vec<String> = vec!["stage_name".to_owned(), "host".to_owned()];
    let own = request_table::fields();
    fields.extend(
        own.iter()
            .map(|field| field.name().clone())
            .filter(|name| name != "host" && name != request_table::HAS_CHUNK_TIMES),
    );
    if export.chunk_times {
        fields.extend(["gaps_100ns", "tokens", "merged"].map(str::to_owned));
    }
    fields.join(",") + "\n"
}

fn csv_line(line: &mut String, origin: &RequestOrigin<'_>, row: &RequestRow, export: Export) {
    csv_text(line, origin.stage);
    line.push(',');
    csv_text(line, origin.host);
    request_table::each_cell(&row.record, |_, value| {
        line.push(',');
        match value {
            Value::Text(text) => csv_text(line, text),
            other => plain_value(line, other),
        }
    });
    if export.chunk_times {
        let lists = row.chunks.as_ref().map(chunk_lists).unwrap_or_default();
        for list in lists {
            line.push(',');
            csv_text(line, &list);
        }
    }
    line.push('\n');
}

fn csv_text(line: &mut String, text: &str) {
    if text.contains([',', '"', '\n', '\r']) {
        line.push('"');
        line.push_str(&text.replace('"', "\"\""));
        line.push('"');
    } else {
        line.push_str(text);
    }
}

/// A number or flag in the spelling that CSV and JSON share; nothing for an absent value.
fn plain_value(line: &mut String, value: Value<'_>) {
    use std::fmt::Write as _;
    let written = match value {
        Value::Number(number) => write!(line, "{number}"),
        Value::Real(number) => write!(line, "{number}"),
        Value::Flag(flag) => write!(line, "{flag}"),
        Value::Text(_) | Value::Absent => Ok(()),
    };
    written.expect("invariant: a string takes every text");
}

/// Gaps, tokens and merged reads (`[first, count, window_100ns]` each) as JSON lists; empty text
/// where there is no list.
fn chunk_lists(times: &ChunkTimes) -> [String; 3] {
    let json = |text: serde_json::Result<String>| text.expect("invariant: numbers are JSON");
    let merged: Vec<[u32; 3]> =
        times.merged.iter().map(|read| [read.first, read.count, read.window_100ns]).collect();
    [
        json(serde_json::to_string(&times.gaps_100ns)),
        if times.tokens.is_empty() {
            String::new()
        } else {
            json(serde_json::to_string(&times.tokens))
        },
        if merged.is_empty() { String::new() } else { json(serde_json::to_string(&merged)) },
    ]
}

/// Writes one JSON object for each request and line; absent values have no key.
///
/// # Errors
/// As [`write_csv`].
pub fn write_jsonl(run: &RunReader, out: &mut dyn Write, export: Export) -> Result<(), StoreError> {
    let mut line = String::new();
    let mut write = || -> Result<(), Stop> {
        run.each_request(None, export.chunk_times, |origin, row| {
            line.clear();
            json_line(&mut line, origin, &row);
            out.write_all(line.as_bytes()).map_err(Stop::from)
        })?;
        out.flush().map_err(Stop::from)
    };
    write().map_err(|Stop(error)| error)
}

fn json_line(line: &mut String, origin: &RequestOrigin<'_>, row: &RequestRow) {
    let quoted = |text: &str| {
        serde_json::to_string(text).expect("invariant: every text is JSON once quoted")
    };
    line.push_str("{\"stage_name\":");
    line.push_str(&quoted(origin.stage));
    line.push_str(",\"host\":");
    line.push_str(&quoted(origin.host));
    let mut put = |name: &str, value: &str| {
        for piece in [",\"", name, "\":", value] {
            line.push_str(piece);
        }
    };
    let mut number = String::new();
    request_table::each_cell(&row.record, |name, value| match value {
        Value::Absent => {}
        Value::Text(text) => put(name, &quoted(text)),
        value => {
            number.clear();
            plain_value(&mut number, value);
            put(name, &number);
        }
    });
    let lists = row.chunks.as_ref().map(chunk_lists).unwrap_or_default();
    for (name, list) in ["gaps_100ns", "tokens", "merged"].into_iter().zip(&lists) {
        if !list.is_empty() {
            put(name, list);
        }
    }
    line.push_str("}\n");
}

/// Writes one Parquet file with the columns of the request table, `stage_name`, and on request the
/// list columns of the chunk table.
///
/// # Errors
/// As [`write_csv`].
pub fn write_parquet(
    run: &RunReader,
    out: impl Write + Send,
    export: Export,
) -> Result<(), StoreError> {
    let schema = parquet_schema(export);
    let parquet_error = |error| Stop::from(plain_error(error));
    let write = || -> Result<(), Stop> {
        let mut writer = ArrowWriter::try_new(out, schema.clone(), Some(properties(&schema)))
            .map_err(parquet_error)?;
        let mut pending = Pending::default();
        run.each_request(None, export.chunk_times, |origin, row| {
            if pending.is_full() || !pending.is_from(origin) {
                pending.write(&mut writer, &schema, export)?;
            }
            pending.push(origin, row);
            Ok::<(), Stop>(())
        })?;
        pending.write(&mut writer, &schema, export)?;
        writer.close().map_err(parquet_error)?;
        Ok(())
    };
    write().map_err(|Stop(error)| error)
}

fn parquet_schema(export: Export) -> SchemaRef {
    let mut fields = request_table::fields();
    fields.push(Field::new("stage_name", DataType::Utf8, false));
    if export.chunk_times {
        fields.extend(chunk_table::list_fields(true));
    }
    let facts = [("schema_version", SCHEMA_VERSION.to_string()), ("table", "export".to_owned())];
    let facts = facts.map(|(key, value)| (key.to_owned(), value));
    Arc::new(Schema::new_with_metadata(fields, HashMap::from(facts)))
}

/// Rows of one stage and host that wait to become a batch.
#[derive(Default)]
struct Pending {
    stage: String,
    host: String,
    rows: Vec<RequestRow>,
    gaps: usize,
}

impl Pending {
    fn is_full(&self) -> bool {
        self.rows.len() >= BATCH_ROWS || self.gaps >= 64 * BATCH_ROWS
    }

    fn is_from(&self, origin: &RequestOrigin<'_>) -> bool {
        self.stage == origin.stage && self.host == origin.host
    }

    fn push(&mut self, origin: &RequestOrigin<'_>, row: RequestRow) {
        if self.rows.is_empty() {
            origin.stage.clone_into(&mut self.stage);
            origin.host.clone_into(&mut self.host);
        }
        self.gaps += row.chunks.as_ref().map_or(0, |chunks| chunks.gaps_100ns.len());
        self.rows.push(row);
    }

    fn write<W: Write + Send>(
        &mut self,
        writer: &mut ArrowWriter<W>,
        schema: &SchemaRef,
        export: Export,
    ) -> Result<(), Stop> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let encoding = |error| Stop::from(io::Error::other(error));
        let has_chunks = |row: &RequestRow| row.chunks.is_some();
        let mut columns = request_table::arrays(&self.host, &self.rows, has_chunks);
        let names = std::iter::repeat_n(&self.stage, self.rows.len());
        columns.push(Arc::new(StringArray::from_iter_values(names)) as ArrayRef);
        if export.chunk_times {
            let times: Vec<_> = self.rows.iter().map(|row| row.chunks.as_ref()).collect();
            columns.extend(chunk_table::list_arrays(&times, true).map_err(encoding)?);
        }
        let batch = RecordBatch::try_new(schema.clone(), columns).map_err(encoding)?;
        writer.write(&batch).map_err(|error| Stop::from(plain_error(error)))?;
        self.rows.clear();
        self.gaps = 0;
        Ok(())
    }
}
