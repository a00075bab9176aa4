//! The section `[[knowledge]]` of a services file: where knowledge bases lie.

use std::time::Duration;

use flowmill_engine::value::Name;

use crate::file::Section;
use crate::secret::{Credential, Environment, Secret};
use crate::tools::pattern::is_id;
use crate::wildcard::fits;

/// Where Dify's own service is.
const DIFY: &str = "https://api.dify.ai/v1";

/// The three places a knowledge base may lie.
const PLACES: &str = "store = \"NAME\", [knowledge.dify] or [knowledge.external]";

/// All of the section.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    /// One entry after the other; the first that fits what a document asks for counts.
    pub entries: Vec<Entry>,
}

/// Where some knowledge bases lie.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What documents have in `dataset_ids`; `*` stands for anything.
    pub asked: Name,
    /// What people call it, where whoever keeps it says something else.
    pub name: Option<Name>,
    /// What is in it, where whoever keeps it says something else.
    pub description: Option<Name>,
    /// How long an answer may take.
    pub timeout: Option<Duration>,
    /// Where they lie.
    pub place: Place,
}

/// Where a knowledge base lies. Each text may come from a variable of the environment.
#[derive(Clone, Debug)]
pub enum Place {
    /// In the built-in store, under this name.
    Store(Credential),
    /// In a Dify server.
    Dify(DifyPlace),
    /// With somebody who speaks Dify's External Knowledge API.
    External(ExternalPlace),
}

/// A knowledge base of a Dify server.
#[derive(Clone, Debug)]
pub struct DifyPlace {
    /// What the server's addresses begin with; no slash at the end.
    pub url: Credential,
    /// A key of its knowledge API.
    pub key: Credential,
    /// The knowledge base's id there; None: the one that the document has.
    pub dataset: Option<Credential>,
}

/// A knowledge base with somebody who speaks Dify's External Knowledge API.
#[derive(Clone, Debug)]
pub struct ExternalPlace {
    /// What comes before `/retrieval`.
    pub url: Credential,
    /// The key.
    pub key: Credential,
    /// The knowledge base's id there.
    pub knowledge_id: Credential,
}

impl Bindings {
    /// Reads the sections `[[knowledge]]`.
    pub(crate) fn read(root: &Section<'_>, environment: Environment<'_>) -> Self {
        let sections = root.list("knowledge").into_iter();
        Self { entries: sections.filter_map(|one| Entry::read(one, environment)).collect() }
    }
}

impl Entry {
    /// Whether it is about what a document asks for.
    pub fn answers(&self, base: &str) -> bool {
        fits(&self.asked, base)
    }

    /// None when it cannot be used, which has been said.
    fn read(section: Section<'_>, environment: Environment<'_>) -> Option<Self> {
        let asked = section.needed("asked", "what documents have in dataset_ids");
        if asked.is_some_and(str::is_empty) {
            section.wrong("asked", "it must not be empty; \"*\" stands for anything");
        }
        let asked = asked.filter(|asked| !asked.is_empty());
        let name = section.text("name").map(Name::from);
        let description = section.text("description").map(Name::from);
        let timeout = section.period("timeout");
        let store = section.text("store");
        if store.is_some_and(str::is_empty) {
            section.wrong("store", "it is the name of a knowledge base of the built-in store");
        }
        let store = store.map(|name| Place::Store(Credential::read(name, environment)));
        let dify = section.section("dify").map(|dify| DifyPlace::read(dify, asked, environment));
        let external = section.section("external").map(|one| ExternalPlace::read(one, environment));
        let places = [store, dify.map(Place::Dify), external.flatten().map(Place::External)];
        let given = [section.has("store"), section.has("dify"), section.has("external")];
        match given.iter().filter(|given| **given).count() {
            1 => {}
            0 => section.wrong("", format!("it says not where the knowledge base lies: {PLACES}")),
            _ => section.wrong("", format!("a knowledge base lies in one place: {PLACES}")),
        }
        section.finish();
        let place = places.into_iter().flatten().next()?;
        Some(Self { asked: asked?.into(), name, description, timeout, place })
    }
}

impl DifyPlace {
    fn read(section: Section<'_>, asked: Option<&str>, environment: Environment<'_>) -> Self {
        let url = address(&section, environment);
        let url = url.unwrap_or_else(|| Credential::Given(Secret::new(DIFY)));
        let key = section.needed("key", "a key of that server's knowledge API: \"$NAME\"");
        let dataset = section.text("dataset");
        let by_id = |asked: &str| asked.contains('*') || is_id(asked);
        if dataset.is_none() && asked.is_some_and(|asked| !by_id(asked)) {
            let why = "it lacks dataset: the knowledge base's id in that server, as asked is none";
            section.wrong("", why);
        }
        section.finish();
        let read = |text: &str| Credential::read(text, environment);
        Self { url, key: key.map_or(Credential::None, read), dataset: dataset.map(read) }
    }
}

