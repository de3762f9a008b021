//! What the record tables share: their names, the schema's facts, and a macro that turns a
//! list of columns into encoder and decoder.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_schema::{Field, Schema, SchemaRef};

use loadline_schema::SCHEMA_VERSION;
use loadline_schema::record::TrialId;

use crate::cells::Cell;
use crate::{chunk_table, interval_table, request_table, sample_table, slow_table, start_table};

/// Which table a file holds a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// One row for each request.
    Request,
    /// Chunk times, at most one row for each request.
    Chunks,
    /// One row for each started operation.
    Start,
    /// One row for each second of a worker of a storage trial and direction.
    Interval,
    /// One row for each slow I/O of a storage trial.
    Slow,
    /// One row for each number that an observer read.
    Sample,
}

impl Kind {
    /// Every kind.
    pub(crate) const ALL: [Self; 6] =
        [Self::Request, Self::Chunks, Self::Start, Self::Interval, Self::Slow, Self::Sample];

    /// The word in file names and in the schema's facts.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Chunks => "chunks",
            Self::Start => "start",
            Self::Interval => "interval",
            Self::Slow => "slow",
            Self::Sample => "sample",
        }
    }

    /// The trials of the rows of a batch; samples belong to none.
    pub(crate) fn trials(self, batch: &RecordBatch) -> Result<Vec<(TrialId, u32)>, String> {
        if self == Self::Sample { Ok(Vec::new()) } else { trials_of(batch) }
    }

    /// Names and types of the table's columns in order.
    pub(crate) fn fields(self) -> Vec<Field> {
        match self {
            Self::Request => request_table::fields(),
            Self::Chunks => chunk_table::fields(),
            Self::Start => start_table::fields(),
            Self::Interval => interval_table::fields(),
            Self::Slow => slow_table::fields(),
            Self::Sample => sample_table::fields(),
        }
    }

    /// The kind with this name.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What a record file says about itself in its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The table.
    pub(crate) kind: Kind,
    /// Zero-based stage of the plan.
    pub(crate) stage_index: u16,
    /// The stage's name in the plan.
    pub(crate) stage: String,
    /// Host whose operations it holds.
    pub(crate) host: String,
    /// Part of the run that wrote it.
    pub(crate) part: u16,
}

impl Facts {
    /// The schema of a file: columns and these facts.
    pub(crate) fn schema(&self, fields: Vec<Field>) -> SchemaRef {
        let metadata: HashMap<String, String> = [
            ("schema_version", SCHEMA_VERSION.to_string()),
            ("table", self.kind.as_str().to_owned()),
            ("stage_index", self.stage_index.to_string()),
            ("stage", self.stage.clone()),
            ("host", self.host.clone()),
            ("part", self.part.to_string()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
        Arc::new(Schema::new_with_metadata(fields, metadata))
    }
}

/// The schema version that a file names, `None` when it names none.
pub(crate) fn schema_version(schema: &Schema) -> Option<u32> {
    schema.metadata().get("schema_version")?.parse().ok()
}

/// A column of a batch, by name: `Ok(None)` when an absent column means absent values.
pub(crate) fn column<T: Cell>(
    batch: &RecordBatch,
    name: &str,
) -> Result<Option<T::Column>, String> {
    let Some(array) = batch.column_by_name(name) else {
        return if T::NULLABLE { Ok(None) } else { Err(format!("column {name} is missing")) };
    };
    let Some(typed) = array.as_any().downcast_ref::<T::Column>() else {
        let (found, wanted) = (array.data_type(), T::data_type());
        return Err(format!("column {name} has type {found}, not {wanted}"));
    };
    if !T::NULLABLE && typed.null_count() > 0 {
        return Err(format!("column {name} lacks values"));
    }
    Ok(Some(typed.clone()))
}

/// Writes, for a row type, `Builders` (rows → columns) and `Columns` (columns → rows) from a list
/// `name: type => path in the row`.
macro_rules! columns {
    ($row:ty { $($name:ident: $cell:ty => $($path:ident).+;)+ }) => {
        /// Collects rows into columns.
        pub(crate) struct Builders { $($name: <$cell as $crate::cells::Cell>::Builder),+ }

        impl Builders {
            /// Empty columns with room for so many rows.
            pub(crate) fn new(rows: usize) -> Self {
                Self { $($name: <$cell as $crate::cells::Cell>::builder(rows)),+ }
            }

            /// Adds a row.
            pub(crate) fn push(&mut self, row: &$row) {
                $(<$cell as $crate::cells::Cell>::push(&row.$($path).+, &mut self.$name);)+
            }

            /// The columns in order.
            pub(crate) fn finish(&mut self) -> Vec<arrow_array::ArrayRef> {
                vec![$($crate::cells::finish(&mut self.$name)),+]
            }

            /// Names and types of the columns in order.
            pub(crate) fn fields() -> Vec<arrow_schema::Field> {
                vec![$(arrow_schema::Field::new(
                    stringify!($name),
                    <$cell as $crate::cells::Cell>::data_type(),
                    <$cell as $crate::cells::Cell>::NULLABLE,
                )),+]
            }
        }

        /// Typed columns of one batch.
        pub(crate) struct Columns { $($name: Option<<$cell as $crate::cells::Cell>::Column>),+ }

        impl Columns {
            /// Finds the columns of a batch; says which one is missing or of another type.
            pub(crate) fn of(batch: &arrow_array::RecordBatch) -> Result<Self, String> {
                Ok(Self { $($name: $crate::table::column::<$cell>(batch, stringify!($name))?),+ })
            }

            /// Fills a row; says which column holds a value that is not understood.
            pub(crate) fn fill(&self, index: usize, row: &mut $row) -> Result<(), String> {
                $(if let Some(column) = &self.$name {
                    row.$($path).+ = <$cell as $crate::cells::Cell>::get(column, index)
                        .map_err(|what| format!("column {}: {what}", stringify!($name)))?;
                })+
                Ok(())
            }
        }
    };
}
pub(crate) use columns;

/// Names of the columns that say to which trial a row belongs, part last.
pub(crate) const TRIAL_COLUMNS: [&str; 4] = ["stage", "point", "trial", "part"];

/// The trials of all rows of a batch with [`TRIAL_COLUMNS`], as neighbouring runs of equal ones
/// merged into one entry each, with their numbers of rows.
fn trials_of(batch: &RecordBatch) -> Result<Vec<(TrialId, u32)>, String> {
    let mut parts = Vec::with_capacity(TRIAL_COLUMNS.len());
    for name in TRIAL_COLUMNS {
        let column = column::<u16>(batch, name)?.expect("invariant: required columns are there");
        parts.push(column);
    }
    let mut trials: Vec<(TrialId, u32)> = Vec::new();
    for row in 0..batch.num_rows() {
        let [stage, point, trial, part] = [0, 1, 2, 3].map(|which: usize| parts[which].value(row));
        let id = TrialId { stage, point, trial, part };
        match trials.last_mut() {
            Some((last, rows)) if *last == id => *rows += 1,
            _ => count_trial(&mut trials, id, 1),
        }
    }
    Ok(trials)
}

/// Adds rows to a trial's entry.
pub(crate) fn count_trial(trials: &mut Vec<(TrialId, u32)>, id: TrialId, rows: u32) {
    match trials.iter_mut().find(|(known, _)| *known == id) {
        Some((_, known_rows)) => *known_rows += rows,
        None => trials.push((id, rows)),
    }
}
