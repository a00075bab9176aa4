//! From what a document asks for to whoever is asked.

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::time::parse_duration;
use flowmill_engine::value::{Name, Value};

use super::config::{
    Config, Entry, Features, Limits, Model, Pricing, Provider, Times, short_name, suggestion,
};
use super::{ErrorKind, Known, ModelError, Wanted};
use crate::caller::Caller;
use crate::file::USUAL_NAME;

/// A model at a provider, with all that is known of it.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Who offers it.
    pub provider: Arc<Provider>,
    /// What they call it.
    pub name: Name,
    /// What it can do.
    pub known: Known,
    /// How many tokens an answer may have where the document does not say it.
    pub max_output_tokens: Option<u32>,
    /// What it costs.
    pub pricing: Option<Pricing>,
    /// Parameters where the document says nothing.
    pub params: Vec<(Name, Value)>,
    /// Parameters of documents that are left out.
    pub drop_params: Vec<Name>,
    /// How long things may take.
    pub times: Times,
    /// How much may be asked of this model, besides what its provider takes.
    pub limits: Limits,
}

/// Who is asked for what a document asks for.
#[derive(Clone, Debug)]
pub struct Route {
    /// The first one.
    pub first: Offer,
    /// Those who are asked at the same time.
    pub race: Vec<Offer>,
    /// Those who are asked when there is no answer, in turns.
    pub fallbacks: Vec<Offer>,
}

/// What a node's own `flowmill:` key says of how its model is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Instead of the entry's fallbacks.
    pub fallbacks: Option<Vec<Model>>,
    /// Instead of the entry's race.
    pub race: Option<Vec<Model>>,
    /// How long things may take.
    pub times: Times,
}

impl Policy {
    /// Reads what a node says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(value: &Value) -> Result<Self, String> {
        let Value::Object(members) = value else {
            return Err("flowmill: it must be a mapping".to_owned());
        };
        let mut policy = Self::default();
        for (key, value) in members.iter() {
            match &**key {
                "fallbacks" => policy.fallbacks = Some(models(key, value)?),
                "race" => policy.race = Some(models(key, value)?),
                "timeout" => policy.times.whole = Some(period(key, value)?),
                "first_piece_timeout" => policy.times.first_piece = Some(period(key, value)?),
                "between_pieces_timeout" => policy.times.between_pieces = Some(period(key, value)?),
                "patience" => policy.times.patience = Some(period(key, value)?),
                _ => {
                    return Err(format!(
                        "flowmill.{key}: there is no such key; there are fallbacks, race, \
                         timeout, first_piece_timeout, between_pieces_timeout and patience"
                    ));
                }
            }
        }
        Ok(policy)
    }
}

fn period(key: &str, value: &Value) -> Result<Duration, String> {
    let text = value.as_str().ok_or("write it as 500ms, 30s, 5m or 1h30m".to_owned());
    text.and_then(parse_duration).map_err(|error| format!("flowmill.{key}: {error}"))
}

fn models(key: &str, value: &Value) -> Result<Vec<Model>, String> {
    let wrong = || format!("flowmill.{key}: it is a list of texts such as PROVIDER/MODEL");
    let model = |value: &Value| value.as_str().and_then(Model::parse).ok_or_else(wrong);
    match value {
        Value::Array(items) => items.iter().map(model).collect(),
        Value::Str(_) => Ok(vec![model(value)?]),
        _ => Err(wrong()),
    }
}

/// Finds who answers.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    config: Config,
    providers: Vec<Arc<Provider>>,
}

impl Routes {
    /// What a services file says.
    pub fn new(config: Config) -> Self {
        let providers = config.providers.iter().cloned().map(Arc::new).collect();
        Self { config, providers }
    }

    /// What it was made of.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// All providers.
    pub fn providers(&self) -> &[Arc<Provider>] {
        &self.providers
    }

    /// Who is asked.
    ///
    /// # Errors
    /// [`ErrorKind::NotMapped`] when nothing says who, and [`ErrorKind::BadRequest`] when what the
    /// node says of it cannot be used.
    pub fn find(&self, wanted: &Wanted, caller: &Caller) -> Result<Route, ModelError> {
        let policy = match &wanted.policy {
            Some(value) => Policy::read(value).map_err(|why| refusal(caller, &why))?,
            None => Policy::default(),
        };
        let first = self.first(wanted, caller)?;
        let entry = self.entry(&wanted.provider, &wanted.name);
        let all = |own: &Option<Vec<Model>>, usual: fn(&Entry) -> &Vec<Model>| {
            let usual = || entry.map(|entry| usual(entry).clone()).unwrap_or_default();
            let models = own.clone().unwrap_or_else(usual);
            models.iter().map(|model| self.named(model, caller)).collect::<Result<Vec<_>, _>>()
        };
        let mut route = Route {
            race: all(&policy.race, |entry| &entry.race)?,
            fallbacks: all(&policy.fallbacks, |entry| &entry.fallbacks)?,
            first,
        };
        for offer in
            std::iter::once(&mut route.first).chain(&mut route.race).chain(&mut route.fallbacks)
        {
            offer.times = policy.times.or(offer.times);
        }
        Ok(route)
    }

