//! An Arrow IPC stream that grows by one write(2) for each batch and never keeps half a batch.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_ipc::MetadataVersion;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::SchemaRef;

use crate::error::StoreError;

/// Bytes to which buffers in a stream are aligned: the least that the format allows.
const ALIGNMENT: usize = 8;

/// A file that only grows, in whole pieces. After a failed append it is cut back to its last
/// whole piece, at the latest before the next one.
pub(crate) struct WholePieces {
    path: PathBuf,
    file: File,
    /// Length up to the last whole piece.
    len: u64,
    /// A failed append may have left bytes after `len`.
    ragged: bool,
}

impl WholePieces {
    /// Creates the file, which must not exist.
    pub(crate) fn create(path: &Path) -> Result<Self, StoreError> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)
            .map_err(StoreError::io("create", path))?;
        Ok(Self { path: path.to_owned(), file, len: 0, ragged: false })
    }

    /// Opens an existing file to go on at its end.
    pub(crate) fn go_on(path: &Path) -> Result<Self, StoreError> {
        let file = OpenOptions::new()
            .append(true)
            .read(true)
            .open(path)
            .map_err(StoreError::io("open", path))?;
        let len = file.metadata().map_err(StoreError::io("look at", path))?.len();
        Ok(Self { path: path.to_owned(), file, len, ragged: false })
    }

    /// Tells it that its folder was renamed.
    pub(crate) fn moved_to(mut self, path: PathBuf) -> Self {
        self.path = path;
        self
    }

    /// Appends a piece: one write(2) unless the system takes less than all of it.
    pub(crate) fn append(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        self.mend()?;
        let written = (&self.file).write_all(piece);
        if let Err(source) = written {
            self.ragged = true;
            // A failure to cut is not reported here: the reader skips the torn end, and the next
            // append tries again before it writes.
            let _ = self.mend();
            let (path, kept_bytes) = (self.path.clone(), self.len);
            return Err(StoreError::Append { path, kept_bytes, source });
        }
        self.len += piece.len() as u64;
        Ok(())
    }

    /// Cuts the file back to an earlier length, as if what came after had never been appended.
    pub(crate) fn cut_back(&mut self, len: u64) -> Result<(), StoreError> {
        self.len = self.len.min(len);
        self.ragged = true;
        self.mend()
    }

    fn mend(&mut self) -> Result<(), StoreError> {
        if self.ragged {
            self.file
                .set_len(self.len)
                .map_err(StoreError::io("cut a failed append off", &self.path))?;
            self.ragged = false;
        }
        Ok(())
    }

    /// Length up to the last whole piece, bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

/// One record table while the run goes on.
pub(crate) struct TableStream {
    pieces: WholePieces,
    schema: SchemaRef,
    /// Encodes into memory; the buffer is emptied after each write and keeps its room.
    encoder: StreamWriter<Vec<u8>>,
}

impl TableStream {
    /// Creates the file and writes the schema message.
    pub(crate) fn create(path: &Path, schema: SchemaRef) -> Result<Self, StoreError> {
        let encode = |source| StoreError::Encode { path: path.to_owned(), source };
        let options =
            IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5).map_err(encode)?;
        let mut encoder = StreamWriter::try_new_with_options(Vec::new(), &schema, options)
            .map_err(|source| StoreError::Encode { path: path.to_owned(), source })?;
        let mut pieces = WholePieces::create(path)?;
        if let Err(error) = pieces.append(encoder.get_ref()) {
            // The schema alone did not fit: no file is better than an empty one, and the next
            // append can create it again.
            let _ = std::fs::remove_file(path);
            return Err(error);
        }
        encoder.get_mut().clear();
        Ok(Self { pieces, schema, encoder })
    }

    /// The schema of its batches.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Length, bytes.
    pub(crate) fn len(&self) -> u64 {
        self.pieces.len()
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        self.pieces.path()
    }

    /// Appends a batch.
    pub(crate) fn append(&mut self, batch: &RecordBatch) -> Result<(), StoreError> {
        let encoded = self.encoder.write(batch);
        let appended = match encoded {
            Ok(()) => self.pieces.append(self.encoder.get_ref()),
            Err(source) => Err(StoreError::Encode { path: self.path().to_owned(), source }),
        };
        self.encoder.get_mut().clear();
        appended
    }

    /// Takes the last batches back.
    pub(crate) fn cut_back(&mut self, len: u64) -> Result<(), StoreError> {
        self.pieces.cut_back(len)
    }
}
