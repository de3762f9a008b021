//! A record file in either form as a list of blocks (stream batches, Parquet row groups), each
//! with the trials it holds, so that one trial is read without the rest.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::RowGroupMetaData;

use loadline_schema::SCHEMA_VERSION;
use loadline_schema::record::TrialId;

use crate::error::StoreError;
use crate::ipc_read::{self, Next, TornEnd, Walk};
use crate::naming::{FileName, Form};
use crate::table::{Kind, TRIAL_COLUMNS, count_trial, schema_version};

/// What to do about a damaged record file.
const ADVICE: &str = "restore it from a copy, or move it away to read the rest of the run";

/// Decoded bytes of a Parquet file that one batch should have.
const BATCH_BYTES: u64 = 1 << 20;

/// Most rows of a batch that is read.
const BATCH_ROWS: usize = 1024;

/// A batch of a stream or a row group of a Parquet file.
struct Block {
    /// Place in the stream, or index of the row group.
    at: u64,
    trials: Vec<(TrialId, u32)>,
}

/// A record file.
pub(crate) struct TableFile {
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// Its name, taken apart.
    pub(crate) name: FileName,
    /// Stage, host from the schema; from the file's name where the schema is not whole.
    pub(crate) stage: String,
    pub(crate) stage_index: u16,
    pub(crate) host: String,
    /// Bytes at the end that hold no whole batch.
    pub(crate) torn: Option<TornEnd>,
    form: Form,
    schema: SchemaRef,
    /// Length when it was opened, bytes.
    len: u64,
    blocks: Vec<Block>,
    batch_rows: usize,
}

impl TableFile {
    /// Looks through a file: its schema, its blocks and their trials.
    pub(crate) fn open(dir: &Path, name: FileName, form: Form) -> Result<Self, StoreError> {
        let path = dir.join(name.with(form));
        let file = open(&path)?;
        let len = file.metadata().map_err(StoreError::io("look at", &path))?.len();
        let mut table = Self {
            stage: name.stage.clone(),
            stage_index: 0,
            host: name.host.clone(),
            schema: SchemaRef::new(arrow_schema::Schema::empty()),
            torn: None,
            blocks: Vec::new(),
            batch_rows: BATCH_ROWS,
            path,
            name,
            form,
            len,
        };
        match form {
            Form::Stream => table.scan_stream(&file)?,
            Form::Parquet => table.scan_parquet(&file)?,
        }
        Ok(table)
    }

    fn damaged(&self, what: impl Into<String>) -> StoreError {
        StoreError::damaged(&self.path, what, ADVICE)
    }

    /// Takes the schema over; refuses those of newer versions.
    fn take_schema(&mut self, schema: SchemaRef) -> Result<(), StoreError> {
        let found = schema_version(&schema)
            .ok_or_else(|| self.damaged("it does not say its schema version"))?;
        if found > SCHEMA_VERSION {
            let path = self.path.clone();
            return Err(StoreError::Newer { path, found, known: SCHEMA_VERSION });
        }
        let facts = schema.metadata();
        if let Some(stage) = facts.get("stage") {
            self.stage.clone_from(stage);
        }
        if let Some(host) = facts.get("host") {
            self.host.clone_from(host);
        }
        self.stage_index = facts.get("stage_index").and_then(|n| n.parse().ok()).unwrap_or(0);
        self.schema = schema;
        Ok(())
    }

    fn scan_stream(&mut self, file: &File) -> Result<(), StoreError> {
        let path = self.path.clone();
        let read = || StoreError::io("read", &path);
        let (mut walk, schema) = Walk::start(file, self.len).map_err(read())?;
        if let Some(schema) = schema {
            let schema = schema.map_err(|what| self.damaged(what))?;
            self.take_schema(schema)?;
        }
        let columns = ipc_read::indices(&self.schema, &TRIAL_COLUMNS);
        while let Some((at, message)) = walk.next().map_err(read())? {
            let trials = message
                .batch(file, &self.schema, &columns)
                .and_then(|batch| self.name.kind.trials(&batch))
                .map_err(|what| self.damaged(format!("batch at byte {at}: {what}")))?;
            self.blocks.push(Block { at, trials });
        }
        self.torn = walk.torn;
        Ok(())
    }

    fn scan_parquet(&mut self, file: &File) -> Result<(), StoreError> {
        let metadata = parquet_metadata(file).map_err(|what| self.damaged(what))?;
        self.take_schema(metadata.schema().clone())?;
        let groups = metadata.metadata().row_groups();
        let rows: i64 = groups.iter().map(RowGroupMetaData::num_rows).sum();
        let bytes: i64 = groups.iter().map(RowGroupMetaData::total_byte_size).sum();
        let row_bytes = (bytes.max(0) as u64 / rows.max(1) as u64).max(1);
        self.batch_rows = (BATCH_BYTES / row_bytes).clamp(1, BATCH_ROWS as u64) as usize;
        for group in 0..metadata.metadata().num_row_groups() {
            let file = file.try_clone().map_err(StoreError::io("open", &self.path))?;
            let reader = parquet_reader(file, &metadata, vec![group], &TRIAL_COLUMNS, BATCH_ROWS);
            let trials = reader
                .and_then(|batches| group_trials(batches, self.name.kind))
                .map_err(|what| self.damaged(format!("row group {group}: {what}")))?;
            self.blocks.push(Block { at: group as u64, trials });
        }
        Ok(())
    }

