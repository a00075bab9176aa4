//! E-books: the chapters in the order of the spine, each as the HTML that it is.

use super::archive::{Archive, resolve};
use super::html;
use super::xml::Element;
use super::{Limits, Stop, decode};

pub(super) fn convert(bytes: &[u8], limits: &Limits) -> Result<String, Stop> {
    let mut archive = Archive::open(bytes, limits)?;
    let container = Element::parse(&archive.read("META-INF/container.xml")?, limits)?;
    let package = container.find("rootfile").and_then(|root| root.attribute("full-path"));
    let package = package.filter(|path| !path.is_empty());
    let package = path(package.ok_or_else(|| Stop::fault("EPUB package path is missing"))?);
    let package = package.trim_start_matches('/');
    let document = Element::parse(&archive.read(package)?, limits)?;
    let items: Vec<&Element> = match document.find("manifest") {
        Some(manifest) => manifest.all("item").collect(),
        None => Vec::new(),
    };
    let href = |id: &str| {
        // the last of equal ids counts
        let item = items.iter().rev().find(|item| item.attribute("id") == Some(id))?;
        item.attribute("href")
    };
    let mut text = String::new();
    let spine = document.find("spine");
    for reference in spine.into_iter().flat_map(|spine| spine.all("itemref")) {
        let Some(href) = href(reference.attribute("idref").unwrap_or_default()) else { continue };
        let chapter = archive.read(&resolve(package, &path(href)))?;
        for line in html::lines(&decode::marked(&chapter)) {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&line);
        }
        if text.len() > limits.text_bytes {
            return Err(Stop::Limit("bytes of text", limits.text_bytes));
        }
    }
    Ok(text)
}

/// The path of an address, with its escapes resolved.
fn path(address: &str) -> String {
    let end = address.find(['?', '#']).unwrap_or(address.len());
    let bytes = address.as_bytes();
    let mut out = Vec::with_capacity(end);
    let mut at = 0;
    while at < end {
        let escaped = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes.get(at), escaped) {
            (Some(b'%'), Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (Some(byte), _) => {
                out.push(*byte);
                at += 1;
            }
            (None, _) => break,
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
