//! A provider: where it is, how it is spoken to, and how much it takes.

use std::time::Duration;

use flowmill_engine::value::Name;
use strsim::levenshtein;

use super::known;
use crate::file::Section;
use crate::secret::{Credential, Environment};

/// Which protocol a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// That of `OpenAI`, and of all who took it over.
    OpenAi,
    /// The same at Azure.
    Azure,
    /// Anthropic's messages.
    Anthropic,
    /// Google's Gemini.
    Gemini,
}

impl Kind {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::OpenAi, Self::Azure, Self::Anthropic, Self::Gemini];

    /// As a services file writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Azure => "azure",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
        }
    }
}

/// How long things may take; None where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Connecting.
    pub connect: Option<Duration>,
    /// A whole call.
    pub whole: Option<Duration>,
    /// Until the first piece of an answer that streams.
    pub first_piece: Option<Duration>,
    /// Between two pieces of it.
    pub between_pieces: Option<Duration>,
    /// Waiting for limits before a call.
    pub patience: Option<Duration>,
}

impl Times {
    /// Reads the keys of times.
    pub(crate) fn read(section: &Section<'_>) -> Self {
        Self {
            connect: section.period("connect_timeout"),
            whole: section.period("timeout"),
            first_piece: section.period("first_piece_timeout"),
            between_pieces: section.period("between_pieces_timeout"),
            patience: section.period("patience"),
        }
    }

    /// These, and others where these say nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            connect: self.connect.or(other.connect),
            whole: self.whole.or(other.whole),
            first_piece: self.first_piece.or(other.first_piece),
            between_pieces: self.between_pieces.or(other.between_pieces),
            patience: self.patience.or(other.patience),
        }
    }
}

/// How much may be asked, over all processes together; None: as much as the provider takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Calls in any minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens in any minute, read and written.
    pub tokens_per_minute: Option<u64>,
    /// Calls at the same time.
    pub at_once: Option<u64>,
}

impl Limits {
    /// Reads the keys of limits.
    pub(crate) fn read(section: &Section<'_>) -> Self {
        Self {
            requests_per_minute: section.count("requests_per_minute"),
            tokens_per_minute: section.count("tokens_per_minute"),
            at_once: section.count("at_once"),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What models can do; None where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Whether they call tools.
    pub tools: Option<bool>,
    /// Whether they answer by a JSON schema.
    pub schema: Option<bool>,
    /// Whether they see images.
    pub images: Option<bool>,
    /// Whether they hear audio.
    pub audio: Option<bool>,
    /// Whether they watch video.
    pub video: Option<bool>,
    /// Whether they read documents.
    pub documents: Option<bool>,
    /// How many tokens prompt and answer may have together.
    pub context_tokens: Option<u32>,
    /// How many tokens an answer may have where the document does not say it.
    pub max_output_tokens: Option<u32>,
}

impl Features {
    /// Reads the keys of features.
    pub(crate) fn read(section: &Section<'_>) -> Self {
        let tokens = |key| section.count(key).map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        Self {
            tools: section.flag("tools"),
            schema: section.flag("schema"),
            images: section.flag("images"),
            audio: section.flag("audio"),
            video: section.flag("video"),
            documents: section.flag("documents"),
            context_tokens: tokens("context_tokens"),
            max_output_tokens: tokens("max_output_tokens"),
        }
    }

    /// These, and others where these say nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            tools: self.tools.or(other.tools),
            schema: self.schema.or(other.schema),
            images: self.images.or(other.images),
            audio: self.audio.or(other.audio),
            video: self.video.or(other.video),
            documents: self.documents.or(other.documents),
            context_tokens: self.context_tokens.or(other.context_tokens),
            max_output_tokens: self.max_output_tokens.or(other.max_output_tokens),
        }
    }
}

