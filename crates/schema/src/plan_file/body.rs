//! The additional body: a TOML table as the JSON object it stands for, or JSON as text for what
//! TOML cannot say (`null`, integers beyond 64 bits with sign).

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

type Object = Map<String, Value>;

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Object>, D::Error> {
    from.deserialize_any(Body).map(Some)
}

#[allow(clippy::ref_option, reason = "the signature that serde wants")]
pub(super) fn serialize<S: Serializer>(
    body: &Option<Object>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match body {
        Some(body) if body.values().all(has_toml_form) => body.serialize(serializer),
        Some(body) => {
            let text = serde_json::to_string(body);
            let text = text.map_err(<S::Error as serde::ser::Error>::custom)?;
            serializer.serialize_str(&text)
        }
        None => serializer.serialize_none(),
    }
}

fn has_toml_form(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Number(number) => number.is_i64() || number.is_f64(),
        Value::Array(list) => list.iter().all(has_toml_form),
        Value::Object(object) => object.values().all(has_toml_form),
        Value::Bool(_) | Value::String(_) => true,
    }
}

struct Body;

impl<'de> Visitor<'de> for Body {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table, as in `extra_body = { temperature = 0.7 }`, or a JSON object as text")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object, A::Error> {
        let table = toml::Table::deserialize(MapAccessDeserializer::new(map))?;
        let entry = |(key, value)| Ok((key, to_json(value)?));
        table.into_iter().map(entry).collect::<Result<Object, &str>>().map_err(A::Error::custom)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Object, E> {
        serde_json::from_str(text)
            .map_err(|error| E::custom(format!("the text is no JSON object: {error}")))
    }
}

fn to_json(value: toml::Value) -> Result<Value, &'static str> {
    Ok(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => {
            serde_json::Number::from_f64(number).ok_or("JSON has no `inf` and no `nan`")?.into()
        }
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(_) => {
            return Err("JSON has no dates: write the date as text in quotes");
        }
        toml::Value::Array(list) => {
            list.into_iter().map(to_json).collect::<Result<Vec<_>, _>>()?.into()
        }
        toml::Value::Table(table) => {
            let entry = |(key, value)| Ok((key, to_json(value)?));
            table.into_iter().map(entry).collect::<Result<Object, &'static str>>()?.into()
        }
    })
}
