//! Slides: the paragraphs of each shape from top to bottom, tables as their words, an empty line
//! between slides; as `unstructured` reads them.

use super::archive::{Archive, resolve};
use super::properties::is_space;
use super::xml::Element;
use super::{Limits, Stop};

pub(super) fn convert(bytes: &[u8], limits: &Limits) -> Result<String, Stop> {
    let mut archive = Archive::open(bytes, limits)?;
    let main = relationships(&mut archive, "")?
        .into_iter()
        .find(|rel| rel.kind.ends_with("/officeDocument"))
        .ok_or_else(|| Stop::fault("the file names no presentation"))?;
    let presentation = Element::parse(&archive.read(&main.target)?, limits)?;
    let parts = relationships(&mut archive, &main.target)?;
    let mut lines = Vec::new();
    let list = presentation.child("sldIdLst");
    let slides = list.into_iter().flat_map(|list| list.all("sldId"));
    for (at, slide) in slides.enumerate() {
        if at > 0 {
            lines.push(String::new());
        }
        // both `id` and `r:id`: the one that names a part
        let named = |(key, id): &(Box<str>, Box<str>)| {
            parts.iter().find(|part| &**key == "id" && *part.id == **id)
        };
        let part = slide.attributes.iter().find_map(named);
        let part = part.ok_or_else(|| Stop::fault("the file lacks a slide that it names"))?;
        let slide = Element::parse(&archive.read(&part.target)?, limits)?;
        let tree = slide.child("cSld").and_then(|content| content.child("spTree"));
        let mut shapes = Vec::new();
        if let Some(tree) = tree {
            collect(tree, &mut shapes);
        }
        // stable, as Python's is
        shapes.sort_by_key(|shape| position(shape));
        for shape in shapes {
            write(shape, &mut lines);
        }
    }
    Ok(lines.join("\n"))
}

struct Relationship {
    id: String,
    kind: String,
    target: String,
}

/// What a part refers to; the package itself has no name.
fn relationships(archive: &mut Archive<'_>, part: &str) -> Result<Vec<Relationship>, Stop> {
    let (folder, file) = part.rsplit_once('/').unwrap_or(("", part));
    let name = resolve("", &format!("{folder}/_rels/{file}.rels"));
    let limits = *archive.limits();
    let rels = Element::parse(&archive.read(&name)?, &limits)?;
    let of = |rel: &Element, key| rel.attribute(key).unwrap_or_default().to_owned();
    let all = rels.all("Relationship").map(|rel| Relationship {
        id: of(rel, "Id"),
        kind: of(rel, "Type"),
        target: resolve(part, &of(rel, "Target")),
    });
    Ok(all.collect())
}

/// The shapes of a slide, those in groups too.
fn collect<'e>(tree: &'e Element, shapes: &mut Vec<&'e Element>) {
    for child in tree.elements() {
        match &*child.name {
            "grpSp" => collect(child, shapes),
            "sp" | "graphicFrame" => shapes.push(child),
            _ => {}
        }
    }
}

/// Where a shape is: top, then left. 0 if that is left to its layout.
fn position(shape: &Element) -> (i64, i64) {
    let transform = shape
        .child("xfrm")
        .or_else(|| shape.child("spPr").and_then(|properties| properties.child("xfrm")));
    let offset = transform.and_then(|transform| transform.child("off"));
    let number = |key| {
        let value = offset.and_then(|offset| offset.attribute(key));
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    };
    (number("y"), number("x"))
}

fn write(shape: &Element, lines: &mut Vec<String>) {
    if let Some(table) = shape.find("tbl") {
        let rows = table.all("tr").flat_map(|row| row.all("tc"));
        let words: Vec<String> = rows.map(|cell| one_line(&cell_text(cell))).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).filter(|w| !w.is_empty()).collect();
        if !words.is_empty() {
            lines.push(words.join(" "));
        }
        return;
    }
    let (top, left) = position(shape);
    if top != 0 && left != 0 && (top < 0 || left < 0) {
        // it is not on the slide
        return;
    }
    let Some(body) = shape.child("txBody") else { return };
    for text in body.all("p").map(paragraph) {
        if !text.trim_matches(is_space).is_empty() {
            lines.push(text);
        }
    }
}

fn cell_text(cell: &Element) -> String {
    let body = cell.child("txBody");
    let lines: Vec<String> = body.into_iter().flat_map(|b| b.all("p")).map(paragraph).collect();
    lines.join("\n")
}

fn paragraph(paragraph: &Element) -> String {
    let mut text = String::new();
    for child in paragraph.elements() {
        match &*child.name {
            "r" | "fld" => text.extend(child.child("t").map(Element::text)),
            "br" => text.push('\n'),
            _ => {}
        }
    }
    text
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
