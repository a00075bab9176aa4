//! HTML as lines of text, a line a block, as `unstructured` takes documents apart. One pass over
//! the tags, no tree: what is open is only counted.

use super::bullets;

/// The blocks of a document as text.
pub(super) fn lines(html: &str) -> Vec<String> {
    let only_main = Tokens { rest: html }
        .any(|token| matches!(token, Token::Open { name, .. } if name == "main"));
    let mut walker = Walker { inside: !only_main, ..Walker::default() };
    let mut tokens = Tokens { rest: html };
    while let Some(token) = tokens.next() {
        match token {
            Token::Text(text) => walker.text(text),
            Token::Open { name, attributes, closed } => {
                if matches!(name.as_str(), "script" | "style" | "title" | "textarea") && !closed {
                    // what is in there is no markup
                    tokens.skip_to_end_of(&name);
                } else {
                    walker.open(&name, attributes, closed);
                }
            }
            Token::Close(name) => walker.close(&name),
        }
    }
    walker.flush();
    walker.lines
}

enum Token<'h> {
    Text(&'h str),
    Open { name: String, attributes: &'h str, closed: bool },
    Close(String),
}

struct Tokens<'h> {
    rest: &'h str,
}

impl<'h> Tokens<'h> {
    /// Up to the tag that closes the raw text of an element, and past it.
    fn skip_to_end_of(&mut self, name: &str) {
        let mut from = 0;
        while let Some(at) = self.rest.get(from..).and_then(|rest| rest.find("</")) {
            let tag = self.rest.get(from + at + 2..).unwrap_or_default();
            if tag.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)) {
                self.rest = tag.find('>').and_then(|end| tag.get(end + 1..)).unwrap_or_default();
                return;
            }
            from += at + 2;
        }
        self.rest = "";
    }

    fn tag(&mut self, after: &'h str) -> Token<'h> {
        // a `>` within quotes does not end a tag
        let mut quote = None;
        let end = after.find(|c| match quote {
            Some(open) if c == open => {
                quote = None;
                false
            }
            Some(_) => false,
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                false
            }
            None => c == '>',
        });
        let end = end.or_else(|| after.find('>')).unwrap_or(after.len());
        let (tag, rest) = after.split_at(end);
        self.rest = rest.get(1..).unwrap_or_default();
        if let Some(name) = tag.strip_prefix('/') {
            return Token::Close(name.trim().to_ascii_lowercase());
        }
        let closed = tag.ends_with('/');
        let tag = tag.trim_end_matches('/');
        let (name, attributes) = tag.split_once(|c: char| c.is_whitespace()).unwrap_or((tag, ""));
        Token::Open { name: name.to_ascii_lowercase(), attributes, closed }
    }
}

impl<'h> Iterator for Tokens<'h> {
    type Item = Token<'h>;

    fn next(&mut self) -> Option<Token<'h>> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let Some(after) = self.rest.strip_prefix('<') else {
                let end = self.rest.find('<').unwrap_or(self.rest.len());
                let (text, rest) = self.rest.split_at(end);
                self.rest = rest;
                return Some(Token::Text(text));
            };
            let skipped = if let Some(comment) = after.strip_prefix("!--") {
                comment.split_once("-->").map_or("", |(_, rest)| rest)
            } else if after.starts_with(['!', '?']) {
                after.split_once('>').map_or("", |(_, rest)| rest)
            } else if after.starts_with(|c: char| c == '/' || c.is_ascii_alphabetic()) {
                return Some(self.tag(after));
            } else {
                let (text, rest) = self.rest.split_at(1);
                self.rest = rest;
                return Some(Token::Text(text));
            };
            self.rest = skipped;
        }
    }
}

/// Elements that stand for themselves.
const BLOCKS: &[&str] = &[
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "center",
    "div",
    "footer",
    "header",
    "hgroup",
    "main",
    "section",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "p",
    "pre",
    "dl",
    "ol",
    "ul",
    "dd",
    "dt",
    "li",
    "html",
    "table",
];

/// Blocks whose text stays even if it is a single character.
const TITLED: &[&str] = &["h1", "h2", "h3", "h4", "h5", "h6", "dd", "li", "pre"];

/// Elements that end a paragraph and are left out.
const REMOVED_BLOCKS: &[&str] =
    &["details", "figure", "hr", "nav", "template", "form", "input", "summary"];

/// Elements that are left out within a paragraph.
const REMOVED: &[&str] = &[
    "button",
    "label",
    "audio",
    "canvas",
    "datalist",
    "dialog",
    "head",
    "iframe",
    "ix:header",
    "noembed",
    "noframes",
    "object",
    "select",
    "svg",
    "video",
    "xml",
    "math",
    "del",
    "noscript",
];

