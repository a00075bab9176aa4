//! `JSONPath` as `jsonpath_ng` reads it without its extensions: names, places, slices, `*`, `..`, and
//! `,` between names or places.

use flowmill_engine::value::Value;

/// The most matches that are looked for.
const MOST_MATCHES: usize = 100_000;

/// A path to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Members by their names.
    Names(Vec<String>),
    /// All members.
    AllMembers,
    /// Elements by their places.
    Places(Vec<i64>),
    /// A stretch of a list.
    Slice(Option<i64>, Option<i64>, i64),
    /// What follows, at any depth.
    Anywhere,
}

/// One part of the way to something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Name(String),
    Place(usize),
}

/// The way to something that was found.
pub(super) type Way = Vec<Part>;

impl JsonPath {
    /// Reads a path.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { text, rest: text.trim() };
        let mut steps = Vec::new();
        if let Some(rest) = reader.rest.strip_prefix('$') {
            reader.rest = rest;
        } else if !reader.rest.starts_with(['[', '.']) {
            steps.push(reader.names()?);
        }
        while !reader.rest.is_empty() {
            if let Some(rest) = reader.rest.strip_prefix("..") {
                reader.rest = rest;
                steps.push(Step::Anywhere);
                steps.push(reader.step()?);
            } else if let Some(rest) = reader.rest.strip_prefix('.') {
                reader.rest = rest;
                steps.push(reader.step()?);
            } else if reader.rest.starts_with('[') {
                steps.push(reader.brackets()?);
            } else {
                return Err(reader.wrong());
            }
        }
        Ok(Self { steps })
    }

    /// The ways to all that it matches, in the order in which they are found.
    pub(super) fn find(&self, value: &Value) -> Vec<Way> {
        let mut found = Vec::new();
        follow(&self.steps, value, &mut Vec::new(), &mut found);
        found
    }
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Reader<'_> {
    fn wrong(&self) -> String {
        let at = self.text.len() - self.rest.len() + 1;
        match self.rest.chars().next() {
            Some(token) => format!("Parse error at 1:{at} near token {token}"),
            None => "Parse error near the end of string!".to_owned(),
        }
    }

    fn step(&mut self) -> Result<Step, String> {
        if self.rest.starts_with('[') { self.brackets() } else { self.names() }
    }

    /// `a`, `a,b`, `'a b'`, `*`.
    fn names(&mut self) -> Result<Step, String> {
        if let Some(rest) = self.rest.strip_prefix('*') {
            self.rest = rest;
            return Ok(Step::AllMembers);
        }
        let mut names = vec![self.name()?];
        while let Some(rest) = self.rest.strip_prefix(',') {
            self.rest = rest.trim_start();
            names.push(self.name()?);
        }
        Ok(Step::Names(names))
    }

    fn name(&mut self) -> Result<String, String> {
        for quote in ['\'', '"'] {
            if let Some(rest) = self.rest.strip_prefix(quote) {
                let end = rest.find(quote).ok_or_else(|| self.wrong())?;
                self.rest = &rest[end + 1..];
                return Ok(rest[..end].to_owned());
            }
        }
        let is_part =
            |character: char| character.is_alphanumeric() || matches!(character, '_' | '@' | '-');
        let end = self.rest.find(|character| !is_part(character)).unwrap_or(self.rest.len());
        if end == 0 {
            return Err(self.wrong());
        }
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(name.to_owned())
    }

    /// What stands in brackets.
    fn brackets(&mut self) -> Result<Step, String> {
        let inner = self.rest.strip_prefix('[').ok_or_else(|| self.wrong())?;
        self.rest = inner.trim_start();
        let step = if self.rest.starts_with(['\'', '"']) {
            self.names()?
        } else {
            let end = self.rest.find(']').ok_or_else(|| self.wrong())?;
            let (inner, rest) = self.rest.split_at(end);
            let step = places(inner.trim()).ok_or_else(|| self.wrong())?;
            self.rest = rest;
            step
        };
        self.rest = self.rest.trim_start().strip_prefix(']').ok_or_else(|| self.wrong())?;
        Ok(step)
    }
}

fn places(text: &str) -> Option<Step> {
    if text == "*" {
        return Some(Step::Slice(None, None, 1));
    }
    if text.contains(':') {
        let mut parts = text.split(':').map(str::trim);
        let mut bound = || match parts.next() {
            None | Some("") => Some(None),
            Some(number) => number.parse().ok().map(Some),
        };
        let (from, to, by) = (bound()?, bound()?, bound()?);
        return (parts.next().is_none() && by != Some(0)).then_some(Step::Slice(
            from,
            to,
            by.unwrap_or(1),
        ));
    }
    let places = text.split(',').map(|place| place.trim().parse().ok());
    if let Some(places) = places.collect::<Option<Vec<i64>>>() {
        return Some(Step::Places(places));
    }
    let is_name = |name: &str| {
        !name.is_empty()
            && name.chars().all(|character| character.is_alphanumeric() || character == '_')
    };
    is_name(text).then(|| Step::Names(vec![text.to_owned()]))
}

