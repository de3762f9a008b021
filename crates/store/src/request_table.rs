//! The table of requests: one column for each field of [`RequestRecord`], the host, and whether
//! the chunk table has a row for it.

use std::sync::Arc;

use arrow_array::builder::BooleanBuilder;
use arrow_array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, Field, SchemaRef};

use loadline_schema::outcome::{ErrorKind, Outcome, Phase, TimestampSource, TokenSource};
use loadline_schema::record::{RequestRecord, RequestRow, TrialId};

use crate::cells::{Cell, Value};
use crate::table::column;

/// Name of the column that says whether chunk times were stored.
pub(crate) const HAS_CHUNK_TIMES: &str = "has_chunk_times";

/// Hands the list of columns to a macro, so that it stands in one place only.
macro_rules! with_columns {
    ($macro:path) => {
        $macro! { RequestRecord {
            op: u64 => op;
            stage: u16 => trial.stage;
            point: u16 => trial.point;
            trial: u16 => trial.trial;
            part: u16 => trial.part;
            phase: Phase => phase;
            endpoint: u16 => endpoint;
            answer_id: Option<Box<str>> => answer_id;
            intended_ns: u64 => intended_ns;
            write_begin_ns: Option<u64> => write_begin_ns;
            write_end_ns: Option<u64> => write_end_ns;
            headers_ns: Option<u64> => headers_ns;
            first_chunk_ns: Option<u64> => first_chunk_ns;
            first_token_ns: Option<u64> => first_token_ns;
            first_output_ns: Option<u64> => first_output_ns;
            last_token_ns: Option<u64> => last_token_ns;
            done_ns: Option<u64> => done_ns;
            ended_ns: u64 => ended_ns;
            dns_ns: Option<u64> => dns_ns;
            connect_ns: Option<u64> => connect_ns;
            tls_ns: Option<u64> => tls_ns;
            input_tokens: Option<u32> => input_tokens;
            output_tokens: Option<u32> => output_tokens;
            reasoning_tokens: Option<u32> => reasoning_tokens;
            cached_tokens: Option<u32> => cached_tokens;
            token_source: Option<TokenSource> => token_source;
            asked_tokens: Option<u32> => asked_tokens;
            chunks: u32 => chunks;
            token_chunks: u32 => token_chunks;
            merged_chunks: u32 => merged_chunks;
            outcome: Outcome => outcome;
            error: Option<ErrorKind> => error;
            error_text: Option<Box<str>> => error_text;
            http_status: Option<u16> => http_status;
            finish_reason: Option<Box<str>> => finish_reason;
            bytes_in: u64 => bytes_in;
            reused: bool => reused;
            retries: u16 => retries;
            timestamp_source: Option<TimestampSource> => timestamp_source;
            empty_poll_ns: Option<u64> => empty_poll_ns;
        } }
    };
}

with_columns!(crate::table::columns);

/// Writes [`each_cell`] from the list of columns.
macro_rules! cell_visitor {
    ($row:ty { $($name:ident: $cell:ty => $($path:ident).+;)+ }) => {
        /// Shows every column of a record with its name, in order.
        pub(crate) fn each_cell(row: &$row, mut show: impl FnMut(&'static str, Value<'_>)) {
            $(show(stringify!($name), row.$($path).+.view());)+
        }
    };
}
with_columns!(cell_visitor);

/// Columns of the table.
pub(crate) fn fields() -> Vec<Field> {
    let mut fields = Builders::fields();
    fields.push(Field::new("host", DataType::Utf8, false));
    fields.push(Field::new(HAS_CHUNK_TIMES, DataType::Boolean, false));
    fields
}

/// A batch of these rows. `with_chunks` says for each row whether the chunk table has one too.
pub(crate) fn batch(
    schema: &SchemaRef,
    host: &str,
    rows: &[RequestRow],
    with_chunks: impl Fn(&RequestRow) -> bool,
) -> Result<RecordBatch, ArrowError> {
    RecordBatch::try_new(schema.clone(), arrays(host, rows, with_chunks))
}

/// The columns of these rows, in the order of [`fields`].
pub(crate) fn arrays(
    host: &str,
    rows: &[RequestRow],
    with_chunks: impl Fn(&RequestRow) -> bool,
) -> Vec<ArrayRef> {
    let mut builders = Builders::new(rows.len());
    let mut has_chunk_times = BooleanBuilder::with_capacity(rows.len());
    for row in rows {
        builders.push(&row.record);
        has_chunk_times.append_value(with_chunks(row));
    }
    let mut columns = builders.finish();
    let hosts = StringArray::from_iter_values(std::iter::repeat_n(host, rows.len()));
    columns.push(Arc::new(hosts));
    columns.push(Arc::new(has_chunk_times.finish()));
    columns
}

/// Decodes the rows of one batch.
pub(crate) struct Rows {
    len: usize,
    columns: Columns,
    has_chunk_times: Option<BooleanArray>,
}

impl Rows {
    /// Finds the columns; says which is missing or of another type.
    pub(crate) fn of(batch: &RecordBatch) -> Result<Self, String> {
        let columns = Columns::of(batch)?;
        let has_chunk_times = column::<Option<bool>>(batch, HAS_CHUNK_TIMES)?;
        Ok(Self { len: batch.num_rows(), columns, has_chunk_times })
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The record in a row, and whether the chunk table has a row for it.
    pub(crate) fn get(&self, row: usize) -> Result<(RequestRecord, bool), String> {
        let mut record = blank();
        self.columns.fill(row, &mut record)?;
        Ok((record, self.has_chunk_times.as_ref().is_some_and(|column| column.value(row))))
    }

    /// The trial of a row, without the rest of it.
    pub(crate) fn trial(&self, row: usize) -> TrialId {
        let value = |column: &Option<<u16 as Cell>::Column>| {
            column.as_ref().map_or(0, |column| column.value(row))
        };
        TrialId {
            stage: value(&self.columns.stage),
            point: value(&self.columns.point),
            trial: value(&self.columns.trial),
            part: value(&self.columns.part),
        }
    }
}

/// A record to be filled: required columns overwrite what stands here, absent optional ones leave
/// `None`.
fn blank() -> RequestRecord {
    RequestRecord {
        op: 0,
        trial: TrialId { stage: 0, point: 0, trial: 0, part: 0 },
        phase: Phase::WarmUp,
        endpoint: 0,
        answer_id: None,
        intended_ns: 0,
        write_begin_ns: None,
        write_end_ns: None,
        headers_ns: None,
        first_chunk_ns: None,
        first_token_ns: None,
        first_output_ns: None,
        last_token_ns: None,
        done_ns: None,
        ended_ns: 0,
        dns_ns: None,
        connect_ns: None,
        tls_ns: None,
        input_tokens: None,
        output_tokens: None,
        reasoning_tokens: None,
        cached_tokens: None,
        token_source: None,
        asked_tokens: None,
        chunks: 0,
        token_chunks: 0,
        merged_chunks: 0,
        outcome: Outcome::Unknown,
        error: None,
        error_text: None,
        http_status: None,
        finish_reason: None,
        bytes_in: 0,
        reused: false,
        retries: 0,
        timestamp_source: None,
        empty_poll_ns: None,
    }
}
