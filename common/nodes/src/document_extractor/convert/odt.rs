//! `OpenDocument` texts, as odfdo 3.27 formats them: titles without a line break, paragraphs with
//! an empty line after them, tables a cell a line.

use std::fmt::Write;

use super::archive::Archive;
use super::properties::is_space;
use super::xml::{Element, Node};
use super::{Limits, Stop};

pub(super) fn convert(bytes: &[u8], limits: &Limits) -> Result<String, Stop> {
    let unknown = "Document format not managed by odfdo: <class '_io.BytesIO'>";
    let mut archive = match Archive::open(bytes, limits) {
        Err(Stop::Fault(_)) => return Err(Stop::fault(unknown)),
        archive => archive?,
    };
    if !archive.has("content.xml") {
        return Err(Stop::fault(unknown));
    }
    let content = Element::parse(&archive.read("content.xml")?, limits)?;
    let body = content.child("body").and_then(|body| body.child("text"));
    let body = body.ok_or_else(|| Stop::fault("the document has no text"))?;
    let mut notes = Notes { left: limits.parts, limits: *limits, ..Notes::default() };
    let mut out = String::new();
    for child in body.elements() {
        out.push_str(&block(child, &mut notes)?);
        notes.write(&mut out);
        if out.len() > limits.text_bytes {
            return Err(Stop::Limit("bytes of text", limits.text_bytes));
        }
    }
    if !notes.end.is_empty() {
        out.push_str("\n========\n");
        for (citation, text) in &notes.end {
            // writing to a String does not fail
            let _ = writeln!(out, "({citation}) {text}");
        }
    }
    Ok(out.trim_matches(is_space).to_owned())
}

/// What is said elsewhere than where it stands.
#[derive(Default)]
struct Notes {
    foot: Vec<(String, String)>,
    end: Vec<(String, String)>,
    annotations: Vec<String>,
    /// Cells that may still be written.
    left: usize,
    limits: Limits,
}

impl Notes {
    /// Writes those that follow their block.
    fn write(&mut self, out: &mut String) {
        if !self.foot.is_empty() {
            out.push_str("----\n");
            for (citation, text) in self.foot.drain(..) {
                let _ = writeln!(out, "[{citation}] {text}");
            }
            out.push('\n');
        }
        if !self.annotations.is_empty() {
            out.push_str("----\n");
            for text in self.annotations.drain(..) {
                let _ = writeln!(out, "[*] {text}");
            }
        }
    }

    fn cell(&mut self) -> Result<(), Stop> {
        self.left =
            self.left.checked_sub(1).ok_or(Stop::Limit("cells of a table", self.limits.parts))?;
        Ok(())
    }
}

fn blocks(parent: &Element, notes: &mut Notes) -> Result<String, Stop> {
    let mut out = String::new();
    for child in parent.elements() {
        out.push_str(&block(child, notes)?);
    }
    Ok(out)
}

