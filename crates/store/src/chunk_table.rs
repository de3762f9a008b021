//! The child table of chunk times: one row for each request whose chunk times are stored, in the
//! order of the request table.

use arrow_array::types::{UInt16Type, UInt32Type};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, Field, SchemaRef};

use loadline_schema::record::{ChunkTimes, MergedRead, RequestRow, TrialId};

use crate::lists::{Lists, list, list_field};

/// The columns that name the request: `op` is unique in a trial of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkKey {
    op: u64,
    trial: TrialId,
}

impl ChunkKey {
    /// The key of a request's row.
    pub(crate) fn new(op: u64, trial: TrialId) -> Self {
        Self { op, trial }
    }
}

mod keys {
    //! The key's columns.
    use super::ChunkKey;

    crate::table::columns! { ChunkKey {
        op: u64 => op;
        stage: u16 => trial.stage;
        point: u16 => trial.point;
        trial: u16 => trial.trial;
        part: u16 => trial.part;
    } }
}

/// Names of the list columns after the key.
const GAPS: &str = "gaps_100ns";
const TOKENS: &str = "tokens";
const MERGED: [&str; 3] = ["merged_first", "merged_count", "merged_window_100ns"];

/// Columns of the table.
pub(crate) fn fields() -> Vec<Field> {
    let mut fields = keys::Builders::fields();
    fields.extend(list_fields(false));
    fields
}

/// The list columns. Rows without chunk times are there only where `rows_may_lack`.
pub(crate) fn list_fields(rows_may_lack: bool) -> Vec<Field> {
    let mut fields =
        vec![list_field::<UInt32Type>(GAPS, rows_may_lack), list_field::<UInt16Type>(TOKENS, true)];
    fields.extend(MERGED.map(|name| list_field::<UInt32Type>(name, true)));
    fields
}

/// A batch of the rows for which `with_chunks` holds; `None` when there are none.
pub(crate) fn batch(
    schema: &SchemaRef,
    rows: &[RequestRow],
    with_chunks: impl Fn(&RequestRow) -> bool,
) -> Result<Option<RecordBatch>, ArrowError> {
    let mut key_columns = keys::Builders::new(rows.len());
    let mut kept: Vec<Option<&ChunkTimes>> = Vec::with_capacity(rows.len());
    for row in rows.iter().filter(|row| row.chunks.is_some() && with_chunks(row)) {
        key_columns.push(&ChunkKey::new(row.record.op, row.record.trial));
        kept.push(row.chunks.as_ref());
    }
    if kept.is_empty() {
        return Ok(None);
    }
    let mut columns = key_columns.finish();
    columns.extend(list_arrays(&kept, false)?);
    RecordBatch::try_new(schema.clone(), columns).map(Some)
}

/// The list columns of these rows, in the order of [`list_fields`].
pub(crate) fn list_arrays(
    rows: &[Option<&ChunkTimes>],
    rows_may_lack: bool,
) -> Result<Vec<ArrayRef>, ArrowError> {
    let lacking: Option<NullBuffer> =
        rows_may_lack.then(|| rows.iter().map(Option::is_some).collect());
    let empty = |len: fn(&ChunkTimes) -> usize| {
        let filled = rows.iter().map(|row| row.is_some_and(|times| len(times) > 0));
        Some(filled.collect::<NullBuffer>())
    };
    let mut columns = vec![
        list::<_, UInt32Type, _>(rows, lacking, |times| times.gaps_100ns.iter().copied())?,
        list::<_, UInt16Type, _>(rows, empty(|times| times.tokens.len()), |times| {
            times.tokens.iter().copied()
        })?,
    ];
    let merged: [fn(&MergedRead) -> u32; 3] =
        [|read| read.first, |read| read.count, |read| read.window_100ns];
    for part in merged {
        let nulls = empty(|times| times.merged.len());
        columns.push(list::<_, UInt32Type, _>(rows, nulls, |times| times.merged.iter().map(part))?);
    }
    Ok(columns)
}

/// Decodes the rows of one batch.
pub(crate) struct Rows {
    keys: Vec<ChunkKey>,
    gaps: Lists<UInt32Type>,
    tokens: Lists<UInt16Type>,
    merged: [Lists<UInt32Type>; 3],
}

impl Rows {
    /// Finds the columns; says which is missing or of another type.
    pub(crate) fn of(batch: &RecordBatch) -> Result<Self, String> {
        let columns = keys::Columns::of(batch)?;
        let trial = TrialId { stage: 0, point: 0, trial: 0, part: 0 };
        let mut keys = vec![ChunkKey::new(0, trial); batch.num_rows()];
        for (row, key) in keys.iter_mut().enumerate() {
            columns.fill(row, key)?;
        }
        let [first, count, window] = MERGED.map(|name| Lists::of(batch, name, true));
        Ok(Self {
            keys,
            gaps: Lists::of(batch, GAPS, false)?,
            tokens: Lists::of(batch, TOKENS, true)?,
            merged: [first?, count?, window?],
        })
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Which request a row belongs to.
    pub(crate) fn key(&self, row: usize) -> ChunkKey {
        self.keys[row]
    }

    /// The trial of a row.
    pub(crate) fn trial(&self, row: usize) -> TrialId {
        self.keys[row].trial
    }

    /// The chunk times in a row.
    pub(crate) fn get(&self, row: usize) -> Result<ChunkTimes, String> {
        let [first, count, window] = self.merged.each_ref().map(|list| list.get(row));
        if first.len() != count.len() || first.len() != window.len() {
            return Err(format!("the three merged_ columns differ in length in row {row}"));
        }
        let merged = first
            .iter()
            .zip(count)
            .zip(window)
            .map(|((&first, &count), &window_100ns)| MergedRead { first, count, window_100ns })
            .collect();
        Ok(ChunkTimes {
            gaps_100ns: self.gaps.get(row).to_vec(),
            tokens: self.tokens.get(row).to_vec(),
            merged,
        })
    }
}
