//! The settings of a program: what it brings itself, then a file, then the environment, then flags.
//!
//! A program's settings are one struct, and a commented file in TOML that is part of the program:
//! it holds every key there is with its default, and is the manual. A key that is not in it is
//! refused, wherever it stands. What may be left out has an empty text as its default.
//!
//! Nobody below a program's `main` reads the environment: it is handed over ([`Sources`]). What is
//! secret is of a type that does not show it ([`Secret`], [`Address`]).

pub mod blank;
mod layers;
pub mod period;
mod problems;
mod secret;
mod show;

use std::path::PathBuf;

use figment::Figment;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use problems::{ConfigError, Problem, Problems};
pub use secret::{Address, Secret};

/// What the names of environment variables begin with.
pub const PREFIX: &str = "FLOWMILL_";

/// The settings of a program.
pub trait Settings: DeserializeOwned + Serialize {
    /// All keys with their defaults, in TOML: one line for each, under their sections, with
    /// comments.
    const DEFAULTS: &'static str;

    /// Keys and sections that other programs have and this one has not: a file and an environment
    /// may be shared, so these are passed over there.
    const OTHERS: &'static [&'static str] = &[];

    /// What is wrong though every value by itself is of its type.
    fn check(&self, problems: &mut Problems<'_>);
}

/// Where settings come from besides the defaults. The later ones win.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A file in TOML.
    pub file: Option<PathBuf>,
    /// The environment. `FLOWMILL_HTTP__LISTEN` is the key `listen` of the section `http`.
    pub environment: Vec<(String, String)>,
    /// Keys and values from the command line.
    pub flags: Vec<(String, String)>,
}

impl Sources {
    /// The environment of this process, a file and flags. Variables that are no text are left out.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<(String, String)>) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let environment = std::env::vars_os().filter_map(text).collect();
        Self { file, environment, flags }
    }
}

/// Settings, and where each value came from.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// What applies.
    pub settings: T,
    figment: Figment,
}

/// Reads a program's settings.
///
/// # Errors
/// [`ConfigError`] with all that is wrong.
pub fn load<T: Settings>(sources: &Sources) -> Result<Loaded<T>, ConfigError> {
    let mut problems = Vec::new();
    let defaults = layers::defaults(T::DEFAULTS)?;
    let mut given = Vec::new();
    if let Some(path) = &sources.file {
        given.push(layers::file(path, T::OTHERS)?);
    }
    let environment = (&sources.environment[..], T::OTHERS);
    given.push(layers::environment(&defaults, environment, &mut problems));
    given.push(layers::flags(&defaults, &sources.flags, &mut problems));
    for layer in &given {
        layer.check(&defaults, &mut problems);
    }
    if !problems.is_empty() {
        return Err(ConfigError::of(problems));
    }
    let figment =
        given.into_iter().fold(Figment::from(defaults), |figment, layer| figment.merge(layer));
    let settings: T = figment.extract().map_err(|error| problems::refused(&figment, error))?;
    let mut found = Problems::new(&figment);
    settings.check(&mut found);
    found.into_result()?;
    Ok(Loaded { settings, figment })
}

