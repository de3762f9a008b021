//! Metadata values: numbers, texts and arrays of them.

use std::fmt;

/// Arrays of at most so many elements are kept whole; of longer ones (the words of a vocabulary)
/// only the length. No model has so many layers.
pub const KEPT_ELEMENTS: u64 = 1024;

/// One metadata value.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// The type of a metadata value, with its number in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum ValueKind {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

/// An array of values of one type.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// The type of its elements.
    pub element: ValueKind,
    /// How many elements it has.
    pub len: u64,
    /// The elements, where there are at most [`KEPT_ELEMENTS`] and they are not arrays; else empty.
    pub values: Vec<Value>,
}

const KINDS: [ValueKind; 13] = [
    ValueKind::U8,
    ValueKind::I8,
    ValueKind::U16,
    ValueKind::I16,
    ValueKind::U32,
    ValueKind::I32,
    ValueKind::F32,
    ValueKind::Bool,
    ValueKind::String,
    ValueKind::Array,
    ValueKind::U64,
    ValueKind::I64,
    ValueKind::F64,
];

impl ValueKind {
    /// The type with this number in files.
    pub fn from_id(id: u32) -> Option<Self> {
        KINDS.get(id as usize).copied()
    }

    /// Fewest bytes of one value in a file: all of a number, the length of a text or an array.
    pub(crate) fn min_bytes(self) -> u64 {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::String | Self::U64 | Self::I64 | Self::F64 => 8,
            Self::Array => 12,
        }
    }
}

impl Value {
    /// A count: a whole number of any width that is not negative.
    pub fn as_count(&self) -> Option<u64> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::U32(v) => Some(v.into()),
            Self::U64(v) => Some(v),
            Self::I8(v) => v.try_into().ok(),
            Self::I16(v) => v.try_into().ok(),
            Self::I32(v) => v.try_into().ok(),
            Self::I64(v) => v.try_into().ok(),
            _ => None,
        }
    }

    /// The text.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The truth value.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// The array.
    pub fn as_array(&self) -> Option<&Array> {
        if let Self::Array(array) = self { Some(array) } else { None }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U8(v) => v.fmt(f),
            Self::I8(v) => v.fmt(f),
            Self::U16(v) => v.fmt(f),
            Self::I16(v) => v.fmt(f),
            Self::U32(v) => v.fmt(f),
            Self::I32(v) => v.fmt(f),
            Self::F32(v) => v.fmt(f),
            Self::Bool(v) => v.fmt(f),
            Self::String(text) => write!(f, "{:?}", crate::error::clip(text)),
            Self::Array(array) => write!(f, "an array of {} {:?}", array.len, array.element),
            Self::U64(v) => v.fmt(f),
            Self::I64(v) => v.fmt(f),
            Self::F64(v) => v.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_their_numbers() {
        for (id, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, id);
            assert_eq!(ValueKind::from_id(id as u32), Some(kind));
        }
        assert_eq!(ValueKind::from_id(13), None);
    }

    #[test]
    fn counts_are_of_any_width_and_never_negative() {
        assert_eq!(Value::I32(30).as_count(), Some(30));
        assert_eq!(Value::U64(u64::MAX).as_count(), Some(u64::MAX));
        assert_eq!(Value::I8(-1).as_count(), None);
        assert_eq!(Value::F32(30.0).as_count(), None);
    }
}
