//! What each node type does: one folder a type, one line each in [`registry`].
//!
//! A node reaches the outside only through its [`context::NodeContext`]; it never reads the
//! environment, spawns tasks that outlive it, or retries itself.

pub mod catalogue;
pub mod children;
pub mod code;
pub mod context;
pub mod document_extractor;
pub mod files;
pub mod http_request;
pub mod jinja;
pub mod mock;
pub mod outbound;
pub mod registry;

#[cfg(test)]
mod fixtures;
mod inputs;
mod json_schema;
mod model;
mod parameters;
mod python;
mod sandbox;
mod shared;

mod agent;
mod answer;
mod assigner;
mod datasource;
mod end;
mod human_input;
mod if_else;
mod iteration;
mod knowledge;
mod knowledge_index;
mod knowledge_retrieval;
mod list_operator;
mod llm;
mod loop_;
mod markers;
mod parameter_extractor;
mod question_classifier;
mod start;
mod template_transform;
pub mod tool;
mod trigger_plugin;
mod trigger_schedule;
mod trigger_webhook;
mod variable_aggregator;
