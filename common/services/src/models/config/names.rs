//! How documents name providers, and patterns over those names.

use flowmill_engine::value::Name;

use crate::wildcard;

/// Providers whose names in old documents are not those of their plug-in.
const PLUGINS: [(&str, &str); 3] = [
    ("google", "langgenius/gemini/google"),
    ("jina", "langgenius/jina/jina"),
    ("tongyi", "langgenius/tongyi/tongyi"),
];

/// Names that mean the same provider as another's.
const ALIASES: [(&str, &str); 4] = [
    ("gemini", "google"),
    ("vertex_ai", "google"),
    ("azure_openai", "azure"),
    ("azure-openai", "azure"),
];

/// A provider's whole name: `langgenius/openai/openai` for `openai`.
pub fn full_name(provider: &str) -> String {
    if provider.contains('/') {
        return provider.to_owned();
    }
    match PLUGINS.iter().find(|(old, _)| *old == provider) {
        Some((_, plugin)) => (*plugin).to_owned(),
        None => format!("langgenius/{provider}/{provider}"),
    }
}

/// A provider's short name: `openai` for `langgenius/openai/openai`.
pub fn short_name(provider: &str) -> &str {
    provider.rsplit('/').next().unwrap_or(provider)
}

/// The one name of those that mean the same provider.
pub(crate) fn common_name(short: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == short).map_or(short, |(_, name)| name)
}

/// A text in which `*` stands for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Name);

impl Pattern {
    /// A pattern.
    pub fn new(text: impl Into<Name>) -> Self {
        Self(text.into())
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether a text fits.
    pub fn fits(&self, text: &str) -> bool {
        wildcard::fits(&self.0, text)
    }

    /// Whether a document's provider fits: by its whole name where the pattern has a slash, by its
    /// short one otherwise.
    pub fn fits_provider(&self, provider: &str) -> bool {
        if self.0.contains('/') {
            return self.fits(&full_name(provider));
        }
        let short = short_name(provider);
        self.fits(short) || common_name(&self.0) == common_name(short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_names_mean_the_same_provider() {
        let fits = |pattern: &str, name: &str| Pattern::new(pattern).fits_provider(name);
        for name in ["openai", "langgenius/openai/openai"] {
            assert!(fits("openai", name) && fits("langgenius/openai/openai", name), "{name}");
            assert!(!fits("someone/openai/openai", name));
        }
        for name in ["google", "langgenius/gemini/google", "langgenius/vertex_ai/vertex_ai"] {
            assert!(fits("google", name) && fits("gemini", name), "{name}");
        }
        assert!(fits("azure", "langgenius/azure_openai/azure_openai"));
        assert_eq!(full_name("google"), "langgenius/gemini/google");
    }
}
