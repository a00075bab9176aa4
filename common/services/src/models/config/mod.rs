//! What a services file says of models: providers, what documents ask of whom, budgets.

mod budget;
mod entry;
mod known;
mod names;
mod provider;

use flowmill_engine::value::Name;
use strsim::levenshtein;

pub use budget::{Budget, Budgets};
pub use entry::{Entry, Model, Pricing};
pub use names::{Pattern, full_name, short_name};
pub use provider::{Features, Kind, Limits, Provider, Times};

pub(crate) use known::suggestion;

use crate::file::Section;
use crate::secret::{Credential, Environment};

/// Providers of models, and what documents ask of them.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The file that says so; None: the environment alone.
    pub file: Option<Name>,
    /// Who offers models.
    pub providers: Vec<Provider>,
    /// What documents ask for; the first that fits counts.
    pub entries: Vec<Entry>,
    /// What holds where nothing else is said.
    pub times: Times,
    /// What may be spent.
    pub budgets: Budgets,
}

/// What the providers of the environment are called, what they are, and the variables of their
/// keys and addresses.
const OF_ENVIRONMENT: [(&str, Kind, &[&str], Option<&str>); 3] = [
    ("openai", Kind::OpenAi, &["OPENAI_API_KEY"], Some("OPENAI_BASE_URL")),
    ("anthropic", Kind::Anthropic, &["ANTHROPIC_API_KEY"], None),
    ("google", Kind::Gemini, &["GEMINI_API_KEY", "GOOGLE_API_KEY"], None),
];

impl Config {
    /// Reads the sections `providers`, `models`, `defaults` and `budgets`.
    pub(crate) fn read(root: &Section<'_>, file: &str, environment: Environment<'_>) -> Self {
        let mut providers: Vec<Provider> = Vec::new();
        for (name, section) in root.named("providers") {
            providers.push(Provider::read(name, section, environment));
        }
        let times = match root.section("defaults") {
            Some(section) => {
                let times = Times::read(&section);
                section.finish();
                times
            }
            None => Times::default(),
        };
        let named = Known { providers: &providers };
        let entries: Vec<Entry> =
            root.list("models").into_iter().map(|section| Entry::read(section, &named)).collect();
        let budgets = match root.section("budgets") {
            Some(section) => Budgets::read(section, &entries),
            None => Budgets::default(),
        };
        Self { file: Some(file.into()), providers, entries, times, budgets }
    }

    /// The providers whose usual variables are set.
    pub(crate) fn of_environment(environment: Environment<'_>) -> Self {
        let look = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
        let mut providers = Vec::new();
        for (name, kind, keys, address) in OF_ENVIRONMENT {
            let Some(key) = keys.iter().find(|key| look(key).is_some()) else { continue };
            let key = Credential::read(&format!("${key}"), environment);
            let url = address.and_then(look);
            providers.push(Provider::new(name, kind, url.as_deref(), key));
        }
        Self { providers, ..Self::default() }
    }

    /// The provider of a section's name.
    pub fn provider(&self, name: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| &*provider.name == name)
    }
}

/// The providers of a file that is being read.
pub(crate) struct Known<'a> {
    providers: &'a [Provider],
}

