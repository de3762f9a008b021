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
const FEW_TEXTS: [&str; 8] = [
    "phase",
    "token_source",
    "outcome",
    "error",
    "finish_reason",
    "timestamp_source",
    "host",
    "direction",
];

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
enum Step {
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
    seal_with(path, report, &mut |_| Ok(()));
}

fn seal_with(path: &Path, report: &mut SealReport, before: &mut dyn FnMut(Step) -> io::Result<()>) {
    match convert(path, before) {
        Ok(parquet) => report.sealed.push(parquet),
        Err(why) => {
            let _ = fs::remove_file(temporary(&path.with_extension(Form::Parquet.ending())));
            report.kept.push(KeptStream { path: path.to_owned(), why });
        }
    }
}

/// Converts a stream and removes it. `before` is asked before each step; its error ends the
/// conversion there, as a failure of that step would.
fn convert(path: &Path, before: &mut dyn FnMut(Step) -> io::Result<()>) -> io::Result<PathBuf> {
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

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    use loadline_schema::record::{Start, TrialId};

    use super::*;
    use crate::blocks::TableFile;
    use crate::naming::FileName;
    use crate::start_table;
    use crate::stream::TableStream;
    use crate::table::{Facts, Kind};

    const STEPS: [Step; 5] =
        [Step::Write, Step::Sync, Step::Rename, Step::SyncFolder, Step::Unlink];

    fn name() -> FileName {
        FileName { part: 0, stage: "a".into(), host: "h".into(), kind: Kind::Start }
    }

    /// A stream of 30 rows in three batches.
    fn stream_in(dir: &Path) -> (PathBuf, Vec<Start>) {
        let facts = Facts {
            kind: Kind::Start,
            stage_index: 0,
            stage: "a".into(),
            host: "h".into(),
            part: 0,
        };
        let path = dir.join(name().with(Form::Stream));
        let mut stream = TableStream::create(&path, facts.schema(start_table::fields())).unwrap();
        let trial = TrialId { stage: 0, point: 0, trial: 0, part: 0 };
        let start = |op| Start { op, trial, intended_ns: op * 7, started_ns: op * 9 };
        let rows: Vec<Start> = (0..30).map(start).collect();
        for rows in rows.chunks(10) {
            let batch = start_table::batch(stream.schema(), rows).unwrap();
            stream.append(&batch).unwrap();
        }
        (path, rows)
    }

    /// Rows of whatever form a reader would choose.
    fn read(dir: &Path) -> (Form, Vec<Start>) {
        let form = [Form::Parquet, Form::Stream]
            .into_iter()
            .find(|form| dir.join(name().with(*form)).exists())
            .unwrap();
        let table = TableFile::open(dir, name(), form).unwrap();
        let batches = table.batches(None).unwrap();
        (
            form,
            batches.flat_map(|batch| start_table::rows(&batch.unwrap(), None).unwrap()).collect(),
        )
    }

    #[test]
    fn a_crash_before_any_step_loses_nothing() {
        for crash in STEPS {
            let dir = tempfile::tempdir().unwrap();
            let (path, rows) = stream_in(dir.path());
            // The process ends here: no error handling runs, the files stay as they are.
            let crashed = catch_unwind(AssertUnwindSafe(|| {
                convert(&path, &mut |step| {
                    assert_ne!(step, crash, "crash");
                    Ok(())
                })
            }));
            crashed.unwrap_err();
            let renamed = matches!(crash, Step::SyncFolder | Step::Unlink);
            let form = if renamed { Form::Parquet } else { Form::Stream };
            assert_eq!(read(dir.path()), (form, rows.clone()), "{crash:?}");
            // Sealing again after the crash gives the same.
            convert(&path, &mut |_| Ok(())).unwrap();
            assert_eq!(read(dir.path()), (Form::Parquet, rows), "{crash:?}");
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_step_that_fails_keeps_a_readable_form_and_no_temporary_file() {
        for fails in STEPS {
            let dir = tempfile::tempdir().unwrap();
            let (path, rows) = stream_in(dir.path());
            let mut report = SealReport::default();
            seal_with(&path, &mut report, &mut |step| {
                if step == fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
            });
            assert_eq!((report.sealed.len(), report.kept.len()), (0, 1), "{fails:?}");
            assert_eq!(report.kept[0].path, path);
            assert_eq!(read(dir.path()).1, rows, "{fails:?}");
            assert!(!temporary(&path.with_extension("parquet")).exists(), "{fails:?}");
        }
    }

    #[test]
    fn a_torn_stream_is_not_converted() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = stream_in(dir.path());
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let mut report = SealReport::default();
        stream(&path, &mut report);
        assert!(report.kept[0].why.to_string().contains("torn bytes"), "{:?}", report.kept);
        let (form, rows) = read(dir.path());
        assert_eq!((form, rows.len()), (Form::Stream, 20));
    }

    #[test]
    fn every_integer_column_is_packed_and_no_number_has_a_dictionary() {
        let schema = Arc::new(Schema::new(crate::chunk_table::fields()));
        let properties = properties(&schema);
        let gaps = ColumnPath::from(vec!["gaps_100ns".into(), "list".into(), "item".into()]);
        assert_eq!(properties.encoding(&gaps), Some(Encoding::DELTA_BINARY_PACKED));
        assert!(!properties.dictionary_enabled(&gaps));
    }
}