fn block(element: &Element, notes: &mut Notes) -> Result<String, Stop> {
    match &*element.name {
        "p" => Ok(inline(element, notes)? + "\n\n"),
        "h" => {
            let title = inline(element, notes)?;
            Ok(title.split(is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "))
        }
        "list" => list(element, notes),
        "table" => table(element, notes),
        "frame" => frame(element, notes),
        "table-of-content" => contents(element, notes),
        "section" | "g" | "custom-shape" | "rect" | "circle" | "ellipse" | "line" | "connector" => {
            Ok(blocks(element, notes)? + "\n")
        }
        _ => Ok(String::new()),
    }
}

/// Text with what stands in it. `<text:s>` is nothing, as in odfdo.
fn inline(element: &Element, notes: &mut Notes) -> Result<String, Stop> {
    let mut out = String::new();
    for child in &element.children {
        let child = match child {
            Node::Text(text) => {
                out.push_str(text);
                continue;
            }
            Node::Element(child) => child,
        };
        match &*child.name {
            "a" | "p" | "span" => out.push_str(&inline(child, notes)?),
            "tab" => out.push('\t'),
            "line-break" => out.push('\n'),
            "note" => note(child, notes, &mut out),
            "annotation" => {
                notes.annotations.push(paragraphs(child));
                out.push_str("[*]");
            }
            _ => out.push_str(&block(child, notes)?),
        }
    }
    Ok(out)
}

fn note(note: &Element, notes: &mut Notes, out: &mut String) {
    let foot = note.attribute("note-class") == Some("footnote");
    let kept = if foot { &mut notes.foot } else { &mut notes.end };
    let citation = note.child("note-citation").map(Element::text);
    let citation = citation.filter(|text| !text.is_empty());
    let citation = citation.unwrap_or_else(|| kept.len().to_string());
    let text = note.child("note-body").map(paragraphs).unwrap_or_default();
    let _ = if foot { write!(out, "[{citation}]") } else { write!(out, "({citation})") };
    kept.push((citation, text));
}

fn paragraphs(parent: &Element) -> String {
    let all: Vec<String> = parent.all("p").map(all_text).collect();
    all.join("\n")
}

fn all_text(element: &Element) -> String {
    let mut out = String::new();
    for child in &element.children {
        match child {
            Node::Text(text) => out.push_str(text),
            Node::Element(child) => out.push_str(&all_text(child)),
        }
    }
    out
}

fn list(list: &Element, notes: &mut Notes) -> Result<String, Stop> {
    let mut out = String::new();
    if let Some(header) = list.child("list-header") {
        let text = blocks(header, notes)?;
        let _ = writeln!(out, "  {}", indented(&text));
    }
    for item in list.all("list-item") {
        let mut text = String::new();
        for child in item.elements() {
            let part = block(child, notes)?;
            if child.is("h") {
                // a title in a list is all that is left of it
                return Ok(part);
            }
            text.push_str(&part);
        }
        let _ = writeln!(out, "- {}", indented(&text));
    }
    Ok(out)
}

fn indented(text: &str) -> String {
    text.trim_matches('\n').replace('\n', "\n  ")
}

fn frame(frame: &Element, notes: &mut Notes) -> Result<String, Stop> {
    let mut out = String::new();
    for child in frame.elements() {
        match &*child.name {
            "image" => {
                let _ = writeln!(out, "[Image {}]", child.attribute("href").unwrap_or("None"));
            }
            "text-box" => {
                let text = format!("  {}", blocks(child, notes)?).replace('\n', "\n  ");
                out.push_str(text.trim_end_matches(' '));
            }
            "title" | "desc" => {
                let _ = writeln!(out, "{}", child.text());
            }
            _ => out.push_str(&block(child, notes)?),
        }
    }
    out.push('\n');
    Ok(out)
}

fn contents(contents: &Element, notes: &mut Notes) -> Result<String, Stop> {
    let mut lines = Vec::new();
    for child in contents.child("index-body").into_iter().flat_map(Element::elements) {
        if child.is("index-title") {
            for title in child.elements() {
                lines.push(block(title, notes)?.trim_matches(is_space).to_owned());
            }
        } else {
            lines.push(block(child, notes)?.trim_matches(is_space).to_owned());
        }
    }
    lines.retain(|line| !line.is_empty());
    Ok(lines.join("\n"))
}

fn table(table: &Element, notes: &mut Notes) -> Result<String, Stop> {
    let mut out = String::new();
    rows(table, notes, &mut out)?;
    Ok(out)
}

fn rows(parent: &Element, notes: &mut Notes, out: &mut String) -> Result<(), Stop> {
    for child in parent.elements() {
        match &*child.name {
            "table-row" => {
                for _ in 0..repeated(child, "number-rows-repeated") {
                    row(child, notes, out)?;
                }
            }
            "table-header-rows" | "table-rows" | "table-row-group" => rows(child, notes, out)?,
            _ => {}
        }
    }
    Ok(())
}

fn row(row: &Element, notes: &mut Notes, out: &mut String) -> Result<(), Stop> {
    notes.cell()?;
    for cell in row.elements() {
        if !matches!(&*cell.name, "table-cell" | "covered-table-cell") {
            continue;
        }
        let value = match cell.attribute("value-type") {
            Some("float" | "percentage" | "currency") => cell.attribute("value"),
            Some("boolean") => match cell.attribute("boolean-value") {
                Some("true") => Some("True"),
                value => value.and(Some("False")),
            },
            Some("string") => cell.attribute("string-value"),
            _ => None,
        };
        let text = match value {
            Some(value) => value.to_owned(),
            None => blocks(cell, notes)?,
        };
        for _ in 0..repeated(cell, "number-columns-repeated") {
            notes.cell()?;
            out.push_str(&text);
            out.push('\n');
            if out.len() > notes.limits.text_bytes {
                return Err(Stop::Limit("bytes of text", notes.limits.text_bytes));
            }
        }
    }
    out.push('\n');
    Ok(())
}

fn repeated(element: &Element, attribute: &str) -> usize {
    element.attribute(attribute).and_then(|times| times.parse().ok()).unwrap_or(1)
}