    fn entry(&self, provider: &str, model: &str) -> Option<&Entry> {
        self.config.entries.iter().find(|entry| entry.fits(provider, model))
    }

    fn first(&self, wanted: &Wanted, caller: &Caller) -> Result<Offer, ModelError> {
        let entry = self.entry(&wanted.provider, &wanted.name);
        let provider = match entry.and_then(|entry| entry.provider.as_ref()) {
            Some(name) => self.section(name),
            None => self.of_name(short_name(&wanted.provider)),
        };
        let provider = provider.ok_or_else(|| self.not_mapped(wanted, caller, entry.is_some()))?;
        let name = entry.and_then(|entry| entry.name.clone());
        Ok(self.offer(provider, name.unwrap_or_else(|| wanted.name.clone()), entry))
    }

    /// A model that the file names itself.
    fn named(&self, model: &Model, caller: &Caller) -> Result<Offer, ModelError> {
        let Some(provider) = self.section(&model.provider) else {
            let Model { provider, name } = model;
            let why =
                format!("{provider}/{name} is to be asked, and there is no provider {provider}");
            return Err(refusal(caller, &why));
        };
        let serves = |entry: &&Entry| {
            let of_it = entry.provider.as_ref().is_some_and(|name| *name == provider.name);
            let by_name = entry.name.as_ref().is_some_and(|name| *name == model.name);
            let asked = entry.asked_model.fits(&model.name) && entry.name.is_none();
            let by_provider = of_it
                || (entry.provider.is_none() && entry.asked_provider.fits_provider(&provider.name));
            by_provider && (by_name || asked)
        };
        let entry = self.config.entries.iter().find(serves);
        Ok(self.offer(provider, model.name.clone(), entry))
    }

    fn section(&self, name: &str) -> Option<&Arc<Provider>> {
        self.providers.iter().find(|provider| &*provider.name == name)
    }

    /// The provider that documents call so.
    fn of_name(&self, short: &str) -> Option<&Arc<Provider>> {
        let same = |provider: &&Arc<Provider>| {
            super::config::Pattern::new(provider.name.clone()).fits_provider(short)
        };
        self.section(short).or_else(|| self.providers.iter().find(same))
    }

    fn offer(&self, provider: &Arc<Provider>, name: Name, entry: Option<&Entry>) -> Offer {
        let own = entry.map(|entry| entry.features).unwrap_or_default();
        let features = own.or(provider.features).or(provider.usual_features());
        let times = entry.map(|entry| entry.times).unwrap_or_default();
        Offer {
            provider: provider.clone(),
            name,
            known: known(features),
            max_output_tokens: features.max_output_tokens,
            pricing: entry.and_then(|entry| entry.pricing.clone()),
            params: entry.map(|entry| entry.params.clone()).unwrap_or_default(),
            drop_params: entry.map(|entry| entry.drop_params.clone()).unwrap_or_default(),
            times: times.or(provider.times).or(self.config.times),
            limits: entry.map(|entry| entry.limits).unwrap_or_default(),
        }
    }

    fn not_mapped(&self, wanted: &Wanted, caller: &Caller, has_entry: bool) -> ModelError {
        let Wanted { provider, name, .. } = wanted;
        let who = match &*caller.node {
            "" => "the workflow".to_owned(),
            node => format!("the node {node}"),
        };
        let (what, file) = match &self.config.file {
            Some(file) if has_entry => {
                (format!("the entry of {file} for it names no provider that is there"), &**file)
            }
            Some(file) => (format!("{file} does not say who offers it"), &**file),
            None => ("no services file says who offers it".to_owned(), USUAL_NAME),
        };
        let section = suggestion(provider);
        let mut message = format!(
            "{who} asks for the model {name} of {provider}, and {what}; add to {file}:\n\n{section}"
        );
        if let Some(other) = self.providers.first() {
            let asked = short_name(provider);
            let other = &other.name;
            message = format!(
                "{message}\n\nor let another answer:\n\n[[models]]\nasked = {{ provider = {asked:?}, \
                 model = \"{name}\" }}\nprovider = {other:?}\nname = \"…\""
            );
        }
        ModelError::new(ErrorKind::NotMapped, message)
    }
}

fn refusal(caller: &Caller, why: &str) -> ModelError {
    ModelError::new(ErrorKind::BadRequest, format!("the node {}: {why}", caller.node))
}