impl ExternalPlace {
    fn read(section: Section<'_>, environment: Environment<'_>) -> Option<Self> {
        let url = address(&section, environment);
        if url.is_none() && !section.has("url") {
            section.wrong("", "it lacks url: what comes before /retrieval");
        }
        let key = section.text("key");
        let knowledge_id = section.needed("knowledge_id", "the knowledge base's id there");
        section.finish();
        let read = |text: &str| Credential::read(text, environment);
        let key = key.map_or(Credential::None, read);
        Some(Self { url: url?, key, knowledge_id: read(knowledge_id?) })
    }
}

/// `url`, which is held against what addresses look like once its variables are there.
fn address(section: &Section<'_>, environment: Environment<'_>) -> Option<Credential> {
    let url = Credential::read(section.text("url")?, environment);
    let Some(text) = url.expose() else { return Some(url) };
    let text = text.trim_end_matches('/');
    // what is appended may be part of what people copy
    let text = text.strip_suffix("/retrieval").unwrap_or(text);
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    if rest.is_none_or(|rest| rest.is_empty() || rest.contains(char::is_whitespace)) {
        section.wrong("url", "it begins with http:// or https://, and a host follows");
        return None;
    }
    Some(Credential::Given(Secret::new(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::ServicesFile;

    fn look(name: &str) -> Option<String> {
        (name == "KEY").then(|| "hidden".to_owned())
    }

    fn wrong(text: &str) -> String {
        ServicesFile::read("s.toml", text, &look).unwrap_err().to_string()
    }

    #[test]
    fn the_three_places_are_read() {
        let text = r#"
[[knowledge]]
asked = "handbook*"
name = "The handbook"
description = "how we work"
timeout = "5s"
store = "handbook"

[[knowledge]]
asked = "5c7e9a04-1c8b-4f1e-9d63-0f4c8b2a7e11"
[knowledge.dify]
key = "$KEY"

[[knowledge]]
asked = "Zm9vYmFy+/=="
[knowledge.external]
url = "https://kb.example.com/api/"
key = "$OTHER"
knowledge_id = "k-1"
"#;
        let read = ServicesFile::read("s.toml", text, &look).unwrap().knowledge;
        assert!(!format!("{read:?}").contains("hidden"), "{read:?}");
        let [handbook, dify, external] = &read.entries[..] else { panic!("{read:?}") };
        assert!(handbook.answers("handbook-2026") && !handbook.answers("hand"));
        assert_eq!(handbook.timeout, Some(Duration::from_secs(5)));
        let Place::Store(name) = &handbook.place else { panic!("{handbook:?}") };
        assert_eq!(name.expose(), Some("handbook"));
        let Place::Dify(place) = &dify.place else { panic!("{dify:?}") };
        assert_eq!((place.url.expose(), place.key.expose()), (Some(DIFY), Some("hidden")));
        assert!(external.answers("Zm9vYmFy+/=="));
        let Place::External(place) = &external.place else { panic!("{external:?}") };
        assert_eq!(place.url.expose(), Some("https://kb.example.com/api"));
        assert_eq!(place.key, Credential::Missing("OTHER".into()));
    }

    #[test]
    fn all_that_is_wrong_is_told_with_its_line() {
        let said = wrong(
            "[[knowledge]]\nstroe = \"x\"\n\n[[knowledge]]\nasked = \"a\"\nstore = \"b\"\n\
             [knowledge.dify]\nkee = \"$KEY\"\n\n[[knowledge]]\nasked = \"\"\n[knowledge.external]\n\
             url = \"ftp://x\"\n\n[[knowledge]]\nasked = \"c\"\ntimeout = \"soon\"\nstore = 1\n",
        );
        for part in [
            "line 1: knowledge[1]: it lacks asked: what documents have in dataset_ids",
            "line 2: knowledge[1].stroe: there is no such key; did you mean store?",
            "line 1: knowledge[1]: it says not where the knowledge base lies: store = \"NAME\", \
             [knowledge.dify] or [knowledge.external]",
            "line 4: knowledge[2]: a knowledge base lies in one place",
            "knowledge[2].dify: it lacks key: a key of that server's knowledge API",
            "knowledge[2].dify: it lacks dataset",
            "line 8: knowledge[2].dify.kee: there is no such key; did you mean key?",
            "line 11: knowledge[3].asked: it must not be empty",
            "line 13: knowledge[3].external.url: it begins with http:// or https://",
            "knowledge[3].external: it lacks knowledge_id",
            "line 17: knowledge[4].timeout:",
            "line 18: knowledge[4].store: it must be a text in quotes",
        ] {
            assert!(said.contains(part), "{part}\nin\n{said}");
        }
    }
}
