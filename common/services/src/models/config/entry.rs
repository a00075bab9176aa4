//! An entry: what documents ask for, and who answers.

use flowmill_engine::value::{Name, Value};

use super::Known;
use super::names::Pattern;
use super::provider::{Features, Limits, Times};
use crate::file::Section;
use crate::file::decimal::Decimal;
use crate::models::Price;

/// A model at a provider: `PROVIDER/MODEL`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Model {
    /// The name of the provider's section.
    pub provider: Name,
    /// What the provider calls it.
    pub name: Name,
}

impl Model {
    /// Reads `PROVIDER/MODEL`; the model may have slashes of its own.
    pub fn parse(text: &str) -> Option<Self> {
        let (provider, name) = text.split_once('/')?;
        let is_whole = !provider.is_empty() && !name.is_empty();
        is_whole.then(|| Self { provider: provider.into(), name: name.into() })
    }
}

/// What tokens cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pricing {
    /// A unit of tokens read.
    pub input: Decimal,
    /// A unit of tokens written.
    pub output: Decimal,
    /// The unit: `0.000001` for a million.
    pub unit: Decimal,
    /// The currency.
    pub currency: Name,
}

impl Pricing {
    /// What a call costs.
    pub fn cost(&self, prompt_tokens: u64, completion_tokens: u64) -> Price {
        let Self { input, output, unit, currency } = self;
        Price {
            prompt_unit: input.text().clone(),
            completion_unit: output.text().clone(),
            unit: unit.text().clone(),
            prompt: input.times(prompt_tokens, unit),
            completion: output.times(completion_tokens, unit),
            currency: currency.clone(),
        }
    }

    fn read(section: Section<'_>) -> Option<Self> {
        let needed = |key| {
            let found = section.decimal(key);
            if found.is_none() {
                section.wrong("", format!("it needs {key}: what a unit of tokens costs"));
            }
            found
        };
        let (input, output) = (needed("input"), needed("output"));
        let unit = section.decimal("unit").or_else(|| Decimal::parse("0.000001"));
        let currency = section.text("currency").unwrap_or("USD").into();
        section.finish();
        Some(Self { input: input?, output: output?, unit: unit?, currency })
    }
}

/// What documents ask for, and who answers.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The provider they ask for.
    pub asked_provider: Pattern,
    /// The model they ask for.
    pub asked_model: Pattern,
    /// The section of the provider that answers; None: that of the name they ask for.
    pub provider: Option<Name>,
    /// What that provider calls the model; None: as they do.
    pub name: Option<Name>,
    /// What the model can do.
    pub features: Features,
    /// What it costs.
    pub pricing: Option<Pricing>,
    /// Parameters where the document says nothing.
    pub params: Vec<(Name, Value)>,
    /// Parameters of documents that are left out.
    pub drop_params: Vec<Name>,
    /// Who is asked when there is no answer, in turns.
    pub fallbacks: Vec<Model>,
    /// Who is asked at the same time: the first good answer counts.
    pub race: Vec<Model>,
    /// How long things may take.
    pub times: Times,
    /// How much may be asked of this model.
    pub limits: Limits,
}

impl Entry {
    /// Reads a section `[[models]]`.
    pub(crate) fn read(section: Section<'_>, known: &Known<'_>) -> Self {
        let (mut asked_provider, mut asked_model) = (None, None);
        if let Some(asked) = section.section("asked") {
            asked_provider = asked.text("provider");
            asked_model = asked.text("model");
            asked.finish();
        } else {
            let shape = "asked = { provider = \"openai\", model = \"gpt-4*\" }";
            section.wrong("", format!("it lacks asked: {shape}"));
        }
        let provider = section.text("provider");
        if let Some(why) = provider.and_then(|name| known.lacks(name)) {
            section.wrong("provider", why);
        }
        let entry = Self {
            asked_provider: Pattern::new(asked_provider.unwrap_or("*")),
            asked_model: Pattern::new(asked_model.unwrap_or("*")),
            provider: provider.map(Name::from),
            name: section.text("name").map(Name::from),
            features: Features::read(&section),
            pricing: section.section("price").and_then(Pricing::read),
            params: named(section.values("params")),
            drop_params: section.texts("drop_params").into_iter().map(Name::from).collect(),
            fallbacks: models(&section, "fallbacks", known),
            race: models(&section, "race", known),
            times: Times::read(&section),
            limits: Limits::read(&section),
        };
        section.finish();
        entry
    }

    /// Whether it is about what a document asks for.
    pub fn fits(&self, provider: &str, model: &str) -> bool {
        self.asked_provider.fits_provider(provider) && self.asked_model.fits(model)
    }
}

fn named(values: Vec<(&str, Value)>) -> Vec<(Name, Value)> {
    values.into_iter().map(|(name, value)| (name.into(), value)).collect()
}

fn models(section: &Section<'_>, key: &'static str, known: &Known<'_>) -> Vec<Model> {
    let mut found = Vec::new();
    for text in section.text_or_texts(key) {
        match Model::parse(text) {
            Some(model) => {
                if let Some(why) = known.lacks(&model.provider) {
                    section.wrong(key, why);
                }
                found.push(model);
            }
            None => {
                section.wrong(key, format!("write each as PROVIDER/MODEL; {text:?} is none"));
            }
        }
    }
    found
}
