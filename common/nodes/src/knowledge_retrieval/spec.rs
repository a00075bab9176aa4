//! What a `knowledge-retrieval` node's data holds.

use flowmill_engine::graph::Fields;
use flowmill_engine::value::Name;
use flowmill_engine::variables::Selector;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};
use crate::model::{self, Vision};
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

pub(super) fn read(fields: &mut Fields<'_>) -> Vec<Selector> {
    let mut reads = Vec::new();
    reads.extend(query(fields, "query_variable_selector"));
    reads.extend(query(fields, "query_attachment_selector"));
    texts_required(fields, "dataset_ids");
    fields.one_of("retrieval_mode", MODES);
    fields.mapping_opt("single_retrieval_config", |fields| {
        model::read(fields);
    });
    fields.mapping_opt("multiple_retrieval_config", read_multiple);
    if fields.given("metadata_filtering_mode").is_some() {
        fields.one_of("metadata_filtering_mode", FILTERS);
    }
    fields.mapping_opt("metadata_model_config", |fields| {
        model::read_model(fields);
    });
    let conditions = fields.mapping_opt("metadata_filtering_conditions", |fields| {
        if fields.given("logical_operator").is_some() {
            fields.one_of("logical_operator", LOGICAL);
        }
        fields.list_opt("conditions", read_condition)
    });
    reads.extend(conditions.flatten().unwrap_or_default().into_iter().flatten());
    reads.extend(Vision::read(fields).reads());
    reads
}

/// A selector, or text, which nothing is read by.
fn query(fields: &mut Fields<'_>, key: &str) -> Option<Selector> {
    let text = fields.get(key).is_some_and(|item| item.as_str().is_some());
    if text { None } else { fields.selector_opt(key) }
}

fn texts_required(fields: &mut Fields<'_>, key: &str) -> Vec<Name> {
    if fields.given(key).is_none() {
        fields.error(key, "must be a list of text");
    }
    texts(fields, key).unwrap_or_default()
}

fn read_multiple(fields: &mut Fields<'_>) {
    fields.integer("top_k");
    fields.text_or("reranking_mode", "reranking_model");
    fields.flag("reranking_enable", true);
    fields.mapping_opt("reranking_model", |fields| {
        fields.text("provider");
        fields.text("model");
    });
    fields.mapping_opt("weights", |fields| {
        fields.mapping("vector_setting", |_| ());
        fields.mapping("keyword_setting", |_| ());
    });
}

fn read_condition(fields: &mut Fields<'_>) -> Vec<Selector> {
    fields.text("name");
    fields.one_of("comparison_operator", OPERATORS);
    let value = fields.get("value").and_then(|item| item.as_str());
    value.map(model::references).unwrap_or_default()
}
