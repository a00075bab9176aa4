//! Patterns in a services file, in which `*` stands for anything.

/// Whether a text fits a pattern.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, text) in
            [("*", ""), ("*", "x"), ("gpt-4*", "gpt-4o"), ("*mini", "o3-mini"), ("a*b*c", "abbcc")]
        {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("", "x"), ("gpt-4", "gpt-4o"), ("a*a", "a"), ("a*b*c", "acb"), ("x*", "ax")]
        {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }
}
