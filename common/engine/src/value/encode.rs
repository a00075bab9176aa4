//! Values as JSON for facts and snapshots: exact both ways, unlike plain JSON.
//!
//! What JSON lacks is written as an object with one member whose name begins with `$`: `$int`
//! (beyond 64 bits), `$float` (NaN, infinities), `$file`, and `$object` for an object that has
//! such a member itself.

use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::{File, Integer, Name, Object, Value};

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => match value.to_i64() {
                Some(small) => serializer.serialize_i64(small),
                None => tagged(serializer, "$int", &value.to_string()),
            },
            Self::Float(value) if value.is_finite() => serializer.serialize_f64(*value),
            Self::Float(value) => tagged(serializer, "$float", &value.to_string()),
            Self::Str(text) => serializer.serialize_str(text),
            Self::Array(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for item in items.iter() {
                    seq.serialize_element(item)?;
                }
                seq.end()
            }
            Self::Object(members) if members.keys().any(|key| key.starts_with('$')) => {
                let pairs: Vec<(&Name, &Self)> = members.iter().collect();
                tagged(serializer, "$object", &pairs)
            }
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (key, value) in members.iter() {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Self::File(file) => tagged(serializer, "$file", &**file),
        }
    }
}

fn tagged<S: Serializer>(
    serializer: S,
    tag: &str,
    content: &(impl Serialize + ?Sized),
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(tag, content)?;
    map.end()
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::None)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Int(Integer::from(num_bigint::BigInt::from(value))))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Object::new();
        while let Some(key) = map.next_key::<Name>()? {
            match &*key {
                "$int" => {
                    let text: String = map.next_value()?;
                    let value = Integer::parse(&text);
                    return value.map(Value::Int).ok_or_else(|| de::Error::custom("bad $int"));
                }
                "$float" => {
                    let text: String = map.next_value()?;
                    return text.parse().map(Value::Float).map_err(de::Error::custom);
                }
                "$file" => return Ok(Value::File(Arc::new(map.next_value::<File>()?))),
                "$object" => {
                    let pairs: Vec<(Name, Value)> = map.next_value()?;
                    return Ok(Value::object(pairs));
                }
                _ => {
                    members.insert(key, map.next_value()?);
                }
            }
        }
        Ok(Value::Object(Arc::new(members)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_lacks_survives() {
        let big = Integer::parse("85070591730234615847396907784232501249").unwrap();
        let value = Value::array(vec![
            Value::Int(big),
            Value::Float(f64::NAN),
            Value::Float(f64::NEG_INFINITY),
            Value::Float(-0.0),
            Value::Float(1.0),
            Value::int(1),
            Value::object([("$int".into(), Value::from("x")), ("b".into(), Value::None)]),
            Value::File(Arc::new(File { size_bytes: 3, ..File::default() })),
        ]);
        let text = serde_json::to_string(&value).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
