//! Excel files: a Markdown table a sheet, as pandas 3 reads them (with openpyxl, or xlrd for the
//! old form).

mod frame;

use std::io::Cursor;

use calamine::{Data, DataRef, ExcelDateTime, Reader, Xls, Xlsx};

use super::archive::Archive;
use super::{Limits, Stop};
use frame::{Cell, Frame};

pub(super) fn convert(bytes: &[u8], limits: &Limits) -> Result<String, Stop> {
    if bytes.starts_with(b"PK") {
        Archive::open(bytes, limits)?.check()?;
        let book = Xlsx::new(Cursor::new(bytes)).map_err(Stop::fault)?;
        return xlsx(book, limits);
    }
    if bytes.starts_with(&[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1]) {
        let book = Xls::new(Cursor::new(bytes)).map_err(Stop::fault)?;
        return xls(book, limits);
    }
    Err(Stop::fault("Excel file format cannot be determined, you must specify an engine manually."))
}

fn xlsx(mut book: Xlsx<Cursor<&[u8]>>, limits: &Limits) -> Result<String, Stop> {
    let mut out = Tables { text: String::new(), limits };
    for name in book.sheet_names() {
        // a sheet is read cell by cell: two cells far apart must not fill what lies between
        let Ok(mut reader) = book.worksheet_cells_reader(&name) else { continue };
        let mut sheet = Sheet::default();
        while let Some(cell) = reader.next_cell().map_err(Stop::fault)? {
            sheet.add(cell.get_position(), of_ref(cell.get_value()), limits)?;
        }
        out.add(sheet)?;
    }
    Ok(out.text)
}

fn xls(mut book: Xls<Cursor<&[u8]>>, limits: &Limits) -> Result<String, Stop> {
    let mut out = Tables { text: String::new(), limits };
    for name in book.sheet_names() {
        let Ok(range) = book.worksheet_range(&name) else { continue };
        let (top, left) = range.start().unwrap_or_default();
        let mut sheet = Sheet::default();
        for (row, column, value) in range.used_cells() {
            let at = |offset: u32, index: usize| {
                offset.saturating_add(u32::try_from(index).unwrap_or(u32::MAX))
            };
            sheet.add((at(top, row), at(left, column)), of_data(value), limits)?;
        }
        out.add(sheet)?;
    }
    Ok(out.text)
}

struct Tables<'l> {
    text: String,
    limits: &'l Limits,
}

impl Tables<'_> {
    fn add(&mut self, sheet: Sheet) -> Result<(), Stop> {
        Frame::new(sheet.rows(self.limits)?).write(&mut self.text);
        self.text.push_str("\n\n");
        if self.text.len() > self.limits.text_bytes {
            return Err(Stop::Limit("bytes of text", self.limits.text_bytes));
        }
        Ok(())
    }
}

/// The cells of a sheet that hold something.
#[derive(Default)]
struct Sheet {
    cells: Vec<((u32, u32), Cell)>,
    height: usize,
    width: usize,
}

impl Sheet {
    fn add(&mut self, at: (u32, u32), cell: Cell, limits: &Limits) -> Result<(), Stop> {
        if matches!(cell, Cell::Missing) {
            return Ok(());
        }
        let end = |index: u32| usize::try_from(index).unwrap_or(usize::MAX).saturating_add(1);
        self.height = self.height.max(end(at.0));
        self.width = self.width.max(end(at.1));
        self.cells.push((at, cell));
        if self.cells.len() > limits.parts {
            return Err(Stop::Limit("cells of a sheet", limits.parts));
        }
        Ok(())
    }

    /// All rows from the first cell of the sheet on, of equal length.
    fn rows(self, limits: &Limits) -> Result<Vec<Vec<Cell>>, Stop> {
        if self.height.saturating_mul(self.width) > limits.parts {
            return Err(Stop::Limit("cells of a sheet", limits.parts));
        }
        let mut rows: Vec<Vec<Cell>> = Vec::with_capacity(self.height);
        rows.resize_with(self.height, || vec![Cell::Missing; self.width]);
        for ((row, column), cell) in self.cells {
            let row = usize::try_from(row).ok().and_then(|row| rows.get_mut(row));
            let column = usize::try_from(column).unwrap_or(usize::MAX);
            if let Some(place) = row.and_then(|row| row.get_mut(column)) {
                *place = cell;
            }
        }
        Ok(rows)
    }
}

fn of_ref(data: &DataRef<'_>) -> Cell {
    match data {
        DataRef::Int(value) => Cell::Int(i128::from(*value)),
        DataRef::Float(value) => number(*value),
        DataRef::SharedString(text) => text_cell(text),
        DataRef::Bool(value) => Cell::Bool(*value),
        DataRef::DateTime(value) => date(value),
        DataRef::String(text) | DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => {
            text_cell(text)
        }
        DataRef::Error(_) | DataRef::Empty => Cell::Missing,
    }
}

fn of_data(data: &Data) -> Cell {
    match data {
        Data::Int(value) => Cell::Int(i128::from(*value)),
        Data::Float(value) => number(*value),
        Data::Bool(value) => Cell::Bool(*value),
        Data::DateTime(value) => date(value),
        Data::String(text) | Data::DateTimeIso(text) | Data::DurationIso(text) => text_cell(text),
        Data::Error(_) | Data::Empty => Cell::Missing,
    }
}

fn text_cell(text: &str) -> Cell {
    if text.is_empty() { Cell::Missing } else { Cell::Text(text.to_owned()) }
}

/// A float that is whole becomes an integer.
fn number(value: f64) -> Cell {
    #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
    if value.fract() == 0.0 && value.abs() < 1e38 {
        return Cell::Int(value as i128);
    }
    Cell::Float(value)
}

fn date(value: &ExcelDateTime) -> Cell {
    let serial = value.as_f64();
    if value.is_duration() {
        #[expect(clippy::cast_possible_truncation, reason = "saturates")]
        return Cell::Duration((serial * 86_400_000.0).round() as i64);
    }
    let (year, month, day, hour, minute, second, milli) = value.to_ymd_hms_milli();
    let fraction = if milli == 0 { String::new() } else { format!(".{milli:03}000") };
    let time = format!("{hour:02}:{minute:02}:{second:02}{fraction}");
    if (0.0..1.0).contains(&serial) {
        return Cell::Time(time);
    }
    Cell::Date(format!("{year:04}-{month:02}-{day:02} {time}"))
}
