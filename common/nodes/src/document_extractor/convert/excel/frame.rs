//! A table as pandas holds it: columns have types, and a row is printed in the type that all of
//! its columns share. That decides whether a one is `1`, `1.0` or `True`.

use std::fmt::Write;

use flowmill_engine::value::{float_repr, python_float, python_int};

/// What a cell holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    /// Nothing, or something that is as good as nothing.
    Missing,
    Int(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    /// A date with time, as Python prints it.
    Date(String),
    /// A time of the day, as Python prints it.
    Time(String),
    /// Milliseconds.
    Duration(i64),
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Ints,
    Floats,
    Bools,
    Dates,
    Durations,
    /// Anything.
    Objects,
}

/// Texts that mean nothing.
const MISSING: &[&str] = &[
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>",
    "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
];

pub(super) struct Frame {
    names: Vec<String>,
    types: Vec<Type>,
    rows: Vec<Vec<Cell>>,
}

impl Frame {
    /// A table whose first row holds the names of its columns. Rows are of equal length.
    pub(super) fn new(mut rows: Vec<Vec<Cell>>) -> Self {
        let header = if rows.is_empty() { Vec::new() } else { rows.remove(0) };
        for cell in rows.iter_mut().flatten() {
            if matches!(cell, Cell::Text(text) if MISSING.contains(&text.as_str())) {
                *cell = Cell::Missing;
            }
        }
        let types = (0..header.len()).map(|column| settle(&mut rows, column)).collect();
        rows.retain(|row| row.iter().any(|cell| *cell != Cell::Missing));
        Self { names: names(&header), types, rows }
    }

    /// Writes it as Markdown.
    pub(super) fn write(&self, out: &mut String) {
        line(out, self.names.iter().cloned());
        out.push('\n');
        line(out, self.names.iter().map(|name| "-".repeat(name.chars().count())));
        let shared = self.shared();
        for row in &self.rows {
            out.push('\n');
            let cells = row.iter().zip(&self.types);
            line(out, cells.map(|(cell, column)| print(cell, *column, shared)));
        }
    }

    /// The type that all columns can be put into.
    fn shared(&self) -> Type {
        let mut types = self.types.iter().copied();
        let Some(first) = types.next() else { return Type::Objects };
        types.fold(first, |shared, next| match (shared, next) {
            (a, b) if a == b => a,
            (Type::Ints, Type::Floats) | (Type::Floats, Type::Ints) => Type::Floats,
            _ => Type::Objects,
        })
    }
}

fn line(out: &mut String, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.collect();
    // writing to a String does not fail
    let _ = write!(out, "| {} |", cells.join(" | "));
}

/// Column names: blank ones are numbered, repeated ones too.
fn names(header: &[Cell]) -> Vec<String> {
    let blank = |at: usize| matches!(header.get(at), Some(Cell::Missing));
    let mut names: Vec<(Key, String)> = header
        .iter()
        .enumerate()
        .map(|(at, cell)| match cell {
            Cell::Missing => {
                let name = format!("Unnamed: {at}");
                (Key::Text(name.clone()), name)
            }
            cell => (key(cell), object(cell, Type::Objects)),
        })
        .collect();
    let mut counts: std::collections::HashMap<Key, usize> = std::collections::HashMap::new();
    let named = (0..header.len()).filter(|at| !blank(*at));
    let order: Vec<usize> = named.chain((0..header.len()).filter(|at| blank(*at))).collect();
    for at in order {
        let Some((old, printed)) = names.get(at).cloned() else { continue };
        let (mut name, mut text) = (old.clone(), printed.clone());
        let mut count = counts.get(&name).copied().unwrap_or(0);
        while count > 0 {
            counts.insert(old.clone(), count + 1);
            text = format!("{printed}.{count}");
            name = Key::Text(text.clone());
            if names.iter().any(|(key, _)| *key == name) {
                count += 1;
            } else {
                count = counts.get(&name).copied().unwrap_or(0);
            }
        }
        counts.insert(name.clone(), count + 1);
        if let Some(place) = names.get_mut(at) {
            *place = (name, text);
        }
    }
    names.into_iter().map(|(_, text)| one_line(&text)).collect()
}

/// What makes two names the same: Python finds `1`, `1.0` and `True` equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Number(i128),
    Float(u64),
    Text(String),
    Other(String),
}

fn key(cell: &Cell) -> Key {
    match cell {
        Cell::Int(value) => Key::Number(*value),
        Cell::Bool(value) => Key::Number(i128::from(*value)),
        Cell::Float(value) => Key::Float(value.to_bits()),
        Cell::Text(text) => Key::Text(text.clone()),
        other => Key::Other(object(other, Type::Objects)),
    }
}

