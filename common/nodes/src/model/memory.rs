//! What was said before in the conversation (spec/nodes.md §5.1, "Memory").

use flowmill_engine::error::NodeError;
use flowmill_engine::graph::Fields;
use flowmill_engine::history;
use flowmill_engine::value::Name;
use flowmill_engine::variables::{Selector, Variables};
use flowmill_services::models::{Known, Message, Role};

use super::failed;
use super::prompt::Prompt;
use crate::shared::required_flag;

/// What the user says, where no template says it.
const QUERY: &str = "sys.query";
/// How many turns are looked at at most.
const MAX_TURNS: usize = 500;
/// How many tokens what was said may have when nobody knows the model's context.
const TOKENS: usize = 2000;

/// `memory`: how much of the conversation a node's model sees.
#[derive(Debug)]
pub(crate) struct Memory {
    prefixes: Option<(Name, Name)>,
    window: Option<i64>,
    query: Option<Prompt>,
}

impl Memory {
    /// Reads `memory`; None when there is none.
    pub(crate) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.mapping_opt("memory", |fields| {
            let prefixes = fields.mapping_opt("role_prefix", |fields| {
                (fields.text("user"), fields.text("assistant"))
            });
            let window = fields.mapping("window", |fields| {
                let enabled = required_flag(fields, "enabled");
                fields.integer_opt("size").filter(|_| enabled)
            });
            let query = fields.text_opt("query_prompt_template").filter(|text| !text.is_empty());
            Self { prefixes, window: window.flatten(), query: query.map(Prompt::basic) }
        })
    }

    /// What it reads.
    pub(crate) fn reads(&self) -> Vec<Selector> {
        let mut reads = vec![history::selector(), Selector::from_dotted(QUERY)];
        reads.extend(self.query.iter().flat_map(Prompt::reads));
        reads
    }

    /// Whether all that its query refers to is there.
    pub(crate) fn check(&self, variables: &Variables) -> Result<(), NodeError> {
        self.query.as_ref().map_or(Ok(()), |query| query.check(variables))
    }

    /// What the user says now: the query's template, or the text of `sys.query`, which is read for
    /// references as well.
    pub(crate) fn query(&self, variables: &Variables) -> Result<Option<Prompt>, NodeError> {
        if let Some(query) = &self.query {
            return Ok(Some(Prompt::basic(query.raw().clone())));
        }
        let Some(found) = variables.get(Selector::from_dotted(QUERY).parts()) else {
            return Ok(None);
        };
        let text = Name::from(found.to_text()?);
        Ok((!text.is_empty()).then(|| Prompt::basic(text)))
    }

    /// The query's text as it stands, for completions.
    pub(crate) fn raw_query(&self, variables: &Variables) -> Result<Option<Name>, NodeError> {
        self.query(variables).map(|query| query.map(|query| query.raw().clone()))
    }

    /// What was said, oldest first, as much as fits the model beside `max_tokens`.
    pub(crate) fn messages(
        &self,
        variables: &Variables,
        (known, max_tokens): (&Known, usize),
    ) -> Vec<Message> {
        let turns = history::turns(variables);
        let window = self.window.and_then(|size| usize::try_from(size).ok()).filter(|n| *n > 0);
        let window = window.unwrap_or(MAX_TURNS).min(MAX_TURNS);
        let mut said: Vec<Message> = turns[turns.len().saturating_sub(window)..]
            .iter()
            .flat_map(|turn| {
                let query = Message::text(Role::User, turn.query.clone());
                [query, Message::text(Role::Assistant, turn.answer.clone())]
            })
            .collect();
        let room = known.context_tokens.map_or(TOKENS, |tokens| {
            usize::try_from(tokens).unwrap_or(usize::MAX).saturating_sub(max_tokens)
        });
        let mut tokens: usize = said.iter().map(tokens).sum();
        let mut left_out = 0;
        while tokens > room && left_out + 1 < said.len() {
            tokens -= self::tokens(&said[left_out]);
            left_out += 1;
        }
        said.drain(..left_out);
        said
    }

    /// What was said as one text, for completions.
    pub(crate) fn text(
        &self,
        variables: &Variables,
        room: (&Known, usize),
    ) -> Result<String, NodeError> {
        let Some((user, assistant)) = &self.prefixes else {
            const MESSAGE: &str = "Memory role prefix is required for completion model.";
            return Err(failed("MemoryRolePrefixRequiredError", MESSAGE));
        };
        let lines = self.messages(variables, room).into_iter().map(|message| {
            let prefix = if message.role == Role::User { user } else { assistant };
            format!("{prefix}: {}", message.joined())
        });
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }

    /// What was said as text for prompts that have a place for it, whatever the prefixes.
    pub(crate) fn told(&self, variables: &Variables, room: (&Known, usize)) -> String {
        let lines = self.messages(variables, room).into_iter().map(|message| {
            let prefix = if message.role == Role::User { "Human" } else { "Assistant" };
            format!("{prefix}: {}", message.joined())
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// About how many tokens a message has: a quarter of its ASCII characters, and all others.
fn tokens(message: &Message) -> usize {
    let text = message.joined();
    let (ascii, other) = text.chars().fold((0, 0), |(ascii, other), letter| {
        if letter.is_ascii() { (ascii + 1, other) } else { (ascii, other + 1) }
    });
    ascii / 4 + other + 4
}
