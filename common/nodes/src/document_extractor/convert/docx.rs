//! Word documents: paragraphs and tables in order, a line each, as python-docx 1.2 reads them.

use std::fmt::Write;

use super::archive::{Archive, resolve};
use super::xml::Element;
use super::{Limits, Stop};

pub(super) fn convert(bytes: &[u8], limits: &Limits) -> Result<String, Stop> {
    let mut archive = Archive::open(bytes, limits)?;
    archive.read("[Content_Types].xml")?;
    let rels = Element::parse(&archive.read("_rels/.rels")?, limits)?;
    let main = rels
        .all("Relationship")
        .find(|rel| rel.attribute("Type").is_some_and(|kind| kind.ends_with("/officeDocument")))
        .and_then(|rel| rel.attribute("Target"))
        .ok_or_else(|| Stop::fault("the file names no main document"))?;
    let document = Element::parse(&archive.read(&resolve("", main))?, limits)?;
    let body = document.child("body").ok_or_else(|| Stop::fault("the document has no body"))?;
    let mut items = Vec::new();
    for block in body.elements() {
        match &*block.name {
            "p" => items.push(paragraph(block)),
            "tbl" => items.extend(table(block, limits)?),
            _ => {}
        }
    }
    Ok(items.join("\n"))
}

/// The text of its runs, those of links included.
fn paragraph(paragraph: &Element) -> String {
    let mut text = String::new();
    for child in paragraph.elements() {
        match &*child.name {
            "r" => run(child, &mut text),
            "hyperlink" => child.all("r").for_each(|child| run(child, &mut text)),
            _ => {}
        }
    }
    text
}

fn run(run: &Element, text: &mut String) {
    for child in run.elements() {
        match &*child.name {
            "t" => text.push_str(&child.text()),
            "tab" | "ptab" => text.push('\t'),
            "cr" => text.push('\n'),
            "br" if matches!(child.attribute("type"), None | Some("textWrapping")) => {
                text.push('\n');
            }
            "noBreakHyphen" => text.push('-'),
            _ => {}
        }
    }
}

/// A row: each cell's text with the columns of the grid that it covers.
type Row = Vec<(usize, usize, String)>;

/// A Markdown table; None if it is empty, or merges cells with nothing.
fn table(table: &Element, limits: &Limits) -> Result<Option<String>, Stop> {
    let mut rows: Vec<Row> = Vec::new();
    let (mut cells, mut bytes) = (0usize, 0usize);
    for source in table.all("tr") {
        let Some(row) = row(source, rows.last()) else { return Ok(None) };
        cells += row.iter().map(|(_, span, _)| span).sum::<usize>();
        // a cell that goes on below is repeated in every row
        bytes += row.iter().map(|(_, span, text)| span * text.len()).sum::<usize>();
        if bytes > limits.text_bytes {
            return Err(Stop::Limit("bytes of text", limits.text_bytes));
        }
        if cells > limits.parts {
            return Err(Stop::Limit("cells of a table", limits.parts));
        }
        rows.push(row);
    }
    let filled = |text: &str| !text.trim_matches(super::properties::is_space).is_empty();
    if !rows.iter().flatten().any(|(_, _, text)| filled(text)) {
        return Ok(None);
    }
    let mut out = String::new();
    for (at, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row
            .iter()
            .flat_map(|(_, span, text)| std::iter::repeat_n(text.replace('\n', "<br>"), *span))
            .collect();
        // writing to a String does not fail
        let _ = writeln!(out, "| {} |", cells.join(" | "));
        if at == 0 {
            let _ = writeln!(out, "| {} |", vec!["---"; cells.len()].join(" | "));
        }
        if out.len() > limits.text_bytes {
            return Err(Stop::Limit("bytes of text", limits.text_bytes));
        }
    }
    Ok(Some(out))
}

/// The widest table that Word makes has 63 columns.
const MOST_COLUMNS: usize = 1000;

/// None if a cell continues one above it and there is none.
fn row(source: &Element, above: Option<&Row>) -> Option<Row> {
    let number = |element: Option<&Element>, default: usize| {
        let value = element.and_then(|element| element.attribute("val"));
        value.and_then(|value| value.parse().ok()).unwrap_or(default).min(MOST_COLUMNS)
    };
    let before = source.child("trPr").and_then(|properties| properties.child("gridBefore"));
    let mut column = number(before, 0);
    let mut row = Row::new();
    for cell in source.all("tc") {
        let properties = cell.child("tcPr");
        let property = |name| properties.and_then(|properties| properties.child(name));
        let span = number(property("gridSpan"), 1);
        let continues = property("vMerge")
            .is_some_and(|merge| merge.attribute("val").is_none_or(|value| value == "continue"));
        if continues {
            let (_, above_span, text) = above?.iter().find(|(at, _, _)| *at == column)?;
            row.push((column, *above_span, text.clone()));
        } else {
            let paragraphs: Vec<String> = cell.all("p").map(paragraph).collect();
            row.push((column, span, paragraphs.join("\n")));
        }
        column += span;
    }
    Some(row)
}