fn known(features: Features) -> Known {
    let is = |flag: Option<bool>| flag.unwrap_or(false);
    Known {
        tools: is(features.tools),
        schema: is(features.schema),
        images: is(features.images),
        audio: is(features.audio),
        video: is(features.video),
        documents: is(features.documents),
        context_tokens: features.context_tokens,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::ServicesFile;

    const FILE: &str = r#"
[providers.openai]
[providers.google]
[providers.local]
kind = "openai"
url = "http://127.0.0.1:1/v1"
tools = false
timeout = "5s"

[[models]]
asked = { provider = "tongyi", model = "qwen-*" }
provider = "local"
name = "qwen3"
context_tokens = 4096
fallbacks = ["openai/gpt-4o-mini"]
timeout = "9s"

[[models]]
asked = { provider = "openai", model = "gpt-4o*" }
price = { input = 1, output = 2 }
"#;

    fn routes(text: &str) -> Routes {
        Routes::new(ServicesFile::read("s.toml", text, &|_| None).unwrap().models)
    }

    fn wanted(provider: &str, name: &str) -> Wanted {
        Wanted { provider: provider.into(), name: name.into(), ..Wanted::default() }
    }

    fn find(provider: &str, name: &str) -> Result<Route, ModelError> {
        let caller = Caller { node: "llm".into(), ..Caller::default() };
        routes(FILE).find(&wanted(provider, name), &caller)
    }

    #[test]
    fn the_first_entry_that_fits_counts_then_the_provider_of_that_name() {
        let route = find("langgenius/tongyi/tongyi", "qwen-max").unwrap();
        assert_eq!((&*route.first.provider.name, &*route.first.name), ("local", "qwen3"));
        assert_eq!(route.first.known.context_tokens, Some(4096));
        assert!(!route.first.known.tools && !route.first.known.schema);
        assert_eq!(route.first.times.whole, Some(Duration::from_secs(9)));
        // a fallback has what is said of it elsewhere
        assert_eq!(&*route.fallbacks[0].name, "gpt-4o-mini");
        assert!(route.fallbacks[0].pricing.is_some() && route.fallbacks[0].known.schema);
        for name in ["openai", "langgenius/openai/openai"] {
            let route = find(name, "o3").unwrap();
            assert_eq!((&*route.first.provider.name, &*route.first.name), ("openai", "o3"));
            assert!(route.first.pricing.is_none() && route.fallbacks.is_empty());
        }
        let route = find("langgenius/gemini/google", "gemini-2.5-pro").unwrap();
        assert!(route.first.known.audio);
        assert_eq!(&*find("vertex_ai", "g").unwrap().first.provider.name, "google");
    }

    #[test]
    fn what_nobody_offers_is_told_with_the_lines_to_add() {
        let error = find("langgenius/anthropic/anthropic", "claude-x").unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotMapped);
        for part in [
            "the node llm asks for the model claude-x of langgenius/anthropic/anthropic",
            "s.toml does not say who offers it",
            "[providers.anthropic]\nkind = \"anthropic\"\nkey = \"$ANTHROPIC_API_KEY\"",
            "asked = { provider = \"anthropic\", model = \"claude-x\" }\nprovider = \"openai\"",
        ] {
            assert!(error.message.contains(part), "{part} in {error}");
        }
        let error = Routes::default().find(&wanted("openai", "x"), &Caller::default()).unwrap_err();
        assert!(error.message.contains("add to flowmill-services.toml:\n"), "{error}");
        assert!(!error.message.contains("another"), "{error}");
    }

    #[test]
    fn a_node_may_say_how_it_is_called() {
        let policy = Value::object([
            ("fallbacks".into(), Value::array(vec!["local/a/b".into()])),
            ("timeout".into(), "2s".into()),
        ]);
        let asked = Wanted { policy: Some(policy), ..wanted("tongyi", "qwen-x") };
        let route = routes(FILE).find(&asked, &Caller::default()).unwrap();
        assert_eq!(route.first.times.whole, Some(Duration::from_secs(2)));
        assert_eq!(&*route.fallbacks[0].name, "a/b");
        assert_eq!(route.fallbacks[0].times.whole, Some(Duration::from_secs(2)));
        for (key, value, part) in [
            ("fallbacks", Value::from("nobody/x"), "there is no provider nobody"),
            ("race", Value::from("x"), "flowmill.race: it is a list"),
            ("timeout", Value::int(3), "flowmill.timeout: write it as"),
            ("tiemout", Value::int(3), "flowmill.tiemout: there is no such key"),
        ] {
            let policy = Some(Value::object([(key.into(), value)]));
            let asked = Wanted { policy, ..wanted("openai", "x") };
            let error = routes(FILE).find(&asked, &Caller::default()).unwrap_err();
            assert!(error.message.contains(part), "{error}");
        }
    }
}