impl<T: Settings> Loaded<T> {
    /// The settings as a file, without what is secret. What is not a default says where it came
    /// from.
    pub fn show(&self) -> String {
        show::show(T::DEFAULTS, &self.settings, &self.figment)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, Serialize)]
    struct Shop {
        name: String,
        #[serde(with = "period")]
        patience: Duration,
        open: bool,
        discount: f64,
        database: Database,
    }

    #[derive(Debug, Deserialize, Serialize)]
    struct Database {
        url: Address,
        key: Secret,
        connections: u16,
        hosts: Vec<String>,
        #[serde(with = "blank")]
        listen: Option<std::net::SocketAddr>,
    }

    impl Settings for Shop {
        const DEFAULTS: &'static str = "\
# What it is called.
name = \"\"
patience = \"10s\"
open = false
discount = 0.5

[database]
# Where it is.
url = \"postgres://127.0.0.1/shop\"
key = \"\"
connections = 4
hosts = []
listen = \"\"
";

        const OTHERS: &'static [&'static str] = &["kitchen"];

        fn check(&self, problems: &mut Problems<'_>) {
            if self.database.connections == 0 {
                problems.add("database.connections", "it needs one at least");
            }
            if self.name == "nobody" {
                problems.add("name", "this is no name");
            }
        }
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn environment(given: &[(&str, &str)]) -> Sources {
        Sources { environment: pairs(given), ..Sources::default() }
    }

    fn wrong(sources: &Sources) -> String {
        load::<Shop>(sources).unwrap_err().to_string()
    }

    fn file(text: &str) -> (tempfile::TempDir, Sources) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.toml");
        std::fs::write(&path, text).unwrap();
        (folder, Sources { file: Some(path), ..Sources::default() })
    }

    #[test]
    fn later_sources_win() {
        let (_folder, mut sources) =
            file("name = 'file'\npatience = '1m'\n[database]\nconnections = 7\nhosts = ['a']");
        let shop = load::<Shop>(&sources).unwrap().settings;
        assert_eq!((shop.name.as_str(), shop.database.connections), ("file", 7));
        sources.environment = pairs(&[
            ("FLOWMILL_NAME", "environment"),
            ("FLOWMILL_DATABASE__HOSTS", "b, c"),
            ("FLOWMILL_DATABASE__LISTEN", "127.0.0.1:80"),
            ("FLOWMILL_OPEN", "true"),
            ("FLOWMILL_DISCOUNT", "0.25"),
            ("FLOWMILL_CONFIG", "not a key"),
            ("FLOWMILL_DATABASE", "a section, no key"),
            ("ELSE__WHERE", "not ours"),
        ]);
        sources.flags = pairs(&[("name", "flag")]);
        let shop = load::<Shop>(&sources).unwrap().settings;
        assert_eq!((shop.name.as_str(), shop.open), ("flag", true));
        assert!((shop.discount - 0.25).abs() < f64::EPSILON, "{}", shop.discount);
        assert_eq!(shop.patience, Duration::from_mins(1));
        assert_eq!(shop.database.hosts, ["b", "c"]);
        assert_eq!(shop.database.listen.unwrap().port(), 80);
    }

    #[test]
    fn a_key_that_is_not_known_is_refused_with_its_place_and_the_nearest() {
        let (_folder, sources) = file("[databse]\nurl = ''");
        let said = wrong(&sources);
        assert!(said.contains("databse: there is no such key"), "{said}");
        assert!(said.contains("shop.toml") && said.contains("did you mean database"), "{said}");
        let said = wrong(&environment(&[("FLOWMILL_DATABASE__CONECTIONS", "3")]));
        assert!(said.contains("FLOWMILL_DATABASE__CONECTIONS"), "{said}");
        assert!(said.contains("did you mean database.connections?"), "{said}");
        let flags = pairs(&[("patients", "3s")]);
        let said = wrong(&Sources { flags, ..Sources::default() });
        assert!(said.contains("--set patients") && said.contains("patience"), "{said}");
    }

    #[test]
    fn a_file_and_an_environment_may_be_shared_with_other_programs() {
        let (_folder, mut sources) = file("name = 'file'\n[kitchen]\noven = 3");
        sources.environment = pairs(&[("FLOWMILL_KITCHEN__OVEN", "hot")]);
        assert_eq!(load::<Shop>(&sources).unwrap().settings.name, "file");
        sources.flags = pairs(&[("kitchen.oven", "4")]);
        assert!(wrong(&sources).contains("kitchen.oven: there is no such key"));
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_without_what_is_secret() {
        let (_folder, mut sources) = file("[database]\nkey = 815\nurl = ['x']\nhosts = 'a'");
        sources.environment = pairs(&[("FLOWMILL_DATABASE__CONNECTIONS", "many")]);
        let said = wrong(&sources);
        for part in [
            "database.key: it must be a text in quotes",
            "database.url: it must be a text",
            "database.hosts: it must be a list",
            "database.connections: it must be a number",
            "FLOWMILL_DATABASE__CONNECTIONS",
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
        assert!(!said.contains("815"), "{said}");
        let said = wrong(&environment(&[("FLOWMILL_DATABASE__CONNECTIONS", "70000")]));
        assert!(said.contains("database.connections") && said.contains("u16"), "{said}");
        let said = wrong(&environment(&[("FLOWMILL_PATIENCE", "10")]));
        assert!(
            said.contains("patience: write it as 500ms") && said.contains("PATIENCE"),
            "{said}"
        );
        for number in ["much", "NaN", "0,5"] {
            let said = wrong(&environment(&[("FLOWMILL_DISCOUNT", number)]));
            assert!(said.contains("discount: it must be a number"), "{said}");
        }
        let given = [("FLOWMILL_DATABASE__CONNECTIONS", "0"), ("FLOWMILL_NAME", "nobody")];
        let said = wrong(&environment(&given));
        assert!(said.contains("it needs one at least") && said.contains("no name"), "{said}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let missing = Sources { file: Some("nowhere.toml".into()), ..Sources::default() };
        assert!(wrong(&missing).contains("nowhere.toml"));
        let (_folder, sources) = file("name = \nopen = 1");
        let said = wrong(&sources);
        assert!(said.contains("shop.toml") && said.contains("line 1"), "{said}");
    }

    #[test]
    fn what_applies_is_shown_as_a_file_with_its_sources() {
        let sources = environment(&[
            ("FLOWMILL_DATABASE__URL", "postgres://me:hidden@db/shop?password=hidden&a=b"),
            ("FLOWMILL_DATABASE__KEY", "hidden"),
            ("FLOWMILL_PATIENCE", "90s"),
        ]);
        let loaded = load::<Shop>(&sources).unwrap();
        let shown = loaded.show();
        assert!(!shown.contains("hidden"), "{shown}");
        assert!(!format!("{:?}", loaded.settings).contains("hidden"), "{loaded:?}");
        let wanted = "\
name = \"\"
patience = \"1m30s\"  # FLOWMILL_PATIENCE
open = false
discount = 0.5

[database]
url = \"postgres://me:***@db/shop?password=***&a=b\"  # FLOWMILL_DATABASE__URL
key = \"***\"  # FLOWMILL_DATABASE__KEY
connections = 4
hosts = []
listen = \"\"
";
        assert_eq!(shown, wanted);
    }
}