/// Elements without an end.
const VOID: &[&str] = &["hr", "input", "img", "br", "link", "meta", "wbr", "source", "col", "area"];

#[derive(Default)]
struct Walker {
    lines: Vec<String>,
    /// The text of the block that is open.
    text: String,
    /// Whether that block is a title, an item or the like.
    titled: bool,
    /// Within `<pre>`.
    verbatim: bool,
    /// Whether there is no `<main>`, or this is it.
    inside: bool,
    /// The element that is being left out, and how often it is open.
    removed: Option<(String, usize)>,
    table: Option<Table>,
}

/// A table becomes one line.
#[derive(Default)]
struct Table {
    /// How many tables are open.
    open: usize,
    captions: Vec<String>,
    rows: Vec<String>,
    words: Vec<String>,
    in_cell: bool,
    in_caption: bool,
}

impl Walker {
    fn text(&mut self, text: &str) {
        if self.removed.is_some() || !self.inside {
            return;
        }
        let text = unescape(text);
        let Some(table) = &mut self.table else {
            self.text.push_str(&text);
            return;
        };
        let word = text.trim();
        if (table.in_cell || table.in_caption) && !word.is_empty() {
            table.words.push(word.to_owned());
        }
    }

    fn open(&mut self, name: &str, attributes: &str, closed: bool) {
        if let Some((removed, open)) = &mut self.removed {
            if removed == name && !closed {
                *open += 1;
            }
            return;
        }
        if name == "main" {
            self.inside = true;
        }
        let void = VOID.contains(&name);
        if self.table.is_some() {
            self.open_in_table(name, closed);
        } else if name == "br" {
            self.text.push('\n');
        } else if name == "img" {
            self.image(attributes);
        } else if REMOVED.contains(&name) || REMOVED_BLOCKS.contains(&name) {
            if REMOVED_BLOCKS.contains(&name) {
                self.flush();
            }
            if !void && !closed {
                self.removed = Some((name.to_owned(), 1));
            }
        } else if BLOCKS.contains(&name) {
            // a paragraph that is all of an item counts as the item
            let adopted = name == "p" && self.titled && self.text.trim().is_empty();
            self.flush();
            self.titled = adopted || TITLED.contains(&name);
            self.verbatim = name == "pre";
            if name == "table" {
                self.table = Some(Table { open: 1, ..Table::default() });
            }
        }
    }

    fn open_in_table(&mut self, name: &str, closed: bool) {
        let Some(table) = &mut self.table else { return };
        match name {
            "table" if !closed => table.open += 1,
            _ if table.open > 1 => {}
            "td" | "th" => table.in_cell = true,
            "caption" => table.in_caption = true,
            "tr" => table.words.clear(),
            "del" | "noscript" if !closed => self.removed = Some((name.to_owned(), 1)),
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        if let Some((removed, open)) = &mut self.removed {
            if removed == name {
                *open -= 1;
                if *open == 0 {
                    self.removed = None;
                }
            }
            return;
        }
        if self.table.is_some() {
            self.close_in_table(name);
        } else if BLOCKS.contains(&name) {
            self.flush();
        }
        if name == "main" {
            self.inside = false;
        }
    }

    fn close_in_table(&mut self, name: &str) {
        let Some(table) = &mut self.table else { return };
        match name {
            "table" if table.open > 1 => table.open -= 1,
            "table" => self.finish_table(),
            _ if table.open > 1 => {}
            "td" | "th" => table.in_cell = false,
            "caption" => {
                table.in_caption = false;
                table.captions.push(std::mem::take(&mut table.words).join(" "));
            }
            "tr" => {
                table.in_cell = false;
                table.rows.push(std::mem::take(&mut table.words).join(" "));
            }
            _ => {}
        }
    }

    fn finish_table(&mut self) {
        let Some(mut table) = self.table.take() else { return };
        if !table.words.is_empty() {
            table.rows.push(table.words.join(" "));
        }
        if table.rows.iter().all(String::is_empty) {
            return;
        }
        table.captions.retain(|caption| !caption.is_empty());
        table.captions.append(&mut table.rows);
        self.lines.push(table.captions.join(" ").trim().to_owned());
    }

    /// An image is a line with its other text, if it is an image at all.
    fn image(&mut self, attributes: &str) {
        self.flush();
        let source = attribute(attributes, "data-src").or_else(|| attribute(attributes, "src"));
        if source.is_some() && self.inside {
            self.lines.push(attribute(attributes, "alt").unwrap_or_default());
        }
    }

    /// Ends the block that is open.
    fn flush(&mut self) {
        if self.table.is_some() {
            self.finish_table();
        }
        let text = std::mem::take(&mut self.text);
        let titled = std::mem::take(&mut self.titled);
        if std::mem::take(&mut self.verbatim) {
            let text = text.strip_prefix('\n').unwrap_or(&text);
            let text = text.strip_suffix('\n').unwrap_or(text);
            if !text.is_empty() {
                self.lines.push(text.to_owned());
            }
            return;
        }
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if titled {
            if !text.is_empty() {
                self.lines.push(text);
            }
            return;
        }
        if let Some(item) = bullets::item(&text) {
            if !item.is_empty() {
                self.lines.push(item.to_owned());
            }
        } else if text.chars().nth(1).is_some() {
            self.lines.push(text);
        }
    }
}

/// The value of an attribute; None if it is blank.
fn attribute(attributes: &str, name: &str) -> Option<String> {
    let mut rest = attributes.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let after = after.trim_start();
        let Some(value) = after.strip_prefix('=').map(str::trim_start) else {
            // the key was empty, or has no value
            rest = if end == 0 { after.get(1..).unwrap_or_default() } else { after };
            continue;
        };
        let (value, after) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                value.get(1..).unwrap_or_default().split_once(quote).unwrap_or((value, ""))
            }
            _ => value.split_once(|c: char| c.is_whitespace()).unwrap_or((value, "")),
        };
        if key.eq_ignore_ascii_case(name) {
            let value = unescape(value).trim().to_owned();
            return (!value.is_empty()).then_some(value);
        }
        rest = after.trim_start();
    }
    None
}

