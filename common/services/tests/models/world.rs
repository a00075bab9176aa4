//! A scripted provider, and a gateway that knows it by every protocol.

use std::sync::{Arc, Mutex};

use flowmill_infra::memory::MemoryLimiter;
use flowmill_scripted_provider::{Protocol, Provider, Script};
use flowmill_services::caller::Caller;
use flowmill_services::file::ServicesFile;
use flowmill_services::models::{
    Ask, Gateway, Message, Mode, ModelError, Models as _, Piece, Reply, Role, Routes, Wanted,
};

/// The protocols, by what providers are called here.
pub(crate) const ALL: [&str; 5] = ["openai", "azure", "azure-old", "anthropic", "google"];

/// A provider and whoever asks it.
pub(crate) struct World {
    pub(crate) provider: Provider,
    pub(crate) gateway: Arc<Gateway>,
}

/// What came of asking.
pub(crate) struct Asked {
    pub(crate) answer: Result<Reply, ModelError>,
    /// The pieces, those of thoughts in brackets.
    pub(crate) pieces: Vec<String>,
}

impl World {
    pub(crate) async fn new(script: Script) -> Self {
        Self::with(script, "", "").await
    }

    /// With further lines for each provider, and at the end of the file.
    pub(crate) async fn with(script: Script, of_providers: &str, rest: &str) -> Self {
        let provider = Provider::start(script).await.unwrap();
        let gateway = Arc::new(gateway(&file(&provider, of_providers, rest)));
        Self { provider, gateway }
    }

    pub(crate) async fn ask(&self, provider: &str, ask: Ask) -> Asked {
        self.ask_for(&wanted(provider, "m"), ask).await
    }

    pub(crate) async fn ask_for(&self, wanted: &Wanted, ask: Ask) -> Asked {
        let pieces = Mutex::new(Vec::new());
        let note = |piece: Piece<'_>| {
            let piece = match piece {
                Piece::Text(text) => text.to_owned(),
                Piece::Thought(text) => format!("<{text}>"),
            };
            pieces.lock().unwrap().push(piece);
        };
        let answer = self.gateway.ask(wanted, ask, &caller(), &note).await;
        Asked { answer, pieces: pieces.into_inner().unwrap() }
    }
}

pub(crate) fn file(provider: &Provider, of_providers: &str, rest: &str) -> String {
    let mut file = String::new();
    for name in ALL {
        let (kind, url) = match name {
            "openai" => ("openai", provider.url(Protocol::OpenAi)),
            "azure" | "azure-old" => ("azure", format!("http://{}", provider.address())),
            "anthropic" => ("anthropic", provider.url(Protocol::Anthropic)),
            _ => ("gemini", provider.url(Protocol::Gemini)),
        };
        let version = if name == "azure-old" { "api_version = \"2024-10-21\"\n" } else { "" };
        file = format!(
            "{file}[providers.{name}]\nkind = \"{kind}\"\nurl = \"{url}\"\nkey = \"$KEY\"\n{version}\
             {of_providers}\n"
        );
    }
    file + rest
}

pub(crate) fn gateway(file: &str) -> Gateway {
    let key = |name: &str| (name == "KEY").then(|| "sk-secret-0123456789".to_owned());
    let read = ServicesFile::read("s.toml", file, &key).unwrap();
    Gateway::new(Routes::new(read.models), Arc::new(MemoryLimiter::default())).unwrap()
}

pub(crate) fn wanted(provider: &str, name: &str) -> Wanted {
    Wanted { provider: provider.into(), name: name.into(), mode: Mode::Chat, ..Wanted::default() }
}

pub(crate) fn caller() -> Caller {
    Caller { tenant: "t".into(), run: "r".into(), node: "llm".into(), ..Caller::default() }
}

pub(crate) fn says(text: &str, streams: bool) -> Ask {
    Ask { messages: vec![Message::text(Role::User, text)], streams, ..Ask::default() }
}
