//! What a `knowledge-retrieval` node's data holds.

use flowmill_engine::graph::{Fields, Item};
use flowmill_engine::template::Template;
use flowmill_engine::value::{Name, Value};
use flowmill_engine::variables::Selector;
use flowmill_services::models::Wanted;

use super::filtering::{Condition, Filtering, Given};
use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};
use crate::model::{self, Model, Vision};
use crate::shared::texts;

const MODES: &[&str] = &["single", "multiple"];
const FILTERS: &[&str] = &["disabled", "automatic", "manual"];
const LOGICAL: &[&str] = &["and", "or"];
const OPERATORS: &[&str] = &[
    "contains",
    "not contains",
    "start with",
    "end with",
    "is",
    "is not",
    "empty",
    "not empty",
    "in",
    "not in",
    "=",
    "≠",
    ">",
    "<",
    "≥",
    "≤",
    ">=",
    "<=",
    "before",
    "after",
];

pub(super) const FIELDS: &[FieldDoc] = &[
    field("query_variable_selector", FieldKind::Selector, "null", "the text to look up"),
    field("query_attachment_selector", FieldKind::Selector, "null", "files to look up"),
    field("dataset_ids", FieldKind::Selector, REQUIRED, "the knowledge bases"),
    field("retrieval_mode", FieldKind::Word(MODES), REQUIRED, "one chosen by a model, or all"),
    field("single_retrieval_config", FieldKind::Mapping, "null", "{model}"),
    field(
        "multiple_retrieval_config",
        FieldKind::Mapping,
        "null",
        "{top_k, score_threshold, reranking_mode, reranking_enable, reranking_model, weights}",
    ),
    field(
        "metadata_filtering_mode",
        FieldKind::Word(FILTERS),
        "\"disabled\"",
        "whether passages are filtered by metadata",
    ),
    field("metadata_model_config", FieldKind::Mapping, "null", "the model that filters"),
    field(
        "metadata_filtering_conditions",
        FieldKind::Mapping,
        "null",
        "{logical_operator, conditions: [{name, comparison_operator, value}]}",
    ),
    model::VISION,
];

pub(super) const EXAMPLE: &str = r#"{
    "query_variable_selector": ["sys", "query"],
    "query_attachment_selector": [],
    "dataset_ids": ["d"],
    "retrieval_mode": "multiple",
    "single_retrieval_config": null,
    "multiple_retrieval_config": {"top_k": 4, "score_threshold": null, "reranking_enable": false},
    "metadata_filtering_mode": "disabled",
    "metadata_model_config": null,
    "metadata_filtering_conditions": null,
    "vision": {"enabled": false}
}"#;

/// A `knowledge-retrieval` node's data.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) query: Query,
    pub(super) attachments: Query,
    /// The knowledge bases, as the document has them.
    pub(super) bases: Vec<Name>,
    pub(super) retrieval: Retrieval,
    pub(super) filtering: Filtering,
}

/// What is looked up.
#[derive(Debug, PartialEq)]
pub(super) enum Query {
    /// Nothing.
    None,
    /// What this variable holds.
    Of(Selector),
    /// A text in the place of a selector, which names no variable.
    Text,
}

/// How many knowledge bases are looked through.
#[derive(Debug)]
pub(super) enum Retrieval {
    /// One, which a model chooses.
    Single(Option<Model>),
    /// All.
    Multiple(Option<Multiple>),
}

/// How passages of several knowledge bases become one list.
#[derive(Debug)]
pub(super) struct Multiple {
    /// How many there are at most; nothing is found where it is 0.
    pub(super) top_k: usize,
    /// How well they fit at least.
    pub(super) threshold: f64,
    pub(super) order: Order,
}

/// How well passages fit, where they come from several knowledge bases.
#[derive(Debug, PartialEq)]
pub(super) enum Order {
    /// As well as each says of its own.
    AsFound,
    /// As well as a model says.
    Model(Box<Wanted>),
    /// By what each says of its own, and by the words in them; each counts so much.
    Weights { vector: f64, keyword: f64 },
    /// The document says by weights, and has none.
    NoWeights,
}

impl Spec {
    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        let query = read_query(fields, "query_variable_selector");
        let attachments = read_query(fields, "query_attachment_selector");
        let mut bases = texts_required(fields, "dataset_ids");
        let mut seen = std::collections::BTreeSet::new();
        bases.retain(|base| seen.insert(base.clone()));
        let mode = fields.one_of("retrieval_mode", MODES);
        let model = fields.mapping_opt("single_retrieval_config", model::read);
        let multiple = fields.mapping_opt("multiple_retrieval_config", read_multiple);
        let retrieval = match mode {
            "single" => Retrieval::Single(model),
            _ => Retrieval::Multiple(multiple),
        };
        let filtering = read_filtering(fields);
        // it is about what becomes of the passages, elsewhere
        Vision::read(fields);
        Self { query, attachments, bases, retrieval, filtering }
    }

    /// All it may read.
    pub(super) fn reads(&self) -> Vec<Selector> {
        let mut reads = Vec::new();
        for query in [&self.query, &self.attachments] {
            if let Query::Of(selector) = query {
                reads.push(selector.clone());
            }
        }
        if let Retrieval::Single(Some(model)) = &self.retrieval {
            reads.extend(model.params.reads());
        }
        reads.extend(self.filtering.reads());
        reads
    }
}

