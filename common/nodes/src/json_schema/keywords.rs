//! What each keyword of a schema demands.

use std::cmp::Ordering;

use fancy_regex::Regex;
use flowmill_engine::value::{Integer, Name, Object, Value, str_repr};
use num_bigint::BigInt;

use super::{Checked, Checker, Refusal, invalid};

/// One keyword of a schema.
pub(super) struct Rule<'a> {
    pub(super) checker: &'a Checker<'a>,
    /// The schema it stands in.
    pub(super) siblings: &'a Object,
    pub(super) argument: &'a Value,
    pub(super) depth: u32,
}

impl Rule<'_> {
    pub(super) fn apply(&self, keyword: &str, value: &Value) -> Checked {
        match keyword {
            "type" => self.types(value),
            "enum" => self.one_of_values(value),
            "const" if !equal(value, self.argument) => {
                invalid(format!("{} was expected", self.argument.repr()))
            }
            "allOf" => self.schemas().iter().try_for_each(|schema| self.descend(schema, value)),
            "anyOf" => self.any_of(value),
            "oneOf" => self.one_of(value),
            "not" if self.checker.passes(self.argument, value, self.depth + 1)? => {
                let (value, schema) = (value.repr(), self.argument.repr());
                invalid(format!("{value} should not be valid under {schema}"))
            }
            "if" => self.choose(value),
            "format" => self.format(value),
            _ => match value {
                Value::Object(members) => self.on_object(keyword, members, value),
                Value::Array(items) => self.on_array(keyword, items, value),
                Value::Str(text) => self.on_text(keyword, text, value),
                Value::Int(_) | Value::Float(_) => self.on_number(keyword, value),
                Value::None | Value::Bool(_) | Value::File(_) => Ok(()),
            },
        }
    }

    fn descend(&self, schema: &Value, value: &Value) -> Checked {
        self.checker.check(schema, value, self.depth + 1)
    }

    fn schemas(&self) -> &[Value] {
        match self.argument {
            Value::Array(items) => items,
            _ => &[],
        }
    }

    fn members(&self) -> Option<&Object> {
        match self.argument {
            Value::Object(members) => Some(members),
            _ => None,
        }
    }

    fn types(&self, value: &Value) -> Checked {
        let one = std::slice::from_ref(self.argument);
        let names = match self.argument {
            Value::Array(names) => names,
            _ => one,
        };
        if names.iter().any(|name| name.as_str().is_some_and(|name| is_type(value, name))) {
            return Ok(());
        }
        let names: Vec<String> = names.iter().map(Value::repr).collect();
        invalid(format!("{} is not of type {}", value.repr(), names.join(", ")))
    }

    fn one_of_values(&self, value: &Value) -> Checked {
        if self.schemas().iter().any(|each| equal(each, value)) {
            return Ok(());
        }
        invalid(format!("{} is not one of {}", value.repr(), self.argument.repr()))
    }

    fn any_of(&self, value: &Value) -> Checked {
        for schema in self.schemas() {
            if self.checker.passes(schema, value, self.depth + 1)? {
                return Ok(());
            }
        }
        invalid(format!("{} is not valid under any of the given schemas", value.repr()))
    }

    fn one_of(&self, value: &Value) -> Checked {
        let mut valid = Vec::new();
        for schema in self.schemas() {
            if self.checker.passes(schema, value, self.depth + 1)? {
                valid.push(schema);
            }
        }
        match valid.len() {
            0 => invalid(format!("{} is not valid under any of the given schemas", value.repr())),
            1 => Ok(()),
            _ => {
                // the first that was valid is named last
                valid.rotate_left(1);
                let schemas: Vec<String> = valid.into_iter().map(Value::repr).collect();
                let (value, schemas) = (value.repr(), schemas.join(", "));
                invalid(format!("{value} is valid under each of {schemas}"))
            }
        }
    }

    fn choose(&self, value: &Value) -> Checked {
        let passes = self.checker.passes(self.argument, value, self.depth + 1)?;
        match self.siblings.get(if passes { "then" } else { "else" }) {
            Some(schema) => self.descend(schema, value),
            None => Ok(()),
        }
    }

    fn format(&self, value: &Value) -> Checked {
        let Some(text) = value.as_str() else { return Ok(()) };
        let regex = self.checker.meta && self.argument.as_str() == Some("regex");
        if regex && Regex::new(text).is_err() {
            return invalid(format!("{} is not a 'regex'", str_repr(text)));
        }
        Ok(())
    }

    fn on_object(&self, keyword: &str, members: &Object, value: &Value) -> Checked {
        match keyword {
            "properties" => {
                let properties = self.members().into_iter().flatten();
                properties
                    .filter_map(|(name, schema)| Some((schema, members.get(name)?)))
                    .try_for_each(|(schema, member)| self.descend(schema, member))
            }
            "required" => self.schemas().iter().try_for_each(|name| {
                if has(members, name) {
                    return Ok(());
                }
                invalid(format!("{} is a required property", name.repr()))
            }),
            "patternProperties" => self.pattern_properties(members),
            "propertyNames" => members
                .keys()
                .try_for_each(|name| self.descend(self.argument, &Value::Str(name.clone()))),
            "additionalProperties" => self.additional_properties(members),
            "dependencies" => self.dependencies(members, value),
            "minProperties" if self.is_below(members.len()) => {
                let few = "does not have enough properties";
                self.size(value, 1, "should be non-empty", few)
            }
            "maxProperties" if self.is_above(members.len()) => {
                self.size(value, 0, "is expected to be empty", "has too many properties")
            }
            _ => Ok(()),
        }
    }

    fn pattern_properties(&self, members: &Object) -> Checked {
        for (pattern, schema) in self.members().into_iter().flatten() {
            for (name, member) in members {
                if self.checker.finds(pattern, name)? {
                    self.descend(schema, member)?;
                }
            }
        }
        Ok(())
    }

    fn additional_properties(&self, members: &Object) -> Checked {
        let declared = self.siblings.get("properties");
        let patterns = match self.siblings.get("patternProperties") {
            Some(Value::Object(patterns)) => Some(patterns),
            _ => None,
        };
        let mut extras: Vec<(&Name, &Value)> = Vec::new();
        for (name, member) in members {
            let mut known = matches!(declared, Some(Value::Object(all)) if all.contains_key(name));
            for pattern in patterns.into_iter().flat_map(|patterns| patterns.keys()) {
                known = known || self.checker.finds(pattern, name)?;
            }
            if !known {
                extras.push((name, member));
            }
        }
        if self.members().is_some() {
            return extras.iter().try_for_each(|(_, member)| self.descend(self.argument, member));
        }
        if extras.is_empty() || !self.argument.is_falsy() {
            return Ok(());
        }
        let mut names: Vec<&Name> = extras.into_iter().map(|(name, _)| name).collect();
        names.sort();
        let joined = listed(names.iter().map(|name| str_repr(name)));
        let one = names.len() == 1;
        let Some(patterns) = patterns else {
            let verb = if one { "was" } else { "were" };
            return invalid(format!(
                "Additional properties are not allowed ({joined} {verb} unexpected)"
            ));
        };
        let mut patterns: Vec<&Name> = patterns.keys().collect();
        patterns.sort();
        let patterns = listed(patterns.into_iter().map(|pattern| str_repr(pattern)));
        let verb = if one { "does" } else { "do" };
        invalid(format!("{joined} {verb} not match any of the regexes: {patterns}"))
    }

    fn dependencies(&self, members: &Object, value: &Value) -> Checked {
        for (name, dependency) in self.members().into_iter().flatten() {
            if !members.contains_key(name) {
                continue;
            }
            let Value::Array(needed) = dependency else {
                self.descend(dependency, value)?;
                continue;
            };
            if let Some(missing) = needed.iter().find(|each| !has(members, each)) {
                let (missing, name) = (missing.repr(), str_repr(name));
                return invalid(format!("{missing} is a dependency of {name}"));
            }
        }
        Ok(())
    }

    fn on_array(&self, keyword: &str, items: &[Value], value: &Value) -> Checked {
        match keyword {
            "items" => match self.argument {
                Value::Array(schemas) => items
                    .iter()
                    .zip(schemas.iter())
                    .try_for_each(|(item, schema)| self.descend(schema, item)),
                schema => items.iter().try_for_each(|item| self.descend(schema, item)),
            },
            "additionalItems" => self.additional_items(items),
            "contains" => {
                for item in items {
                    if self.checker.passes(self.argument, item, self.depth + 1)? {
                        return Ok(());
                    }
                }
                invalid(format!("None of {} are valid under the given schema", value.repr()))
            }
            "minItems" if self.is_below(items.len()) => {
                self.size(value, 1, "should be non-empty", "is too short")
            }
            "maxItems" if self.is_above(items.len()) => {
                self.size(value, 0, "is expected to be empty", "is too long")
            }
            "uniqueItems" if !self.argument.is_falsy() && !self.are_unique(items)? => {
                invalid(format!("{} has non-unique elements", value.repr()))
            }
            _ => Ok(()),
        }
    }

    fn additional_items(&self, items: &[Value]) -> Checked {
        let listed_schemas = match self.siblings.get("items") {
            Some(Value::Object(_)) => return Ok(()),
            Some(Value::Array(schemas)) => schemas.len(),
            _ => 0,
        };
        let extras = items.get(listed_schemas..).unwrap_or_default();
        if self.members().is_some() {
            return extras.iter().try_for_each(|item| self.descend(self.argument, item));
        }
        if extras.is_empty() || !self.argument.is_falsy() {
            return Ok(());
        }
        let verb = if extras.len() == 1 { "was" } else { "were" };
        let joined = listed(extras.iter().map(Value::repr));
        invalid(format!("Additional items are not allowed ({joined} {verb} unexpected)"))
    }

    fn are_unique(&self, items: &[Value]) -> Result<bool, Refusal> {
        if items.iter().all(|item| matches!(item, Value::Str(_))) {
            let mut texts: Vec<_> = items.iter().filter_map(Value::as_str).collect();
            texts.sort_unstable();
            return Ok(texts.windows(2).all(|pair| pair[0] != pair[1]));
        }
        for (index, item) in items.iter().enumerate() {
            let steps = u32::try_from(index).unwrap_or(u32::MAX);
            self.checker.spend(steps)?;
            if items[..index].iter().any(|earlier| equal(earlier, item)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn on_text(&self, keyword: &str, text: &str, value: &Value) -> Checked {
        match keyword {
            "minLength" if self.is_below(text.chars().count()) => {
                self.size(value, 1, "should be non-empty", "is too short")
            }
            "maxLength" if self.is_above(text.chars().count()) => {
                self.size(value, 0, "is expected to be empty", "is too long")
            }
            "pattern" => {
                let Some(pattern) = self.argument.as_str() else { return Ok(()) };
                if self.checker.finds(pattern, text)? {
                    return Ok(());
                }
                invalid(format!("{} does not match {}", value.repr(), str_repr(pattern)))
            }
            _ => Ok(()),
        }
    }

    fn on_number(&self, keyword: &str, value: &Value) -> Checked {
        let order = value.py_cmp(self.argument);
        let text = match keyword {
            "minimum" if order == Some(Ordering::Less) => "is less than the minimum of",
            "maximum" if order == Some(Ordering::Greater) => "is greater than the maximum of",
            "exclusiveMinimum" if order.is_some_and(Ordering::is_le) => {
                "is less than or equal to the minimum of"
            }
            "exclusiveMaximum" if order.is_some_and(Ordering::is_ge) => {
                "is greater than or equal to the maximum of"
            }
            "multipleOf" if !is_multiple(value, self.argument) => "is not a multiple of",
            _ => return Ok(()),
        };
        invalid(format!("{} {text} {}", value.repr(), self.argument.repr()))
    }

    /// What is said of a wrong size: `special` when the bound is `bound`, else `usual`.
    fn size(&self, value: &Value, bound: i64, special: &str, usual: &str) -> Checked {
        let text = if self.argument.py_eq(&Value::int(bound)) { special } else { usual };
        invalid(format!("{} {text}", value.repr()))
    }

    fn is_below(&self, size: usize) -> bool {
        count(size).py_cmp(self.argument) == Some(Ordering::Less)
    }

    fn is_above(&self, size: usize) -> bool {
        count(size).py_cmp(self.argument) == Some(Ordering::Greater)
    }
}

fn count(size: usize) -> Value {
    Value::int(i64::try_from(size).unwrap_or(i64::MAX))
}

fn has(members: &Object, name: &Value) -> bool {
    name.as_str().is_some_and(|name| members.contains_key(name))
}

fn listed(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}

fn is_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => matches!(value, Value::Object(_)),
        "array" => matches!(value, Value::Array(_)),
        "string" => matches!(value, Value::Str(_)),
        "boolean" => matches!(value, Value::Bool(_)),
        "null" => matches!(value, Value::None),
        "number" => matches!(value, Value::Int(_) | Value::Float(_)),
        "integer" => match value {
            Value::Int(_) => true,
            Value::Float(value) => value.is_finite() && value.fract() == 0.0,
            _ => false,
        },
        _ => false,
    }
}

/// Python's `==`, but `true` is not 1.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Bool(_), _) | (_, Value::Bool(_)) => false,
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a.py_eq(b),
    }
}

fn is_multiple(value: &Value, of: &Value) -> bool {
    match (value, of) {
        (Value::Int(value), Value::Int(of)) => (value.to_big() % of.to_big()) == BigInt::from(0),
        (Value::Float(value), Value::Int(of)) => (value % of.to_f64()) == 0.0,
        (_, Value::Float(of)) => {
            let value = match value {
                Value::Int(value) => Integer::to_f64(value),
                Value::Float(value) => *value,
                _ => return true,
            };
            let quotient = value / of;
            if quotient.is_infinite() { (value % of) == 0.0 } else { quotient.fract() == 0.0 }
        }
        _ => true,
    }
}