/// Who offers models.
#[derive(Clone, Debug)]
pub struct Provider {
    /// The name of its section.
    pub name: Name,
    /// Its protocol.
    pub kind: Kind,
    /// What its addresses begin with; no slash at the end.
    pub url: Name,
    /// Its key.
    pub key: Credential,
    /// Headers that go with each call.
    pub headers: Vec<(Name, Credential)>,
    /// The proxy that calls go through.
    pub proxy: Option<Credential>,
    /// Azure's version of the API; None: the one without versions.
    pub api_version: Option<Name>,
    /// Whether it is asked to say what a streamed answer took.
    pub stream_usage: bool,
    /// How long things may take.
    pub times: Times,
    /// How much may be asked.
    pub limits: Limits,
    /// What its models can do.
    pub features: Features,
}

impl Provider {
    /// A provider with a key and nothing else said.
    pub fn new(name: &str, kind: Kind, url: Option<&str>, key: Credential) -> Self {
        let url = url.or_else(|| known::address(name, kind)).unwrap_or_default();
        let mut url = url.trim_end_matches('/');
        // what paths begin with anyway may be part of what people copy
        let ends: &[&str] = match kind {
            Kind::Anthropic => &["/v1"],
            Kind::Azure => &["/openai/v1", "/openai"],
            Kind::OpenAi | Kind::Gemini => &[],
        };
        for end in ends {
            url = url.strip_suffix(end).unwrap_or(url);
        }
        Self {
            name: name.into(),
            kind,
            url: url.into(),
            key,
            headers: Vec::new(),
            proxy: None,
            api_version: None,
            stream_usage: true,
            times: Times::default(),
            limits: Limits::default(),
            features: Features::default(),
        }
    }

    /// Reads a section `providers.NAME`.
    pub(crate) fn read(name: &str, section: Section<'_>, environment: Environment<'_>) -> Self {
        let kind = if let Some(text) = section.text("kind") {
            let found = Kind::ALL.into_iter().find(|kind| kind.name() == text);
            if found.is_none() {
                section.wrong("kind", unknown_kind(text));
            }
            found
        } else {
            let known = known::kind(name);
            if known.is_none() {
                section.wrong("", "it lacks kind: openai, azure, anthropic or gemini");
            }
            known
        };
        let is_known = kind.is_some();
        let kind = kind.unwrap_or(Kind::OpenAi);
        let url = section.text("url");
        match url {
            Some(url) if !is_address(url) => {
                section.wrong("url", "it begins with http:// or https://, and a host follows");
            }
            None if is_known && known::address(name, kind).is_none() => {
                section.wrong("", "it lacks url: what the provider's addresses begin with");
            }
            Some(_) | None => {}
        }
        let credential = |text: &str| Credential::read(text, environment);
        let key = section.text("key").map_or(Credential::None, credential);
        let headers = section.pairs("headers");
        let headers = headers.into_iter().map(|(name, text)| (name.into(), credential(text)));
        let provider = Self {
            headers: headers.collect(),
            proxy: section.text("proxy").map(credential),
            api_version: section.text("api_version").map(Name::from),
            stream_usage: section.flag("stream_usage").unwrap_or(true),
            times: Times::read(&section),
            limits: Limits::read(&section),
            features: Features::read(&section),
            ..Self::new(name, kind, url, key)
        };
        if provider.api_version.is_some() && is_known && kind != Kind::Azure {
            section.wrong("api_version", "only kind = \"azure\" has versions");
        }
        section.finish();
        provider
    }

    /// What its models can do if nobody says otherwise.
    pub(crate) fn usual_features(&self) -> Features {
        let is_google = self.kind == Kind::Gemini;
        // who only took the protocol over mostly lacks its newer parts
        let is_original = self.kind != Kind::OpenAi || &*self.name == "openai";
        Features {
            tools: Some(true),
            schema: Some(is_original),
            images: Some(is_original),
            audio: Some(is_google),
            video: Some(is_google),
            documents: Some(is_original),
            context_tokens: None,
            max_output_tokens: None,
        }
    }
}

fn unknown_kind(text: &str) -> String {
    let near = Kind::ALL.into_iter().map(Kind::name).min_by_key(|name| levenshtein(name, text));
    let near = near.filter(|name| levenshtein(name, text) <= 2);
    let near = near.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
    format!("it is openai, azure, anthropic or gemini{near}")
}

fn is_address(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_alphanumeric() || first == '['))
        && !url.contains(char::is_whitespace)
}