fn read_query(fields: &mut Fields<'_>, key: &str) -> Query {
    match fields.get(key).and_then(Item::as_str) {
        Some("") => Query::None,
        Some(_) => Query::Text,
        None => {
            let selector = fields.selector_opt(key).filter(|found| !found.parts().is_empty());
            selector.map_or(Query::None, Query::Of)
        }
    }
}

fn texts_required(fields: &mut Fields<'_>, key: &str) -> Vec<Name> {
    if fields.given(key).is_none() {
        fields.error(key, "must be a list of text");
    }
    texts(fields, key).unwrap_or_default()
}

fn read_multiple(fields: &mut Fields<'_>) -> Multiple {
    let top_k = usize::try_from(fields.integer("top_k")).unwrap_or(0);
    let threshold = read_number(fields, "score_threshold").unwrap_or(0.0);
    let mode = fields.text_or("reranking_mode", "reranking_model");
    let is_on = fields.flag("reranking_enable", true);
    let model = fields.mapping_opt("reranking_model", |fields| Wanted {
        provider: fields.text("provider"),
        name: fields.text("model"),
        ..Wanted::default()
    });
    let weights = fields.mapping_opt("weights", |fields| {
        let vector =
            fields.mapping("vector_setting", |fields| read_number(fields, "vector_weight"));
        let keyword =
            fields.mapping("keyword_setting", |fields| read_number(fields, "keyword_weight"));
        let weight = |found: Option<Option<f64>>| found.flatten().unwrap_or(0.0);
        (weight(vector), weight(keyword))
    });
    let order = match (&*mode, model, weights) {
        ("weighted_score", _, None) => Order::NoWeights,
        _ if !is_on => Order::AsFound,
        ("weighted_score", _, Some((vector, keyword))) => Order::Weights { vector, keyword },
        ("reranking_model", Some(model), _)
            if !model.provider.is_empty() && !model.name.is_empty() =>
        {
            Order::Model(Box::new(model))
        }
        _ => Order::AsFound,
    };
    Multiple { top_k, threshold, order }
}

fn read_filtering(fields: &mut Fields<'_>) -> Filtering {
    let mode = match fields.given("metadata_filtering_mode") {
        Some(_) => fields.one_of("metadata_filtering_mode", FILTERS),
        None => "disabled",
    };
    let model = fields.mapping_opt("metadata_model_config", model::read_model);
    let conditions = fields.mapping_opt("metadata_filtering_conditions", |fields| {
        let all = fields.given("logical_operator").is_none()
            || fields.one_of("logical_operator", LOGICAL) == "and";
        (all, fields.list_opt("conditions", read_condition).unwrap_or_default())
    });
    match (mode, conditions) {
        ("automatic", conditions) => {
            let all = conditions.is_some_and(|(all, _)| all);
            Filtering::Automatic { model: model.map(Box::new), all }
        }
        ("manual", Some((all, conditions))) => Filtering::Manual { all, conditions },
        _ => Filtering::Disabled,
    }
}

fn read_condition(fields: &mut Fields<'_>) -> Condition {
    let name = fields.text("name");
    let operator = fields.one_of("comparison_operator", OPERATORS);
    let value = match fields.get("value") {
        None => Given::Nothing,
        Some(item) => match (item.as_name(), item.as_seq()) {
            (Some(text), _) => Given::Text(Template::parse(text)),
            (None, Some(items)) if items.iter().all(|item| item.as_str().is_some()) => {
                let texts = items.iter().filter_map(Item::as_str);
                Given::Texts(texts.map(Template::parse).collect())
            }
            _ => Given::of(item.to_value()),
        },
    };
    Condition { name, operator, value }
}

/// A number, or a text that is one; other things are told.
fn read_number(fields: &mut Fields<'_>, key: &str) -> Option<f64> {
    let number = match fields.given(key)?.to_value() {
        Value::Int(number) => Some(number.to_f64()),
        Value::Float(number) => Some(number),
        Value::Str(text) => text.trim().parse().ok(),
        _ => None,
    };
    if number.is_none() {
        fields.error(key, "must be a number");
    }
    number
}
