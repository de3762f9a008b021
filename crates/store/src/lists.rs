//! List columns of record tables: their type, rows → column, column → rows.

use std::sync::Arc;

use arrow_array::types::ArrowPrimitiveType;
use arrow_array::{Array, ArrayRef, ListArray, PrimitiveArray, RecordBatch};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, FieldRef};

fn item<T: ArrowPrimitiveType>() -> FieldRef {
    Arc::new(Field::new("item", T::DATA_TYPE, false))
}

/// Name and type of a list column.
pub(crate) fn list_field<T: ArrowPrimitiveType>(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::List(item::<T>()), nullable)
}

/// A list column with one list for each row; rows that are `None` have an empty one.
pub(crate) fn list<'a, R, T, I>(
    rows: &[Option<&'a R>],
    nulls: Option<NullBuffer>,
    values_of: impl Fn(&'a R) -> I,
) -> Result<ArrayRef, ArrowError>
where
    T: ArrowPrimitiveType,
    I: ExactSizeIterator<Item = T::Native>,
{
    let lengths = || rows.iter().map(|row| row.map_or(0, |row| values_of(row).len()));
    let mut values: Vec<T::Native> = Vec::with_capacity(lengths().sum());
    for row in rows.iter().flatten() {
        values.extend(values_of(row));
    }
    let values = PrimitiveArray::<T>::new(ScalarBuffer::from(values), None);
    let offsets = OffsetBuffer::from_lengths(lengths());
    Ok(Arc::new(ListArray::try_new(item::<T>(), offsets, Arc::new(values), nulls)?))
}

/// A list column with its items; absent columns have empty lists only.
pub(crate) struct Lists<T: ArrowPrimitiveType>(Option<(ListArray, PrimitiveArray<T>)>);

impl<T: ArrowPrimitiveType> Lists<T> {
    /// Finds the column; says what is wrong with it. One that is not there is fine where `optional`.
    pub(crate) fn of(batch: &RecordBatch, name: &str, optional: bool) -> Result<Self, String> {
        let Some(array) = batch.column_by_name(name) else {
            return if optional {
                Ok(Self(None))
            } else {
                Err(format!("column {name} is missing"))
            };
        };
        let lists = array.as_any().downcast_ref::<ListArray>();
        let items =
            lists.and_then(|lists| lists.values().as_any().downcast_ref::<PrimitiveArray<T>>());
        match (lists, items) {
            (Some(lists), Some(items)) => Ok(Self(Some((lists.clone(), items.clone())))),
            _ => Err(format!(
                "column {name} has type {}, not a list of {}",
                array.data_type(),
                T::DATA_TYPE
            )),
        }
    }

    /// The list in a row, empty where there is none.
    pub(crate) fn get(&self, row: usize) -> &[T::Native] {
        let Some((lists, items)) = &self.0 else { return &[] };
        if lists.is_null(row) {
            return &[];
        }
        let offsets = lists.value_offsets();
        let (from, to) = (offsets[row] as usize, offsets[row + 1] as usize);
        &items.values()[from..to]
    }
}
