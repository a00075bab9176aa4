//! Mails: the text of the body, or of its HTML, and of attached texts; as `unstructured` takes
//! them apart. Other attachments are left out.

use mail_parser::{Message, MessageParser, MimeHeaders, PartType};

use super::properties::is_space;
use super::{Limits, Stop, bullets, html};

pub(super) fn convert(bytes: &[u8], limits: &Limits) -> Result<String, Stop> {
    let message = MessageParser::default().parse(bytes);
    let message = message.ok_or_else(|| Stop::fault("the file is no mail"))?;
    let mut lines = Vec::new();
    mail(&message, limits, 0, &mut lines)?;
    Ok(lines.join("\n"))
}

/// Mails within mails.
const DEEPEST: usize = 8;

fn mail(
    message: &Message<'_>,
    limits: &Limits,
    depth: usize,
    lines: &mut Vec<String>,
) -> Result<(), Stop> {
    if depth > DEEPEST {
        return Err(Stop::Limit("mails within each other", DEEPEST));
    }
    if message.parts.len() > limits.parts {
        return Err(Stop::Limit("parts of a mail", limits.parts));
    }
    let is_html =
        |at: &&u32| message.part(**at).is_some_and(|part| matches!(part.body, PartType::Html(_)));
    // HTML where there is any, else text
    let body = message.html_body.iter().find(is_html).or_else(|| message.text_body.first());
    if let Some(part) = body.and_then(|at| message.part(*at)) {
        text(&part.body, lines);
    }
    for part in message.attachments() {
        if let PartType::Message(inner) = &part.body {
            mail(inner, limits, depth + 1, lines)?;
        } else if part.attachment_name().is_some() || part.content_disposition().is_some() {
            text(&part.body, lines);
        }
    }
    Ok(())
}

fn text(body: &PartType<'_>, lines: &mut Vec<String>) {
    match body {
        PartType::Html(text) => lines.extend(html::lines(text)),
        PartType::Text(text) => lines.extend(paragraphs(&text.replace("\r\n", "\n"))),
        PartType::Binary(_)
        | PartType::InlineBinary(_)
        | PartType::Message(_)
        | PartType::Multipart(_) => {}
    }
}

/// Of how many lines one must be empty for empty lines to part paragraphs.
const ONE_IN: usize = 10;
/// As many lines are looked at.
const LOOKED_AT: usize = 2000;
/// A paragraph of lines with fewer words is none.
const FEW_WORDS: usize = 5;

/// Plain text as paragraphs: parted by empty lines if there are enough, else a line each.
fn paragraphs(text: &str) -> Vec<String> {
    let blank = |line: &&str| line.trim_matches(is_space).is_empty();
    let looked_at = text.split_inclusive('\n').chain(text.ends_with('\n').then_some(""));
    let (mut all, mut empty) = (0usize, 0usize);
    for line in looked_at.take(LOOKED_AT) {
        all += 1;
        empty += usize::from(blank(&line));
    }
    let mut out = Vec::new();
    let mut block: Vec<&str> = Vec::new();
    for line in text.lines().chain([""]) {
        if !blank(&line) {
            block.push(line.trim_matches(is_space));
        }
        if blank(&line) || empty * ONE_IN < all {
            out.extend(joined(&std::mem::take(&mut block)));
        }
    }
    out
}

/// The lines of a paragraph in one. Items of a list stay apart, and so do short lines.
fn joined(lines: &[&str]) -> Vec<String> {
    let mut parts: Vec<Vec<&str>> = Vec::new();
    let short = |line: &&str| line.split(' ').count() < FEW_WORDS;
    let items = lines.iter().any(|line| bullets::item(line).is_some());
    let apart = !items && lines.iter().all(short);
    for line in lines {
        let item = bullets::item(line);
        match parts.last_mut() {
            Some(part) if !apart && item.is_none() => part.push(line),
            _ => parts.push(vec![item.unwrap_or(line)]),
        }
    }
    let joined = parts.iter().map(|part| part.join(" "));
    joined.filter(|text| !text.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::paragraphs;

    #[test]
    fn lines_are_joined_where_a_paragraph_is_meant() {
        let text = "Dear Bob,\n\nthis is a longer line that goes\non in the next.\n\n* a\n* b b\n\nBye\nAnn";
        let expected = [
            "Dear Bob,",
            "this is a longer line that goes on in the next.",
            "a",
            "b b",
            "Bye",
            "Ann",
        ];
        assert_eq!(paragraphs(text), expected);
        assert_eq!(
            paragraphs("one longer line of some words\ntwo"),
            ["one longer line of some words", "two"]
        );
        assert_eq!(paragraphs(""), [""; 0]);
    }
}
