//! Sealing: each stream becomes a Parquet file in steps of which every one may be the last.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use arrow_schema::{DataType, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::durable::{sync_folder_of, temporary};
use crate::ipc_read::Walk;
use crate::naming::Form;

/// Encoded and buffered bytes at which a row group is closed: bounds the memory of sealing, and is
/// large enough for scans of the file to be fast.
const GROUP_BYTES: usize = 2 << 20;

/// Page size in a column, bytes before compression.
const PAGE_BYTES: usize = 128 << 10;

/// Columns with few different texts.
const FEW_TEXTS: [&str; 7] =
    ["phase", "token_source", "outcome", "error", "finish_reason", "timestamp_source", "host"];

/// What sealing did.
#[derive(Debug, Default)]
#[must_use]
pub struct SealReport {
    /// Parquet files written.
    pub sealed: Vec<PathBuf>,
    /// Streams that could not be converted and stay as they are: readable, in the other form.
    pub kept: Vec<KeptStream>,
}

/// A stream that stayed a stream.
#[derive(Debug)]
pub struct KeptStream {
    /// The stream.
    pub path: PathBuf,
    /// Why: usually no space left.
    pub why: io::Error,
}

/// The steps of sealing a stream, in order. A crash after any of them leaves a readable run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The Parquet file is being written under its temporary name.
    Write,
    /// It is forced to the disk.
    Sync,
    /// It gets its name: from here on Parquet wins.
    Rename,
    /// The name is forced to the disk.
    SyncFolder,
    /// The stream goes.
    Unlink,
}

/// Converts a stream, or keeps it and says why in the report.
pub(crate) fn stream(path: &Path, report: &mut SealReport) {
    match convert(path, &mut |_| Ok(())) {
        Ok(parquet) => report.sealed.push(parquet),
        Err(why) => {
            let _ = fs::remove_file(temporary(&path.with_extension(Form::Parquet.ending())));
            report.kept.push(KeptStream { path: path.to_owned(), why });
        }
    }
}

/// Converts a stream and removes it. `before` is asked before each step; its error ends the
/// conversion there, as a failure of that step would.
pub(crate) fn convert(
    path: &Path,
    before: &mut dyn FnMut(Step) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let parquet = path.with_extension(Form::Parquet.ending());
    let tmp = temporary(&parquet);
    before(Step::Write)?;
    let file = File::create(&tmp)?;
    copy(&File::open(path)?, &file)?;
    before(Step::Sync)?;
    file.sync_all()?;
    before(Step::Rename)?;
    fs::rename(&tmp, &parquet)?;
    before(Step::SyncFolder)?;
    sync_folder_of(&parquet)?;
    before(Step::Unlink)?;
    fs::remove_file(path)?;
    Ok(parquet)
}

/// Writes the whole batches of a stream as Parquet, batch by batch.
fn copy(stream: &File, parquet: &File) -> io::Result<()> {
    let len = stream.metadata()?.len();
    let (mut walk, schema) = Walk::start(stream, len)?;
    let schema = schema.ok_or_else(|| io::Error::other("the stream has no whole schema"))?;
    let schema = schema.map_err(io::Error::other)?;
    let columns: Vec<usize> = (0..schema.fields().len()).collect();
    let mut writer = ArrowWriter::try_new(parquet, schema.clone(), Some(properties(&schema)))
        .map_err(plain_error)?;
    while let Some((at, message)) = walk.next()? {
        let batch = message
            .batch(stream, &schema, &columns)
            .map_err(|what| io::Error::other(format!("batch at byte {at}: {what}")))?;
        writer.write(&batch).map_err(plain_error)?;
        if writer.memory_size() >= GROUP_BYTES {
            writer.flush().map_err(plain_error)?;
        }
    }
    if let Some(torn) = walk.torn {
        return Err(io::Error::other(format!("{} torn bytes at its end", torn.bytes)));
    }
    writer.close().map_err(plain_error)?;
    Ok(())
}

/// How Parquet files of record tables are written: lz4 (the raw framing that readers agree on),
/// integers as packed differences, dictionaries for columns of few different texts only.
pub(crate) fn properties(schema: &SchemaRef) -> WriterProperties {
    let facts = schema
        .metadata()
        .iter()
        .map(|(key, value)| KeyValue::new(key.clone(), value.clone()))
        .collect();
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::LZ4_RAW)
        .set_dictionary_enabled(false)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_key_value_metadata(Some(facts));
    for (path, data_type) in leaves(schema) {
        if data_type.is_integer() {
            properties = properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
        } else if FEW_TEXTS.iter().any(|name| path.parts() == [*name]) {
            properties = properties.set_column_dictionary_enabled(path, true);
        }
    }
    properties.build()
}

/// Parquet's paths of the columns that hold values, and their types.
fn leaves(schema: &Schema) -> Vec<(ColumnPath, DataType)> {
    let leaf = |field: &arrow_schema::FieldRef| {
        let name = field.name().clone();
        match field.data_type() {
            DataType::List(item) => {
                let path = vec![name, "list".to_owned(), item.name().clone()];
                (ColumnPath::new(path), item.data_type().clone())
            }
            other => (ColumnPath::new(vec![name]), other.clone()),
        }
    };
    schema.fields().iter().map(leaf).collect()
}

/// The system's own error where there is one inside, so that a full disk is known as such.
pub(crate) fn plain_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(other) => io::Error::other(other),
        },
        other => io::Error::other(other),
    }
}