impl Known<'_> {
    /// Why there is no provider of a name; None when there is one.
    pub(crate) fn lacks(&self, name: &str) -> Option<String> {
        if self.providers.iter().any(|provider| &*provider.name == name) {
            return None;
        }
        let near = self.providers.iter().map(|provider| &*provider.name);
        let near = near.min_by_key(|known| levenshtein(known, name));
        Some(match near.filter(|known| levenshtein(known, name) <= (name.len() / 3).max(2)) {
            Some(near) => format!("there is no [providers.{name}]; did you mean {near}?"),
            None => format!("there is no [providers.{name}] in this file"),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::file::ServicesFile;
    use crate::models::config::{Kind, Pattern};
    use std::time::Duration;

    const WHOLE: &str = r#"
[providers.openai]
key = "$OPENAI_API_KEY"
headers = { X-Team = "a ${TEAM}" }
timeout = "90s"
requests_per_minute = 600
tokens_per_minute = 100000
at_once = 20

[providers.eu]
kind = "azure"
url = "https://here.openai.azure.com/"
key = "plain"
api_version = "2024-10-21"

[providers.claude]
kind = "anthropic"
key = "$NOT_SET"

[[models]]
asked = { provider = "openai", model = "gpt-4*" }
provider = "eu"
name = "gpt-4o"
tools = true
schema = false
context_tokens = 128000
price = { input = "2.50", output = 10 }
params = { temperature = 0.2 }
drop_params = ["seed"]
fallbacks = ["claude/claude-sonnet-4", "openai/gpt-4o-mini"]

[[models]]
asked.model = "*"
provider = "openai"

[defaults]
first_piece_timeout = "20s"

[budgets]
run = { tokens = 1000, money = "0.5" }
tenant = { money = "5", per = "1h" }
tenants.acme = { tokens = 7 }
"#;

    fn look(name: &str) -> Option<String> {
        match name {
            "OPENAI_API_KEY" => Some("sk-hidden".to_owned()),
            "TEAM" => Some("hidden".to_owned()),
            _ => None,
        }
    }

    fn wrong(text: &str) -> String {
        ServicesFile::read("s.toml", text, &look).unwrap_err().to_string()
    }

    #[test]
    fn a_whole_file_is_read() {
        let read = ServicesFile::read("s.toml", WHOLE, &look).unwrap().models;
        let [openai, azure, claude] = &read.providers[..] else { panic!("{read:#?}") };
        assert_eq!((openai.kind, &*openai.url), (Kind::OpenAi, "https://api.openai.com/v1"));
        assert_eq!(openai.key.expose(), Some("sk-hidden"));
        assert_eq!(openai.headers[0].1.expose(), Some("a hidden"));
        assert_eq!(openai.limits.requests_per_minute, Some(600));
        assert_eq!(openai.times.whole, Some(Duration::from_secs(90)));
        assert_eq!((azure.kind, &*azure.url), (Kind::Azure, "https://here.openai.azure.com"));
        assert_eq!(claude.key.expose(), None);
        let first = &read.entries[0];
        assert_eq!(first.asked_model, Pattern::new("gpt-4*"));
        assert_eq!(
            (&*first.fallbacks[0].provider, &*first.fallbacks[1].name),
            ("claude", "gpt-4o-mini")
        );
        assert_eq!(first.features.schema, Some(false));
        assert_eq!(first.pricing.as_ref().unwrap().cost(1_000_000, 500_000).prompt, 25_000_000);
        assert_eq!(read.times.first_piece, Some(Duration::from_secs(20)));
        assert_eq!(read.budgets.of_tenant("acme").and_then(|budget| budget.tokens), Some(7));
        assert_eq!(
            read.budgets.of_tenant("else").and_then(|budget| budget.money),
            Some(50_000_000)
        );
        assert!(!format!("{read:?}").contains("hidden"), "{read:?}");
        assert!(!format!("{read:?}").contains("plain"), "{read:?}");
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_with_its_line() {
        let said = wrong(
            "[providers.mine]\nkind = \"opnai\"\n\n[providers.eu]\nkind = \"azure\"\nkeyy = \
             \"x\"\n\n[[models]]\nprovider = \"mien\"\nfallbacks = [\"mine\", \"nobody/x\"]\n\
             price = { input = \"a\" }\n\n[modles]\n",
        );
        for part in [
            "use the services file s.toml",
            "s.toml: line 2: providers.mine.kind: it is openai, azure, anthropic or gemini; did you \
             mean openai?",
            "providers.eu: it lacks url",
            "line 6: providers.eu.keyy: there is no such key; did you mean key?",
            "models[1]: it lacks asked",
            "line 9: models[1].provider: there is no [providers.mien]; did you mean mine?",
            "models[1].fallbacks: write each as PROVIDER/MODEL; \"mine\" is none",
            "there is no [providers.nobody] in this file",
            "models[1].price.input: it must be an amount",
            "line 13: modles: there is no such key; did you mean models?",
        ] {
            assert!(said.contains(part), "{part}\nin\n{said}");
        }
    }

    #[test]
    fn a_key_is_never_part_of_what_is_told() {
        let said = wrong("[providers.openai]\nkey = \"sk-hidden\"\nurl = \"sk-hidden\"\nx = 1");
        assert!(said.contains("url: it begins with http:// or https://"), "{said}");
        assert!(!said.contains("hidden"), "{said}");
    }

    #[test]
    fn addresses_end_where_paths_begin() {
        let url = |kind: &str, url: &str| {
            let text = format!("[providers.p]\nkind = \"{kind}\"\nurl = \"https://h{url}\"");
            ServicesFile::read("s", &text, &look).unwrap().models.providers[0].url.to_string()
        };
        assert_eq!(url("anthropic", "/v1/"), "https://h");
        assert_eq!(url("azure", "/openai/v1"), "https://h");
        assert_eq!(url("azure", "/openai/"), "https://h");
        assert_eq!(url("openai", "/v1/"), "https://h/v1");
    }

    #[test]
    fn budgets_in_another_currency_are_refused() {
        let said = wrong(
            "[providers.openai]\n[[models]]\nasked.model = \"*\"\nprice = { input = 1, output = 1, \
             currency = \"EUR\" }\n[budgets]\nrun = { money = 1 }",
        );
        assert!(said.contains("budgets.currency: models have prices in EUR"), "{said}");
    }

    #[test]
    fn without_a_file_the_usual_variables_count() {
        let look = |name: &str| match name {
            "GOOGLE_API_KEY" => Some("a".to_owned()),
            "OPENAI_API_KEY" => Some("b".to_owned()),
            "OPENAI_BASE_URL" => Some("http://127.0.0.1:1/v1/".to_owned()),
            _ => None,
        };
        let read = ServicesFile::of_environment(&look).models;
        let found: Vec<_> =
            read.providers.iter().map(|provider| (&*provider.name, &*provider.url)).collect();
        let gemini = "https://generativelanguage.googleapis.com/v1beta";
        assert_eq!(found, [("openai", "http://127.0.0.1:1/v1"), ("google", gemini)]);
    }
}
