//! What a model is told that chooses a branch. The wording is our own; Dify's has the same slots.

use flowmill_engine::value::{Name, Style, Value, dumps};
use flowmill_services::models::{Message, Mode, Role};

const TASK: &str = "\
You sort texts into categories. You are given a text, the list of categories and perhaps advice on how to \
sort. Choose the one category that fits the text best. Answer with one JSON object and nothing else: \
{\"category_id\": …, \"category_name\": …}, both exactly as they stand in the list. If none seems to fit, \
choose the nearest.";

/// A text with its categories, and what is answered.
type Example = (&'static str, &'static [(&'static str, &'static str)], &'static str, usize);

const EXAMPLES: [Example; 2] = [
    (
        "The parcel arrived two days late and the box was torn.",
        &[("a1", "delivery"), ("a2", "billing"), ("a3", "praise")],
        "",
        0,
    ),
    (
        "Could you send last month's invoice once more?",
        &[("7", "technical problems"), ("8", "accounts and invoices")],
        "Requests for documents count as accounts and invoices.",
        1,
    ),
];

/// A text to sort.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) text: String,
    /// Ids and descriptions.
    pub(super) classes: &'a [(Name, Name)],
    pub(super) instruction: &'a str,
    /// What was said before; may be empty.
    pub(super) history: String,
}

impl Question<'_> {
    /// The prompt for a model.
    pub(super) fn messages(&self, mode: Mode) -> Vec<Message> {
        let classes: Vec<(&str, &str)> =
            self.classes.iter().map(|(id, name)| (&**id, &**name)).collect();
        let asked = asked(&self.text, &classes, self.instruction);
        let mut messages = vec![Message::text(Role::System, self.task())];
        for (text, classes, advice, right) in EXAMPLES {
            messages.push(Message::text(Role::User, self::asked(text, classes, advice)));
            let (id, name) = classes[right];
            messages.push(Message::text(Role::Assistant, category(id, name)));
        }
        messages.push(Message::text(Role::User, asked));
        match mode {
            Mode::Chat => messages,
            Mode::Completion => vec![Message::text(Role::User, as_one(&messages))],
        }
    }

    fn task(&self) -> String {
        if self.history.is_empty() {
            return TASK.to_owned();
        }
        format!("{TASK}\n\nWhat was said before, for context:\n{}", self.history)
    }
}

/// Messages as one text, for models that continue texts.
fn as_one(messages: &[Message]) -> String {
    let mut text = String::new();
    for message in messages {
        let who = match message.role {
            Role::System => "",
            Role::User => "Input: ",
            Role::Assistant | Role::Tool => "Answer: ",
        };
        text.push_str(who);
        text.push_str(&message.joined());
        text.push_str("\n\n");
    }
    text.push_str("Answer: ");
    text
}

fn asked(text: &str, classes: &[(&str, &str)], advice: &str) -> String {
    let category = |(id, name): &(&str, &str)| {
        Value::object([
            ("category_id".into(), Value::from(*id)),
            ("category_name".into(), Value::from(*name)),
        ])
    };
    let question = Value::object([
        ("input_text".into(), Value::from(text)),
        ("categories".into(), Value::array(classes.iter().map(category).collect())),
        ("classification_instructions".into(), Value::from(advice)),
    ]);
    dumps(&question, Style::Line)
}

fn category(id: &str, name: &str) -> String {
    let answer = [("category_id", id), ("category_name", name)];
    let answer = answer.map(|(name, value)| (Name::from(name), Value::from(value)));
    dumps(&Value::object(answer), Style::Line)
}
