//! Dify's provider `webscraper`: a page of the web as text. A workflow chooses the address, so it is
//! checked as every node's is.

use flowmill_services::tools::{Form, ParameterKind, ToolError, ToolErrorKind};

use super::{Given, Told, Written as _, refused, taken};
use crate::context::NodeContext;
use crate::document_extractor::convert::html_lines;
use crate::document_extractor::kind::Kind;
use crate::http_request::client::{Payload, Request, Response};

/// What Dify says that it is.
const USER_AGENT: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, \
                          like Gecko) Chrome/91.0.4472.124 Safari/537.36";

/// What the tool is for, and what it takes.
pub(super) fn describe() -> Told {
    use Form::{Form as Set, Llm};
    use ParameterKind::{Boolean, Text};
    (
        "A tool for scraping webpages. Input should be a URL.",
        vec![
            taken("url", Text, Llm, "URL").must(),
            taken("user_agent", Text, Set, "User Agent"),
            taken("generate_summary", Boolean, Set, "Whether to generate summary").or(false),
        ],
    )
}

pub(super) async fn scrape(given: Given<'_>, context: &NodeContext) -> Result<String, ToolError> {
    let url = given.text("url");
    if url.is_empty() {
        return Ok("Please input url".to_owned());
    }
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(refused("Request URL is missing an 'http://' or 'https://' protocol."));
    }
    let agent = given.text("user_agent");
    let agent = if agent.is_empty() { USER_AGENT } else { &*agent };
    let request = Request {
        headers: vec![("User-Agent".to_owned(), agent.to_owned())],
        payload: Payload::Empty,
        ..Request::get(url)
    };
    let response = context.http.send(request).await.map_err(|error| {
        let kind = match error.class {
            flowmill_engine::error::ErrorClass::Timeout => ToolErrorKind::Timeout,
            flowmill_engine::error::ErrorClass::Transient => ToolErrorKind::Connection,
            _ => ToolErrorKind::Failed,
        };
        ToolError::new(kind, error.message)
    })?;
    if response.status != 200 {
        return Ok(format!("URL returned status code {}.", response.status));
    }
    let limit = context.http.policy().limits.text_bytes;
    if response.cut_off || response.body.len() > limit {
        return Err(ToolError::new(
            ToolErrorKind::TooLarge,
            format!("the page is larger than {limit} bytes"),
        ));
    }
    read(response, context).await
}

async fn read(response: Response, context: &NodeContext) -> Result<String, ToolError> {
    let said = response.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let said = said.map(|(_, value)| value.to_lowercase()).unwrap_or_default();
    let (media_type, parameters) = said.split_once(';').unwrap_or((&said, ""));
    match media_type.trim() {
        "text/html" | "application/xhtml+xml" => {
            let charset = parameters
                .split_once("charset=")
                .map(|(_, name)| name.trim_matches([' ', '"', '\'', ';']));
            Ok(article(&text_of(&response.body, charset)))
        }
        "text/plain" | "text/markdown" | "application/json" => {
            Ok(String::from_utf8_lossy(&response.body).into_owned())
        }
        "application/pdf" => {
            let converted =
                context.documents.convert(Kind::Pdf, response.body, context.timeout).await;
            converted.map_err(|error| refused(error.to_string()))
        }
        other => {
            let shown = if other.is_empty() { "None" } else { other };
            Ok(format!("Unsupported content-type [{shown}] of URL."))
        }
    }
}

/// The text of a page: in the charset that its head names, or the one that it names itself.
fn text_of(body: &[u8], charset: Option<&str>) -> String {
    /// Where a page names its charset.
    const HEAD: usize = 2048;
    let head = String::from_utf8_lossy(body.get(..HEAD).unwrap_or(body)).to_lowercase();
    let own = head.split_once("charset=").map(|(_, name)| {
        let name = name.trim_start_matches(['"', '\'']);
        name.split(|character: char| {
            !character.is_ascii_alphanumeric() && character != '-' && character != '_'
        })
        .next()
        .unwrap_or_default()
        .to_owned()
    });
    let named = charset.map(str::to_owned).or(own);
    let encoding = named.and_then(|name| encoding_rs::Encoding::for_label(name.as_bytes()));
    let (text, _, _) = encoding.unwrap_or(encoding_rs::UTF_8).decode(body);
    text.into_owned()
}

/// A page as Dify says it; nothing if it has no text.
fn article(page: &str) -> String {
    let lines: Vec<String> = html_lines(page);
    let lines: Vec<&str> =
        lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return String::new();
    }
    let title = between(page, "<title", "</title").unwrap_or_default();
    format!("\nTITLE: {title}\nAUTHOR: {}\nTEXT:\n\n{}\n", author(page), lines.join("\n"))
}

/// What stands in the first element that begins so.
fn between(page: &str, open: &str, close: &str) -> Option<String> {
    let small = page.to_ascii_lowercase();
    let from = small.find(open)?;
    let from = from + small[from..].find('>')? + 1;
    let to = from + small[from..].find(close)?;
    let inner = html_lines(page.get(from..to)?).join(" ");
    Some(inner.trim().to_owned())
}

/// Who a page says has written it.
fn author(page: &str) -> String {
    let small = page.to_ascii_lowercase();
    let mut from = 0;
    while let Some(at) = small.get(from..).and_then(|rest| rest.find("<meta")) {
        let at = from + at;
        let end =
            small.get(at..).and_then(|rest| rest.find('>')).map_or(small.len(), |end| at + end);
        let tag = small.get(at..end).unwrap_or_default();
        let is_author = ["name=\"author\"", "name='author'", "name=author"];
        if is_author.iter().any(|name| tag.contains(name))
            && let Some(content) = tag.find("content=")
        {
            let value = page.get(at + content + "content=".len()..end).unwrap_or_default();
            let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''));
            let value = match quote {
                Some(quote) => value[1..].split(quote).next(),
                None => value.split([' ', '/']).next(),
            };
            return value.unwrap_or_default().trim().to_owned();
        }
        from = end.max(at + 1);
    }
    "None".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_told_as_text() {
        let page = "<html><head><title>Of &amp; on</title><META name=\"author\" content='Ada L'>\
                    <style>p {x: y}</style></head><body><h1>Head</h1><p>One <b>two</b>.</p>\
                    <script>alert(1)</script></body></html>";
        assert_eq!(article(page), "\nTITLE: Of & on\nAUTHOR: Ada L\nTEXT:\n\nHead\nOne two.\n");
        assert_eq!(article("<script>x</script>"), "");
        assert!(article("<p>Some words</p>").contains("AUTHOR: None"));
        assert_eq!(
            text_of(b"<meta charset=\"iso-8859-1\">\xe9", None),
            "<meta charset=\"iso-8859-1\">\u{e9}"
        );
    }
}
