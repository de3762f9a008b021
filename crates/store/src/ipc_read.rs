//! Reads Arrow IPC streams message by message, so that every whole batch of a torn or damaged
//! file is found and no malformed one can bring the program down.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::RecordBatchDecoder;
use arrow_ipc::{MessageHeader, root_as_message};
use arrow_schema::{DataType, Schema, SchemaRef};

/// First four bytes of every message, and the marker that replaces a length at the end.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// Longest header of a message that is believed, bytes: ours have a few thousand.
const HEADER_BYTES: usize = 1 << 24;

/// Most rows of a batch that are believed.
const ROWS: i64 = 1 << 31;

/// A message in a file.
pub(crate) struct Message {
    /// The flatbuffer.
    header: Vec<u8>,
    /// Where its body begins.
    body_at: u64,
    /// Length of the body.
    body_len: usize,
}

/// What stands at a place of a stream.
pub(crate) enum Next {
    /// A whole message.
    Message(Message),
    /// The end, or the end marker.
    End,
    /// Something that is no whole message, and why.
    Torn(String),
}

impl Message {
    /// Place after it.
    pub(crate) fn end(&self) -> u64 {
        self.body_at + self.body_len as u64
    }

    /// The schema in it, or what is wrong.
    pub(crate) fn schema(&self) -> Result<SchemaRef, String> {
        let message = root_as_message(&self.header).map_err(|error| error.to_string())?;
        let schema = message.header_as_schema().ok_or("no schema at its beginning")?;
        let schema = arrow_ipc::convert::try_fb_to_schema(schema).map_err(|e| e.to_string())?;
        Ok(std::sync::Arc::new(schema))
    }

    /// Whether it is a batch of rows.
    fn is_batch(&self) -> bool {
        root_as_message(&self.header)
            .is_ok_and(|message| message.header_type() == MessageHeader::RecordBatch)
    }

    /// Decodes the columns (by index) of a batch.
    pub(crate) fn batch(
        &self,
        file: &File,
        schema: &SchemaRef,
        columns: &[usize],
    ) -> Result<RecordBatch, String> {
        let message = root_as_message(&self.header).map_err(|error| error.to_string())?;
        let batch = message.header_as_record_batch().ok_or("not a batch of rows")?;
        check_bounds(batch, schema, self.body_len)?;
        let mut body = vec![0; self.body_len];
        file.read_exact_at(&mut body, self.body_at).map_err(|error| error.to_string())?;
        let body = Buffer::from_vec(body);
        let (no_dictionaries, version) = (HashMap::new(), message.version());
        RecordBatchDecoder::try_new(&body, batch, schema.clone(), &no_dictionaries, &version)
            .and_then(|decoder| decoder.with_projection(Some(columns)).read_record_batch())
            .map_err(|error| error.to_string())
    }
}

/// Everything that the decoder takes for granted about places and lengths in a batch.
fn check_bounds(
    batch: arrow_ipc::RecordBatch<'_>,
    schema: &Schema,
    body_len: usize,
) -> Result<(), String> {
    if batch.compression().is_some() {
        return Err("its batches are compressed, which streams of loadline never are".to_owned());
    }
    if !(0..ROWS).contains(&batch.length()) {
        return Err(format!("a batch of {} rows", batch.length()));
    }
    for node in batch.nodes().into_iter().flatten() {
        let sane =
            (0..ROWS).contains(&node.length()) && (0..=node.length()).contains(&node.null_count());
        if !sane {
            return Err("a column of impossible length".to_owned());
        }
    }
    let mut units = Vec::new();
    for field in schema.fields() {
        buffer_units(field.data_type(), &mut units)?;
    }
    let buffers = batch.buffers().into_iter().flatten();
    for (buffer, unit) in buffers.zip(units) {
        let fits = usize::try_from(buffer.offset())
            .ok()
            .zip(usize::try_from(buffer.length()).ok())
            .filter(|(_, length)| length.is_multiple_of(unit))
            .and_then(|(offset, length)| offset.checked_add(length))
            .is_some_and(|end| end <= body_len);
        if !fits {
            return Err("a column outside of its batch".to_owned());
        }
    }
    Ok(())
}

