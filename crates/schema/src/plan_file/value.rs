//! How single values are read from TOML: lists that may be one value, whole numbers in words for
//! people, quantities as text.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{
    Deserialize, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};

use crate::units::{Count, TextVisitor, UnitError};

/// One value or a list of them.
pub(super) fn one_or_many<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    from.deserialize_any(OneOrMany(PhantomData))
}

/// [`one_or_many`] for a key that may be absent.
pub(super) fn some<'de, D, T>(from: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    one_or_many(from).map(Some)
}

struct OneOrMany<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one value or a list of values")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Vec<T>, E> {
        T::deserialize(value.into_deserializer()).map(|one| vec![one])
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Vec<T>, E> {
        T::deserialize(value.into_deserializer()).map(|one| vec![one])
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Vec<T>, E> {
        T::deserialize(value.into_deserializer()).map(|one| vec![one])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vec<T>, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(seq))
    }
}

/// One table or a list of them.
pub(super) fn one_or_many_tables<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Tables<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Tables<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table or a list of tables")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
            T::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(|one| vec![one])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vec<T>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(seq))
        }
    }
    from.deserialize_any(Tables(PhantomData))
}

/// `[[serving]]`, `[[engine]]`: says so where only one bracket was written.
pub(super) fn stages<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Stages<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Stages<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(
                "a list of stages, each under a heading with two brackets, as in [[serving]]",
            )
        }

        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(seq))
        }

        fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
            Err(A::Error::custom(
                "a stage stands under a heading with two brackets, as in [[serving]]",
            ))
        }
    }
    from.deserialize_any(Stages(PhantomData))
}

fn narrow<T: TryFrom<u64>, E: Error>(count: Count) -> Result<T, E> {
    T::try_from(count.0).map_err(|_| E::custom(format!("`{}` is too large", count.0)))
}

/// A whole number of any width.
pub(super) mod whole {
    use super::{Count, Deserialize, Deserializer, narrow};
    use serde::{Serialize, Serializer};

    pub(in super::super) fn deserialize<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
    where
        D: Deserializer<'de>,
        T: TryFrom<u64>,
    {
        narrow(Count::deserialize(from)?).map(Some)
    }

    #[allow(clippy::ref_option, reason = "the signature that serde wants")]
    pub(in super::super) fn serialize<S, T>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
        T: Copy + Into<u64>,
    {
        value.map(|value| Count(value.into())).serialize(to)
    }
}

/// One whole number or a list of them.
pub(super) mod wholes {
    use super::{Count, Deserializer, one_or_many};
    use serde::{Serialize, Serializer};

    pub(in super::super) fn deserialize<'de, D>(from: D) -> Result<Option<Vec<u64>>, D::Error>
    where
        D: Deserializer<'de>,
    {
        let counts: Vec<Count> = one_or_many(from)?;
        Ok(Some(counts.into_iter().map(|count| count.0).collect()))
    }

    #[allow(clippy::ref_option, reason = "the signature that serde wants")]
    pub(in super::super) fn serialize<S: Serializer>(
        value: &Option<Vec<u64>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let counts = value.as_ref().map(|list| list.iter().map(|n| Count(*n)).collect::<Vec<_>>());
        counts.serialize(to)
    }
}

/// A value with a grammar of its own, as text (or as the number that is its shortest text).
pub(super) mod text {
    use super::{Deserializer, FromStr, PhantomData, TextVisitor, UnitError, fmt};
    use serde::Serializer;

    pub(in super::super) fn deserialize<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr<Err = UnitError>,
    {
        from.deserialize_any(TextVisitor(PhantomData)).map(Some)
    }

    #[allow(clippy::ref_option, reason = "the signature that serde wants")]
    pub(in super::super) fn serialize<S, T>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
        T: fmt::Display,
    {
        match value {
            Some(value) => to.collect_str(value),
            None => to.serialize_none(),
        }
    }
}