/// Text with its references resolved.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        let (before, reference) = rest.split_at(at);
        out.push_str(before);
        let name = reference.get(1..).unwrap_or_default();
        let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '#').unwrap_or(name.len());
        let (name, after) = name.split_at(end);
        if let Some(text) = resolve(name) {
            out.push_str(&text);
            rest = after.strip_prefix(';').unwrap_or(after);
        } else {
            out.push('&');
            rest = reference.get(1..).unwrap_or_default();
        }
    }
    out.push_str(rest);
    out
}

fn resolve(name: &str) -> Option<String> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => number.parse(),
        };
        return code.ok().and_then(char::from_u32).map(String::from);
    }
    if name.is_empty() || name.len() > 32 {
        return None;
    }
    named(name)
}

/// A reference by its name; what is not known stays as it is.
#[cfg(feature = "documents")]
fn named(name: &str) -> Option<String> {
    let mut out = String::new();
    mail_parser::decoders::html::add_html_token(&mut out, format!("&{name};").as_bytes(), false);
    (out.chars().nth(1).is_none()).then_some(out)
}

/// A reference by its name, of those that pages have; what is not known stays as it is.
#[cfg(not(feature = "documents"))]
fn named(name: &str) -> Option<String> {
    let known = match name {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        "nbsp" => "\u{a0}",
        "ndash" => "\u{2013}",
        "mdash" => "\u{2014}",
        "hellip" => "\u{2026}",
        "lsquo" => "\u{2018}",
        "rsquo" => "\u{2019}",
        "ldquo" => "\u{201c}",
        "rdquo" => "\u{201d}",
        "laquo" => "\u{ab}",
        "raquo" => "\u{bb}",
        "bull" => "\u{2022}",
        "middot" => "\u{b7}",
        "copy" => "\u{a9}",
        "reg" => "\u{ae}",
        "trade" => "\u{2122}",
        "euro" => "\u{20ac}",
        _ => return None,
    };
    Some(known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_careless_html() {
        let text = |html: &str| lines(html).join("|");
        assert_eq!(text("<p>one<p>two <b>bold</b><div>three</p>four"), "one|two bold|three|four");
        assert_eq!(text("a < b & c &unknown; &lt;d&gt; &#x41;"), "a < b & c &unknown; <d> A");
        assert_eq!(text("<a title='>'>link</a> x<!-- no --> y"), "link x y");
        assert_eq!(text("<body>out<main><p>in it</p></main>out</body>"), "in it");
        assert_eq!(text("<script>if (a<b) {}</scripts</script>after"), "after");
        assert_eq!(text("<img alt=x><img src=a alt='b c'>"), "b c");
        assert_eq!(text("<table><tr><td>1<table><tr><td>2</table>3</table>end"), "1 2 3|end");
        assert_eq!(text("<"), "");
        assert_eq!(text("<ul><li><p>a</p></li><li>b</li></ul><p>c</p>"), "a|b");
    }
}
