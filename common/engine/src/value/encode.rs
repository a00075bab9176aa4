//! Values as JSON for facts and snapshots: exact both ways, unlike plain JSON.
//!
//! What JSON lacks is written as an object with one member whose name begins with `$`: `$int`
//! (beyond 64 bits), `$float` (NaN, infinities) and `$file`. A key of an object that begins with
//! `$` itself gets another one in front.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use rustc_hash::FxHashSet;
use serde::de::{
    self, Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess,
    Visitor,
};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::{File, Integer, MAX_DEPTH, Name, Object, Value};

/// Reads what serialising something with values in it gave. Unlike plain `serde_json`, which
/// stops at 128 levels, it takes values as deep as they may be, and some levels around them.
pub fn decode<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    const DEEPEST: usize = MAX_DEPTH + 32;
    let error = match serde_json::from_slice(json) {
        Ok(decoded) => return Ok(decoded),
        Err(error) => error,
    };
    if depth(json) > DEEPEST {
        return Err(error);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    deserializer.disable_recursion_limit();
    let decoded = T::deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(decoded)
}

/// How deeply JSON is nested; not less than that if it is malformed.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = json.iter();
    let mut in_string = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => {
                bytes.next();
            }
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

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
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (key, value) in members.iter() {
                    if key.starts_with('$') {
                        map.serialize_entry(&format!("${key}"), value)?;
                    } else {
                        map.serialize_entry(key, value)?;
                    }
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
        Reading { keys: &RefCell::default() }.deserialize(deserializer)
    }
}

/// So many keys of one value are shared; what has more is no list of objects alike.
const MOST_SHARED_KEYS: usize = 1024;

/// Reads one value. Objects in a list mostly have the same keys: they share them.
#[derive(Clone, Copy)]
struct Reading<'k> {
    keys: &'k RefCell<FxHashSet<Name>>,
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
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
        while let Some(item) = seq.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Object::new();
        while let Some(key) = map.next_key_seed(Key { keys: self.keys })? {
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
                tag => {
                    let own = tag.strip_prefix("$$").map(|rest| format!("${rest}").into());
                    members.insert(own.unwrap_or(key), map.next_value_seed(self)?);
                }
            }
        }
        Ok(Value::Object(Arc::new(members)))
    }
}

/// Reads a key.
struct Key<'k> {
    keys: &'k RefCell<FxHashSet<Name>>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, text: &str) -> Result<Name, E> {
        let mut keys = self.keys.borrow_mut();
        if let Some(known) = keys.get(text) {
            return Ok(known.clone());
        }
        let key = Name::from(text);
        if keys.len() < MOST_SHARED_KEYS {
            keys.insert(key.clone());
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::loads;

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
            Value::object([("$$".into(), Value::from("x")), ("$".into(), Value::None)]),
            Value::File(Arc::new(File { size_bytes: 3, ..File::default() })),
        ]);
        let text = serde_json::to_string(&value).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        assert_eq!(decode::<Value>(text.as_bytes()).unwrap(), value);
    }

    #[test]
    fn objects_of_a_list_share_their_keys() {
        let list: Value = decode(br#"[{"name": 1, "in": {"name": 2}}, {"name": 3}]"#).unwrap();
        let Value::Array(items) = list else { panic!("a list") };
        let [Value::Object(first), Value::Object(second)] = &items[..] else { panic!("objects") };
        let Some(Value::Object(within)) = first.get("in") else { panic!("an object") };
        let key = |members: &Object| members.get_index(0).unwrap().0.clone();
        assert!(Arc::ptr_eq(&key(first), &key(second)));
        assert!(Arc::ptr_eq(&key(first), &key(within)));
    }

    #[test]
    fn the_deepest_value_survives_on_a_worker_s_stack() {
        let deepest =
            format!("{}1{}", "[{\"$a\":".repeat(MAX_DEPTH / 2), "}]".repeat(MAX_DEPTH / 2));
        let work = move || {
            let value = loads(&deepest).unwrap();
            let text = serde_json::to_string(&value).unwrap();
            let again: Value = decode(text.as_bytes()).unwrap();
            assert!(again == value && again.py_eq(&value));
            assert_eq!(again.repr(), value.to_python());
        };
        std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap();
    }

    #[test]
    fn deeper_text_is_refused_without_recursion() {
        let deep = "[".repeat(1_000_000);
        assert!(decode::<Value>(deep.as_bytes()).is_err());
        assert!(loads(&deep).is_err());
    }
}
