//! One cell of a record column: how each field type is put into and taken out of Arrow arrays.

use arrow_array::builder::{ArrayBuilder, BooleanBuilder, PrimitiveBuilder, StringBuilder};
use arrow_array::types::{Float64Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, PrimitiveArray, StringArray};
use arrow_schema::DataType;

use loadline_schema::outcome::{ErrorKind, Outcome, Phase, TimestampSource, TokenSource};
use loadline_schema::storage::Direction;

/// A value of one column, for exports.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    /// Nothing was measured or nothing happened.
    Absent,
    /// An unsigned number.
    Number(u64),
    /// A number with a fraction.
    Real(f64),
    /// Yes or no.
    Flag(bool),
    /// Text.
    Text(&'a str),
}

/// A field type that a column can hold.
pub(crate) trait Cell: Sized {
    /// Collects values.
    type Builder: ArrayBuilder;
    /// Holds them.
    type Column: Array + Clone + 'static;
    /// Whether values may be absent.
    const NULLABLE: bool = false;

    /// Arrow's name of the type.
    fn data_type() -> DataType;
    /// An empty builder for so many rows.
    fn builder(rows: usize) -> Self::Builder;
    /// Appends this value.
    fn push(&self, builder: &mut Self::Builder);
    /// Appends an absent value.
    fn push_null(builder: &mut Self::Builder);
    /// The value in a row that is not null, or what is wrong with it.
    fn get(column: &Self::Column, row: usize) -> Result<Self, String>;
    /// The value for an export.
    fn view(&self) -> Value<'_>;
}

/// The array of a builder, which is empty afterwards.
pub(crate) fn finish(builder: &mut impl ArrayBuilder) -> ArrayRef {
    builder.finish()
}

macro_rules! number_cells {
    ($($native:ty => $arrow:ty, $data_type:ident, $value:ident;)+) => {$(
        impl Cell for $native {
            type Builder = PrimitiveBuilder<$arrow>;
            type Column = PrimitiveArray<$arrow>;

            fn data_type() -> DataType {
                DataType::$data_type
            }
            fn builder(rows: usize) -> Self::Builder {
                PrimitiveBuilder::with_capacity(rows)
            }
            fn push(&self, builder: &mut Self::Builder) {
                builder.append_value(*self);
            }
            fn push_null(builder: &mut Self::Builder) {
                builder.append_null();
            }
            fn get(column: &Self::Column, row: usize) -> Result<Self, String> {
                Ok(column.value(row))
            }
            fn view(&self) -> Value<'_> {
                Value::$value((*self).into())
            }
        }
    )+};
}

number_cells! {
    u64 => UInt64Type, UInt64, Number;
    u32 => UInt32Type, UInt32, Number;
    u16 => UInt16Type, UInt16, Number;
    f64 => Float64Type, Float64, Real;
}

impl Cell for bool {
    type Builder = BooleanBuilder;
    type Column = BooleanArray;

    fn data_type() -> DataType {
        DataType::Boolean
    }
    fn builder(rows: usize) -> Self::Builder {
        BooleanBuilder::with_capacity(rows)
    }
    fn push(&self, builder: &mut Self::Builder) {
        builder.append_value(*self);
    }
    fn push_null(builder: &mut Self::Builder) {
        builder.append_null();
    }
    fn get(column: &Self::Column, row: usize) -> Result<Self, String> {
        Ok(column.value(row))
    }
    fn view(&self) -> Value<'_> {
        Value::Flag(*self)
    }
}

impl Cell for Box<str> {
    type Builder = StringBuilder;
    type Column = StringArray;

    fn data_type() -> DataType {
        DataType::Utf8
    }
    fn builder(rows: usize) -> Self::Builder {
        StringBuilder::with_capacity(rows, 0)
    }
    fn push(&self, builder: &mut Self::Builder) {
        builder.append_value(self);
    }
    fn push_null(builder: &mut Self::Builder) {
        builder.append_null();
    }
    fn get(column: &Self::Column, row: usize) -> Result<Self, String> {
        Ok(column.value(row).into())
    }
    fn view(&self) -> Value<'_> {
        Value::Text(self)
    }
}

macro_rules! spelled_cells {
    ($($name:ident),+) => {$(
        impl Cell for $name {
            type Builder = StringBuilder;
            type Column = StringArray;

            fn data_type() -> DataType {
                DataType::Utf8
            }
            fn builder(rows: usize) -> Self::Builder {
                StringBuilder::with_capacity(rows, rows * 8)
            }
            fn push(&self, builder: &mut Self::Builder) {
                builder.append_value(self.as_str());
            }
            fn push_null(builder: &mut Self::Builder) {
                builder.append_null();
            }
            fn get(column: &Self::Column, row: usize) -> Result<Self, String> {
                let text = column.value(row);
                Self::from_text(text).ok_or_else(|| format!("unknown value {text:?}"))
            }
            fn view(&self) -> Value<'_> {
                Value::Text(self.as_str())
            }
        }
    )+};
}

spelled_cells!(Outcome, ErrorKind, Phase, TimestampSource, TokenSource, Direction);

impl<T: Cell> Cell for Option<T> {
    type Builder = T::Builder;
    type Column = T::Column;
    const NULLABLE: bool = true;

    fn data_type() -> DataType {
        T::data_type()
    }
    fn builder(rows: usize) -> Self::Builder {
        T::builder(rows)
    }
    fn push(&self, builder: &mut Self::Builder) {
        match self {
            Some(value) => value.push(builder),
            None => T::push_null(builder),
        }
    }
    fn push_null(builder: &mut Self::Builder) {
        T::push_null(builder);
    }
    fn get(column: &Self::Column, row: usize) -> Result<Self, String> {
        if column.is_null(row) { Ok(None) } else { T::get(column, row).map(Some) }
    }
    fn view(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Absent, Cell::view)
    }
}
