//! How names in a services file fit those in documents.

use super::Wanted;
use crate::wildcard::fits;

/// Whether a provider's pattern fits a document's names. `tavily` is what old documents say for
/// `langgenius/tavily/tavily`, so each stands for the other.
pub(super) fn fits_provider(pattern: &str, wanted: &Wanted) -> bool {
    let names = [&*wanted.provider_id, &*wanted.provider_name];
    names.iter().filter(|name| !name.is_empty()).any(|name| {
        fits(pattern, name)
            || short(name).is_some_and(|short| fits(pattern, short))
            || (!pattern.contains('*') && short(pattern) == Some(name))
    })
}

/// The last of three parts: what a provider was called before it was a plugin's.
pub(super) fn short(name: &str) -> Option<&str> {
    let mut parts = name.split('/');
    let (_, _, last) = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some(last)
}

/// Whether a name is an id that means nothing to people.
pub(crate) fn is_id(name: &str) -> bool {
    let places = [8, 13, 18, 23];
    name.len() == 36
        && name.char_indices().all(|(at, character)| {
            if places.contains(&at) { character == '-' } else { character.is_ascii_hexdigit() }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        let cases = [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("*a*", "bab", true),
        ];
        for (pattern, text, wanted) in cases {
            assert_eq!(fits(pattern, text), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn old_and_new_names_of_a_provider_are_one() {
        let wanted = |id: &str, name: &str| Wanted {
            provider_id: id.into(),
            provider_name: name.into(),
            ..Wanted::default()
        };
        let new = wanted("langgenius/tavily/tavily", "langgenius/tavily/tavily");
        let old = wanted("tavily", "tavily");
        for pattern in ["tavily", "langgenius/tavily/tavily", "ta*"] {
            assert!(fits_provider(pattern, &new) && fits_provider(pattern, &old), "{pattern}");
        }
        assert!(!fits_provider("langgenius/*", &old) && fits_provider("langgenius/*", &new));
        let custom = wanted("29303358-86a5-4a38-a3dc-5691788732d4", "Tickets");
        assert!(fits_provider("Tickets", &custom) && fits_provider("29303358-*", &custom));
        assert!(!fits_provider("", &custom) && is_id(&custom.provider_id) && !is_id("Tickets"));
    }
}