/// Appends, for each buffer of a column of this type, the bytes of which its length must be a
/// multiple. Only the types that record tables have are known.
fn buffer_units(data_type: &DataType, units: &mut Vec<usize>) -> Result<(), String> {
    let offset = size_of::<i32>();
    units.push(1);
    match data_type {
        DataType::Boolean => units.push(1),
        DataType::Utf8 => units.extend([offset, 1]),
        DataType::List(item) => {
            units.push(offset);
            buffer_units(item.data_type(), units)?;
        }
        other => match other.primitive_width() {
            Some(width) => units.push(width),
            None => {
                return Err(format!("a column of type {other}, which record tables never have"));
            }
        },
    }
    Ok(())
}

/// The message at `at`, in a file that ends at `end`.
pub(crate) fn message_at(file: &File, at: u64, end: u64) -> io::Result<Next> {
    let left = end.saturating_sub(at);
    if left == 0 {
        return Ok(Next::End);
    }
    let mut prefix = [0; 8];
    if left < prefix.len() as u64 {
        return Ok(Next::Torn("a message that ends in its first bytes".to_owned()));
    }
    file.read_exact_at(&mut prefix, at)?;
    let (marker, length) = prefix.split_at(4);
    let header_len = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
    if marker != CONTINUATION || header_len > HEADER_BYTES {
        return Ok(Next::Torn("bytes that are no Arrow message".to_owned()));
    }
    if header_len == 0 {
        return Ok(Next::End);
    }
    if left - 8 < header_len as u64 {
        return Ok(Next::Torn("a message that ends in its header".to_owned()));
    }
    let mut header = vec![0; header_len];
    file.read_exact_at(&mut header, at + 8)?;
    let body_at = at + 8 + header_len as u64;
    let body_len = match root_as_message(&header) {
        Ok(message) => message.bodyLength(),
        Err(error) => return Ok(Next::Torn(format!("a header that cannot be read ({error})"))),
    };
    match usize::try_from(body_len) {
        Ok(body_len) if body_len as u64 <= end - body_at => {
            Ok(Next::Message(Message { header, body_at, body_len }))
        }
        Ok(_) => Ok(Next::Torn("a batch that ends before its last row".to_owned())),
        Err(_) => Ok(Next::Torn("a batch of impossible length".to_owned())),
    }
}

/// The end of the readable part of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TornEnd {
    /// Bytes after the last whole batch.
    pub(crate) bytes: u64,
    /// What stands there.
    pub(crate) what: String,
}

/// Walks over the batches of a stream.
pub(crate) struct Walk<'a> {
    file: &'a File,
    at: u64,
    end: u64,
    /// Set when the walk has met something that is no whole batch.
    pub(crate) torn: Option<TornEnd>,
}

impl<'a> Walk<'a> {
    /// Starts at the beginning of a file of this length; gives its schema. `Ok(None)`: not even the
    /// schema is whole, see [`TornEnd`].
    pub(crate) fn start(
        file: &'a File,
        end: u64,
    ) -> io::Result<(Self, Option<Result<SchemaRef, String>>)> {
        let mut walk = Self { file, at: 0, end, torn: None };
        let schema = match message_at(file, 0, end)? {
            Next::Message(message) => {
                walk.at = message.end();
                Some(message.schema())
            }
            Next::End => {
                let what = "no schema".to_owned();
                walk.torn = Some(TornEnd { bytes: end, what });
                None
            }
            Next::Torn(what) => {
                walk.torn = Some(TornEnd { bytes: end, what });
                None
            }
        };
        Ok((walk, schema))
    }

    /// The next batch and where it begins; `None` at the end of the whole ones.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, Message)>> {
        if self.torn.is_some() {
            return Ok(None);
        }
        let at = self.at;
        let what = match message_at(self.file, at, self.end)? {
            Next::Message(message) if message.is_batch() => {
                self.at = message.end();
                return Ok(Some((at, message)));
            }
            Next::Message(_) => "a message that is no batch".to_owned(),
            Next::Torn(what) => what,
            Next::End => return Ok(None),
        };
        self.torn = Some(TornEnd { bytes: self.end - at, what });
        Ok(None)
    }
}

/// Indices of the columns with these names, as far as they are there.
pub(crate) fn indices(schema: &Schema, names: &[&str]) -> Vec<usize> {
    names.iter().filter_map(|name| schema.index_of(name).ok()).collect()
}
