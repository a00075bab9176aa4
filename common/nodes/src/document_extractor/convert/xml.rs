//! XML as a tree, with names without their prefixes. Entities of the document's own are refused.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::{Limits, Stop};

/// An element.
#[derive(Debug, Default)]
pub(super) struct Element {
    /// Its name without prefix.
    pub(super) name: Box<str>,
    /// Attributes by name without prefix.
    pub(super) attributes: Vec<(Box<str>, Box<str>)>,
    pub(super) children: Vec<Node>,
}

#[derive(Debug)]
pub(super) enum Node {
    Element(Element),
    Text(String),
}

impl Element {
    /// The root of a document.
    pub(super) fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, Stop> {
        let text = super::decode::marked(bytes);
        let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
        let mut open: Vec<Self> = vec![Self::default()];
        let mut parts = 0usize;
        loop {
            parts += 1;
            if parts > limits.parts {
                return Err(Stop::Limit("parts of XML", limits.parts));
            }
            match reader.read_event().map_err(Stop::fault)? {
                Event::Start(start) => {
                    if open.len() > limits.depth {
                        return Err(Stop::Limit("levels of XML", limits.depth));
                    }
                    open.push(Self::start(&start)?);
                }
                Event::Empty(start) => add(&mut open, Node::Element(Self::start(&start)?)),
                Event::End(_) => {
                    if let Some(done) = open.pop() {
                        add(&mut open, Node::Element(done));
                    }
                }
                Event::Text(text) => add_text(&mut open, &text.xml10_content()),
                Event::CData(text) => add_text(&mut open, &text.xml10_content()),
                Event::GeneralRef(reference) => {
                    let text = match reference.resolve_char_ref().map_err(Stop::fault)? {
                        Some(character) => character.to_string(),
                        None => predefined(&reference.xml10_content())?.to_owned(),
                    };
                    add_text(&mut open, &text);
                }
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
                Event::Eof => break,
            }
        }
        let mut document = open.swap_remove(0);
        let root = document.children.iter_mut().find_map(|child| match child {
            Node::Element(element) => Some(std::mem::take(element)),
            Node::Text(_) => None,
        });
        root.ok_or_else(|| Stop::fault("no element found in XML"))
    }

    fn start(start: &BytesStart<'_>) -> Result<Self, Stop> {
        let mut element = Self { name: start.local_name().as_ref().into(), ..Self::default() };
        for attribute in start.attributes() {
            let attribute = attribute.map_err(Stop::fault)?;
            let value = attribute.normalized_value(XmlVersion::Explicit1_0).map_err(Stop::fault)?;
            element.attributes.push((attribute.key.local_name().as_ref().into(), (*value).into()));
        }
        Ok(element)
    }

    /// Child elements in order.
    pub(super) fn elements(&self) -> impl DoubleEndedIterator<Item = &Self> {
        self.children.iter().filter_map(|child| match child {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// Child elements of a name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.elements().filter(move |child| child.is(name))
    }

    /// The first child element of a name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.elements().find(|child| child.is(name))
    }

    /// The first element of a name below, in the document's order.
    pub(super) fn find(&self, name: &str) -> Option<&Self> {
        self.elements()
            .find_map(|child| if child.is(name) { Some(child) } else { child.find(name) })
    }

    pub(super) fn is(&self, name: &str) -> bool {
        &*self.name == name
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| &**key == name).map(|(_, value)| &**value)
    }

    /// The text directly in it.
    pub(super) fn text(&self) -> String {
        self.children
            .iter()
            .filter_map(|child| match child {
                Node::Text(text) => Some(text.as_str()),
                Node::Element(_) => None,
            })
            .collect()
    }
}

fn add(open: &mut [Element], node: Node) {
    if let Some(parent) = open.last_mut() {
        parent.children.push(node);
    }
}

fn add_text(open: &mut [Element], text: &str) {
    let Some(parent) = open.last_mut() else { return };
    if let Some(Node::Text(before)) = parent.children.last_mut() {
        before.push_str(text);
    } else {
        parent.children.push(Node::Text(text.to_owned()));
    }
}

fn predefined(name: &str) -> Result<&'static str, Stop> {
    quick_xml::escape::resolve_predefined_entity(name)
        .ok_or_else(|| Stop::Fault(format!("undefined entity &{name};")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_without_prefixes() {
        let text = b"<?xml version='1.0'?><w:a x:k='1 &amp; 2'>t&lt;&#65;<![CDATA[<]]><b/>u</w:a>";
        let root = Element::parse(text, &Limits::default()).unwrap();
        assert_eq!(&*root.name, "a");
        assert_eq!(root.attribute("k"), Some("1 & 2"));
        assert_eq!(root.text(), "t<A<u");
        assert!(root.find("b").is_some());
    }

    #[test]
    fn bombs_and_broken_documents_are_refused() {
        let limits = Limits::default();
        let bomb = b"<!DOCTYPE a [<!ENTITY b 'x'>]><a>&b;</a>";
        assert!(matches!(Element::parse(bomb, &limits), Err(Stop::Fault(_))));
        let deep = "<a>".repeat(1000);
        assert!(matches!(Element::parse(deep.as_bytes(), &limits), Err(Stop::Limit(..))));
        for broken in ["", "<a>", "<a></b>", "text"] {
            assert!(matches!(Element::parse(broken.as_bytes(), &limits), Err(Stop::Fault(_))));
        }
    }
}