fn follow(steps: &[Step], value: &Value, way: &mut Way, found: &mut Vec<Way>) {
    if found.len() >= MOST_MATCHES {
        return;
    }
    let Some((step, rest)) = steps.split_first() else {
        found.push(way.clone());
        return;
    };
    let mut into = |part: Part, value: &Value, way: &mut Way| {
        way.push(part);
        follow(rest, value, way, found);
        way.pop();
    };
    match (step, value) {
        (Step::Names(names), Value::Object(members)) => {
            for name in names {
                if let Some(value) = members.get(&**name) {
                    into(Part::Name(name.clone()), value, way);
                }
            }
        }
        (Step::AllMembers, Value::Object(members)) => {
            for (name, value) in &**members {
                into(Part::Name(name.to_string()), value, way);
            }
        }
        (Step::Places(places), Value::Array(items)) => {
            for place in places {
                if let Some((place, value)) = element(items, *place) {
                    into(Part::Place(place), value, way);
                }
            }
        }
        (Step::Slice(from, to, by), Value::Array(items)) => {
            for place in stretch(items.len(), *from, *to, *by) {
                if let Some(value) = items.get(place) {
                    into(Part::Place(place), value, way);
                }
            }
        }
        // a slice takes what is no list for a list of one
        (Step::Slice(..), other) if *other != Value::None => follow(rest, value, way, found),
        (Step::Anywhere, _) => anywhere(rest, value, way, found),
        _ => {}
    }
}

/// Here first, then in each part.
fn anywhere(rest: &[Step], value: &Value, way: &mut Way, found: &mut Vec<Way>) {
    follow(rest, value, way, found);
    match value {
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                way.push(Part::Place(place));
                anywhere(rest, item, way, found);
                way.pop();
            }
        }
        Value::Object(members) => {
            for (name, value) in &**members {
                way.push(Part::Name(name.to_string()));
                anywhere(rest, value, way, found);
                way.pop();
            }
        }
        _ => {}
    }
}

fn element(items: &[Value], place: i64) -> Option<(usize, &Value)> {
    let place = usize::try_from(place)
        .ok()
        .or_else(|| items.len().checked_sub(usize::try_from(place.unsigned_abs()).ok()?))?;
    Some((place, items.get(place)?))
}

/// The places of a slice, as Python counts them.
fn stretch(length: usize, from: Option<i64>, to: Option<i64>, by: i64) -> Vec<usize> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let (least, most) = if by > 0 { (0, length) } else { (-1, length - 1) };
    let bound = |bound: i64| {
        let bound = if bound < 0 { bound.saturating_add(length) } else { bound };
        bound.clamp(least, most)
    };
    let from = from.map_or(if by > 0 { least } else { most }, bound);
    let to = to.map_or(if by > 0 { most } else { least }, bound);
    let mut places = Vec::new();
    let mut at = from;
    while (by > 0 && at < to) || (by < 0 && at > to) {
        places.extend(usize::try_from(at).ok());
        at = at.saturating_add(by);
    }
    places
}

/// What lies at the end of a way.
pub(super) fn at<'a>(value: &'a Value, way: &[Part]) -> Option<&'a Value> {
    let Some((part, rest)) = way.split_first() else { return Some(value) };
    let inner = match (part, value) {
        (Part::Name(name), Value::Object(members)) => members.get(&**name),
        (Part::Place(place), Value::Array(items)) => items.get(*place),
        _ => None,
    };
    at(inner?, rest)
}

/// The same, to be changed.
pub(super) fn at_mut<'a>(value: &'a mut Value, way: &[Part]) -> Option<&'a mut Value> {
    let Some((part, rest)) = way.split_first() else { return Some(value) };
    let inner = match (part, value) {
        (Part::Name(name), Value::Object(members)) => {
            std::sync::Arc::make_mut(members).get_mut(&**name)
        }
        (Part::Place(place), Value::Array(items)) => {
            std::sync::Arc::make_mut(items).get_mut(*place)
        }
        _ => None,
    };
    at_mut(inner?, rest)
}

#[cfg(test)]
mod tests {
    use flowmill_engine::value::loads;

    use super::*;

    #[test]
    fn paths_find_what_python_finds() {
        let value = loads(
            r#"{"a": {"b": [1, {"c": 2}, {"c": 3}], "b c": 4}, "c": 5, "list": [10, 11, 12, 13]}"#,
        )
        .unwrap();
        let cases = [
            (
                "$",
                "[{'a': {'b': [1, {'c': 2}, {'c': 3}], 'b c': 4}, 'c': 5, 'list': [10, 11, 12, 13]}]",
            ),
            ("c", "[5]"),
            ("a.b[1].c", "[2]"),
            ("$.a['b c']", "[4]"),
            ("$[\"c\"]", "[5]"),
            ("$.a.b[*].c", "[2, 3]"),
            ("$..c", "[5, 2, 3]"),
            ("$.list[-1]", "[13]"),
            ("$.list[1:3]", "[11, 12]"),
            ("$.list[::-2]", "[13, 11]"),
            ("$.list[0,2]", "[10, 12]"),
            ("$.a.*", "[[1, {'c': 2}, {'c': 3}], 4]"),
            ("$.c[*]", "[5]"),
            ("c,list", "[5, [10, 11, 12, 13]]"),
            ("$.none.x", "[]"),
            ("$.list[9]", "[]"),
        ];
        for (path, wanted) in cases {
            let found = JsonPath::parse(path).unwrap().find(&value);
            let found: Vec<Value> =
                found.iter().map(|way| at(&value, way).unwrap().clone()).collect();
            assert_eq!(Value::array(found).repr(), wanted, "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for path in ["$.", "$[", "$['a", "$.a[?(@.b)]", "", "$a", "$[0:1:0]"] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }
}