/// Finds a column's type and puts its cells into it.
fn settle(rows: &mut [Vec<Cell>], column: usize) -> Type {
    let cells = || rows.iter().filter_map(|row| row.get(column));
    if let Some(found) = numeric(cells()) {
        for cell in rows.iter_mut().filter_map(|row| row.get_mut(column)) {
            let value = number(cell);
            *cell = match (value, found) {
                (None, _) => Cell::Missing,
                (Some(Number::Bool(value)), Type::Bools) => Cell::Bool(value),
                (Some(value), Type::Ints) => value.whole().map_or(Cell::Missing, Cell::Int),
                (Some(value), _) => Cell::Float(value.float()),
            };
        }
        return found;
    }
    let is_bool = |cell: &Cell| truth(cell).is_some() || *cell == Cell::Missing;
    if cells().all(is_bool) {
        let all = cells().all(|cell| *cell != Cell::Missing);
        for cell in rows.iter_mut().filter_map(|row| row.get_mut(column)) {
            *cell = truth(cell).map_or(Cell::Missing, Cell::Bool);
        }
        return if all { Type::Bools } else { Type::Objects };
    }
    if cells().all(|cell| matches!(cell, Cell::Date(_) | Cell::Missing)) {
        return Type::Dates;
    }
    if cells().all(|cell| matches!(cell, Cell::Duration(_) | Cell::Missing)) {
        return Type::Durations;
    }
    Type::Objects
}

#[derive(Clone, Copy)]
enum Number {
    Int(i128),
    Float(f64),
    Bool(bool),
}

impl Number {
    fn whole(self) -> Option<i128> {
        match self {
            Self::Int(value) => Some(value),
            Self::Bool(value) => Some(i128::from(value)),
            Self::Float(_) => None,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "as Python does")]
    fn float(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Bool(value) => f64::from(u8::from(value)),
            Self::Float(value) => value,
        }
    }
}

/// A cell as a number; text counts if all of it is one.
fn number(cell: &Cell) -> Option<Number> {
    match cell {
        Cell::Int(value) => Some(Number::Int(*value)),
        Cell::Float(value) => Some(Number::Float(*value)),
        Cell::Bool(value) => Some(Number::Bool(*value)),
        Cell::Text(text) if text.is_ascii() && !text.contains('_') => {
            let whole = python_int(text).and_then(|value| i128::try_from(value.to_big()).ok());
            whole.map(Number::Int).or_else(|| python_float(text).map(Number::Float))
        }
        Cell::Missing | Cell::Text(_) | Cell::Date(_) | Cell::Time(_) | Cell::Duration(_) => None,
    }
}

/// The type of a column of numbers; None if it holds anything else, or integers too large.
fn numeric<'c>(cells: impl Iterator<Item = &'c Cell>) -> Option<Type> {
    let (mut floats, mut ints, mut bools, mut missing) = (false, false, false, false);
    for cell in cells {
        match (cell, number(cell)) {
            (Cell::Missing, _) => missing = true,
            (_, Some(Number::Float(_))) => floats = true,
            (_, Some(Number::Bool(_))) => bools = true,
            (_, Some(Number::Int(value))) => {
                if value > i128::from(u64::MAX) || value < i128::from(i64::MIN) {
                    return None;
                }
                ints = true;
            }
            (_, None) => return None,
        }
    }
    Some(match (floats || missing, ints, bools) {
        (true, _, _) => Type::Floats,
        (false, true, _) => Type::Ints,
        (false, false, true) => Type::Bools,
        // no row at all
        (false, false, false) => Type::Objects,
    })
}

fn truth(cell: &Cell) -> Option<bool> {
    match cell {
        Cell::Bool(value) => Some(*value),
        Cell::Text(text) => match text.as_str() {
            "True" | "TRUE" | "true" => Some(true),
            "False" | "FALSE" | "false" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// A cell of a column in a row of the shared type.
fn print(cell: &Cell, column: Type, shared: Type) -> String {
    #[expect(clippy::cast_precision_loss, reason = "as pandas does")]
    match (cell, shared) {
        (Cell::Int(value), Type::Floats) => float_repr(*value as f64),
        (cell, _) => object(cell, column),
    }
}

fn object(cell: &Cell, column: Type) -> String {
    match cell {
        Cell::Missing if matches!(column, Type::Dates | Type::Durations) => "NaT".to_owned(),
        Cell::Missing => "nan".to_owned(),
        Cell::Int(value) => value.to_string(),
        Cell::Float(value) => float_repr(*value),
        Cell::Bool(value) => if *value { "True" } else { "False" }.to_owned(),
        Cell::Text(text) => one_line(text),
        Cell::Date(text) | Cell::Time(text) => text.clone(),
        Cell::Duration(millis) => duration(*millis, column == Type::Durations),
    }
}

/// As pandas prints a duration (`1 days 06:01:00`), or as Python does (`1 day, 6:01:00`).
fn duration(millis: i64, pandas: bool) -> String {
    let (days, rest) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (hours, minutes, seconds) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    let fraction = match rest % 1000 {
        0 => String::new(),
        millis => format!(".{millis:03}000"),
    };
    if pandas {
        let plus = if days < 0 { "+" } else { "" };
        return format!("{days} days {plus}{hours:02}:{minutes:02}:{seconds:02}{fraction}");
    }
    let clock = format!("{hours}:{minutes:02}:{seconds:02}{fraction}");
    match days {
        0 => clock,
        1 | -1 => format!("{days} day, {clock}"),
        days => format!("{days} days, {clock}"),
    }
}

fn one_line(text: &str) -> String {
    let lines: Vec<&str> = super::super::properties::lines(text).collect();
    lines.join(" ")
}
