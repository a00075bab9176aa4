//! Why a request came to nothing.

use std::error::Error as _;

/// An error's causes, without the address, which may hold secrets.
pub(crate) fn causes(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut source = error.source();
    while let Some(inner) = source {
        let shown = inner.to_string();
        if !text.ends_with(&shown) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&shown);
        }
        source = inner.source();
    }
    if text.is_empty() { "the request failed".to_owned() } else { text }
}