    /// Trials of which it holds rows, with their numbers.
    pub(crate) fn trials(&self) -> Vec<(TrialId, u32)> {
        let mut trials = Vec::new();
        for &(trial, rows) in self.blocks.iter().flat_map(|block| &block.trials) {
            count_trial(&mut trials, trial, rows);
        }
        trials
    }

    /// Batches that may hold rows of a trial (`None`: all), in order. Each has about a MiB at most
    /// when it was written by this program.
    pub(crate) fn batches(&self, wanted: Option<TrialId>) -> Result<Batches<'_>, StoreError> {
        let holds = |block: &&Block| {
            wanted.is_none_or(|wanted| block.trials.iter().any(|(trial, _)| *trial == wanted))
        };
        let places: Vec<u64> = self.blocks.iter().filter(holds).map(|block| block.at).collect();
        let file = open(&self.path)?;
        let columns: Vec<String> = known_fields(self.name.kind);
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let source = match self.form {
            Form::Stream => Source::Stream {
                columns: ipc_read::indices(&self.schema, &columns),
                places: places.into_iter(),
                file,
            },
            Form::Parquet if places.is_empty() => Source::Nothing,
            Form::Parquet => {
                let metadata = parquet_metadata(&file).map_err(|what| self.damaged(what))?;
                let groups = places.into_iter().map(|at| at as usize).collect();
                let reader = parquet_reader(file, &metadata, groups, &columns, self.batch_rows);
                Source::Parquet(Box::new(reader.map_err(|what| self.damaged(what))?))
            }
        };
        Ok(Batches { table: self, source })
    }

    /// Puts this file's name before what is wrong with its content.
    pub(crate) fn wrong(&self, what: impl Into<String>) -> StoreError {
        self.damaged(what)
    }
}

fn open(path: &Path) -> Result<File, StoreError> {
    File::open(path).map_err(StoreError::io("open", path))
}

/// Names of the columns that this version reads.
fn known_fields(kind: Kind) -> Vec<String> {
    kind.fields().iter().map(|field| field.name().clone()).collect()
}

/// Runs a piece of the Parquet decoder. It checks less than the Arrow one: on some damaged files
/// it panics (found by flipping bytes), which here becomes an error as good as any other.
fn guarded<T, E: ToString>(decode: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("it cannot be decoded".to_owned()),
    }
}

fn parquet_metadata(file: &File) -> Result<ArrowReaderMetadata, String> {
    guarded(|| ArrowReaderMetadata::load(file, ArrowReaderOptions::new()))
}

fn parquet_reader(
    file: File,
    metadata: &ArrowReaderMetadata,
    groups: Vec<usize>,
    columns: &[&str],
    batch_rows: usize,
) -> Result<ParquetRecordBatchReader, String> {
    guarded(|| {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone());
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        builder.with_row_groups(groups).with_projection(mask).with_batch_size(batch_rows).build()
    })
}

fn next_batch(reader: &mut ParquetRecordBatchReader) -> Result<Option<RecordBatch>, String> {
    guarded(|| reader.next().transpose())
}

fn group_trials(
    mut reader: ParquetRecordBatchReader,
    kind: Kind,
) -> Result<Vec<(TrialId, u32)>, String> {
    let mut trials = Vec::new();
    while let Some(batch) = next_batch(&mut reader)? {
        for (trial, rows) in kind.trials(&batch)? {
            count_trial(&mut trials, trial, rows);
        }
    }
    Ok(trials)
}

enum Source {
    Nothing,
    Stream { file: File, columns: Vec<usize>, places: std::vec::IntoIter<u64> },
    Parquet(Box<ParquetRecordBatchReader>),
}

/// Batches of a record file, see [`TableFile::batches`].
pub(crate) struct Batches<'a> {
    table: &'a TableFile,
    source: Source,
}

impl Iterator for Batches<'_> {
    type Item = Result<RecordBatch, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let table = self.table;
        match &mut self.source {
            Source::Nothing => None,
            Source::Stream { file, columns, places } => {
                let at = places.next()?;
                let batch = match ipc_read::message_at(file, at, table.len) {
                    Ok(Next::Message(message)) => message.batch(file, &table.schema, columns),
                    Ok(_) => Err("it changed while it was read".to_owned()),
                    Err(error) => return Some(Err(StoreError::io("read", &table.path)(error))),
                };
                Some(batch.map_err(|what| table.wrong(format!("batch at byte {at}: {what}"))))
            }
            Source::Parquet(reader) => {
                let batch = next_batch(reader).transpose()?;
                Some(batch.map_err(|what| table.wrong(what)))
            }
        }
    }
}
