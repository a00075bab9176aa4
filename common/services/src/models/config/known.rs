//! Addresses of providers that are widely used, and the lines that a services file needs for one.

use super::names::{common_name, short_name};
use super::provider::Kind;

/// Providers that speak the protocol of `OpenAI`, by the short names that documents use.
const COMPATIBLE: [(&str, &str); 20] = [
    ("openai", "https://api.openai.com/v1"),
    ("cohere", "https://api.cohere.com/v2"),
    ("deepseek", "https://api.deepseek.com/v1"),
    ("fireworks", "https://api.fireworks.ai/inference/v1"),
    ("groq", "https://api.groq.com/openai/v1"),
    ("huggingface_hub", "https://router.huggingface.co/v1"),
    ("jina", "https://api.jina.ai/v1"),
    ("mistralai", "https://api.mistral.ai/v1"),
    ("moonshot", "https://api.moonshot.cn/v1"),
    ("nvidia", "https://integrate.api.nvidia.com/v1"),
    ("ollama", "http://127.0.0.1:11434/v1"),
    ("openrouter", "https://openrouter.ai/api/v1"),
    ("perplexity", "https://api.perplexity.ai"),
    ("siliconflow", "https://api.siliconflow.cn/v1"),
    ("stepfun", "https://api.stepfun.com/v1"),
    ("togetherai", "https://api.together.xyz/v1"),
    ("tongyi", "https://dashscope.aliyuncs.com/compatible-mode/v1"),
    ("volcengine_maas", "https://ark.cn-beijing.volces.com/api/v3"),
    ("x", "https://api.x.ai/v1"),
    ("zhipuai", "https://open.bigmodel.cn/api/paas/v4"),
];

/// Where a provider is reached when the file does not say it.
pub(super) fn address(name: &str, kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::OpenAi => {
            COMPATIBLE.iter().find(|(known, _)| *known == name).map(|(_, address)| *address)
        }
        Kind::Anthropic => Some("https://api.anthropic.com"),
        Kind::Gemini => Some("https://generativelanguage.googleapis.com/v1beta"),
        Kind::Azure => None,
    }
}

/// What a provider is when the file does not say it.
pub(super) fn kind(name: &str) -> Option<Kind> {
    match common_name(name) {
        "anthropic" => Some(Kind::Anthropic),
        "google" => Some(Kind::Gemini),
        "azure" => Some(Kind::Azure),
        name => address(name, Kind::OpenAi).map(|_| Kind::OpenAi),
    }
}

/// The lines that make a provider known by which a document asks for a model.
pub(crate) fn suggestion(provider: &str) -> String {
    let short = common_name(short_name(provider));
    let is_plain = !short.is_empty()
        && short.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    let section = if is_plain { short.to_owned() } else { format!("{short:?}") };
    let letters = short.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    let variable = letters.collect::<String>().to_uppercase();
    let kind = kind(short).unwrap_or(Kind::OpenAi);
    let mut lines = format!("[providers.{section}]\nkind = \"{}\"\n", kind.name());
    if address(short, kind).is_none() {
        let shape = match kind {
            Kind::Azure => "https://NAME.openai.azure.com",
            Kind::OpenAi | Kind::Anthropic | Kind::Gemini => "https://HOST/v1",
        };
        lines = format!("{lines}url = \"{shape}\"\n");
    }
    format!("{lines}key = \"${variable}_API_KEY\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suggestion_is_what_the_file_needs() {
        let wanted = "[providers.openai]\nkind = \"openai\"\nkey = \"$OPENAI_API_KEY\"";
        assert_eq!(suggestion("langgenius/openai/openai"), wanted);
        assert!(suggestion("someone/own/own").contains("url = \"https://HOST/v1\"\nkey = \"$OWN_"));
        assert!(suggestion("azure_openai").contains("https://NAME.openai.azure.com"));
        assert!(suggestion("gemini").starts_with("[providers.google]\nkind = \"gemini\"\nkey"));
        for name in ["a.b", "", "x y"] {
            let text = suggestion(name);
            let read = crate::file::ServicesFile::read("s", &text, &|_| None);
            assert!(read.is_ok(), "{text}: {read:?}");
        }
    }
}
