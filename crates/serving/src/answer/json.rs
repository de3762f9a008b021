//! The few visitors with which JSON is read member by member, without a tree and without guesses:
//! values of an unexpected type are skipped.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The names that are understood.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Arguments,
    CacheN,
    CachedTokens,
    Choices,
    CompletionTokens,
    CompletionTokensDetails,
    Content,
    Delta,
    Error,
    FinishReason,
    Function,
    FunctionCall,
    Id,
    Index,
    Message,
    Model,
    Name,
    Object,
    PredictedN,
    PromptCacheHitTokens,
    PromptN,
    PromptTokens,
    PromptTokensDetails,
    Reasoning,
    ReasoningContent,
    ReasoningTokens,
    Refusal,
    Text,
    Thinking,
    Timings,
    ToolCalls,
    Usage,
    Unknown,
}

impl Key {
    fn from_name(name: &str) -> Self {
        // By length first: most names that are not understood are told by it alone.
        match name.len() {
            2 if name == "id" => Self::Id,
            4 => match name {
                "name" => Self::Name,
                "text" => Self::Text,
                _ => Self::Unknown,
            },
            5 => match name {
                "delta" => Self::Delta,
                "error" => Self::Error,
                "index" => Self::Index,
                "model" => Self::Model,
                "usage" => Self::Usage,
                _ => Self::Unknown,
            },
            6 if name == "object" => Self::Object,
            7 => match name {
                "cache_n" => Self::CacheN,
                "choices" => Self::Choices,
                "content" => Self::Content,
                "message" => Self::Message,
                "refusal" => Self::Refusal,
                "timings" => Self::Timings,
                _ => Self::Unknown,
            },
            8 => match name {
                "function" => Self::Function,
                "prompt_n" => Self::PromptN,
                "thinking" => Self::Thinking,
                _ => Self::Unknown,
            },
            9 => match name {
                "arguments" => Self::Arguments,
                "reasoning" => Self::Reasoning,
                _ => Self::Unknown,
            },
            10 if name == "tool_calls" => Self::ToolCalls,
            11 if name == "predicted_n" => Self::PredictedN,
            13 => match name {
                "cached_tokens" => Self::CachedTokens,
                "finish_reason" => Self::FinishReason,
                "function_call" => Self::FunctionCall,
                "prompt_tokens" => Self::PromptTokens,
                _ => Self::Unknown,
            },
            16 if name == "reasoning_tokens" => Self::ReasoningTokens,
            17 => match name {
                "completion_tokens" => Self::CompletionTokens,
                "reasoning_content" => Self::ReasoningContent,
                _ => Self::Unknown,
            },
            21 if name == "prompt_tokens_details" => Self::PromptTokensDetails,
            23 if name == "prompt_cache_hit_tokens" => Self::PromptCacheHitTokens,
            25 if name == "completion_tokens_details" => Self::CompletionTokensDetails,
            _ => Self::Unknown,
        }
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E>(self, name: &str) -> Result<Key, E> {
                Ok(Key::from_name(name))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// Something that takes the members of an object one by one; it must consume each value.
pub(crate) trait Members<'de> {
    fn member<A: MapAccess<'de>>(&mut self, key: Key, map: &mut A) -> Result<(), A::Error>;
}

/// Something that takes the elements of an array.
pub(crate) trait Elements<'de> {
    /// Takes the next element; `false` after the last.
    fn element<A: SeqAccess<'de>>(&mut self, seq: &mut A) -> Result<bool, A::Error>;
}

/// Visits an object; any other value is skipped.
pub(crate) struct Object<'t, T>(pub(crate) &'t mut T);

/// Visits an array; any other value is skipped.
pub(crate) struct Array<'t, T>(pub(crate) &'t mut T);

/// Reads a count; anything else than a number from 0 to 2³² − 1 is none.
pub(crate) struct Count;

/// The visits of a [`Visitor`] that mean nothing here.
macro_rules! skip {
    ($out:ty: $($visit:ident($value:ty)),*) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("any JSON")
        }
        fn visit_unit<E>(self) -> Result<$out, E> {
            Ok(<$out>::default())
        }
        $(fn $visit<E>(self, _: $value) -> Result<$out, E> {
            Ok(<$out>::default())
        })*
    };
}

fn skip_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

fn skip_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

impl<'de, T: Members<'de>> DeserializeSeed<'de> for Object<'_, T> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Members<'de>> Visitor<'de> for Object<'_, T> {
    type Value = ();
    skip!((): visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64), visit_str(&str));
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key()? {
            self.0.member(key, &mut map)?;
        }
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        skip_seq(seq)
    }
}

impl<'de, T: Elements<'de>> DeserializeSeed<'de> for Array<'_, T> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Elements<'de>> Visitor<'de> for Array<'_, T> {
    type Value = ();
    skip!((): visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64), visit_str(&str));
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        skip_map(map)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while self.0.element(&mut seq)? {}
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Count {
    type Value = Option<u32>;
    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Option<u32>, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Count {
    type Value = Option<u32>;
    skip!(Option<u32>: visit_bool(bool), visit_i64(i64), visit_str(&str));
    fn visit_u64<E>(self, number: u64) -> Result<Option<u32>, E> {
        Ok(u32::try_from(number).ok())
    }
    fn visit_f64<E>(self, number: f64) -> Result<Option<u32>, E> {
        let whole = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
        Ok(whole.then_some(number as u32))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<u32>, A::Error> {
        skip_map(map).map(|()| None)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Option<u32>, A::Error> {
        skip_seq(seq).map(|()| None)
    }
}

pub(crate) fn skip_value<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(|_| ())
}

/// A non-empty JSON string.
pub(crate) fn is_text(raw: &str) -> bool {
    raw.len() > 2 && raw.starts_with('"')
}

/// Anything that says something: not `null`, `false`, `""`, `[]` or `{}`.
pub(crate) fn is_filled(raw: &RawValue) -> bool {
    !matches!(raw.get(), "null" | "false" | "\"\"" | "[]" | "{}")
}
