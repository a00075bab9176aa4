//! What was said in a conversation before, for nodes with a memory (spec/nodes.md §5.1).
//!
//! It is a variable of the conversation under a name that no document can declare. So it is kept,
//! and given to the next run, in the same way as the variables that documents declare.

use crate::value::{Kind, Name, Value};
use crate::variables::{Selector, Variable, Variables};

/// The node id of a conversation's variables.
const CONVERSATION: &str = "conversation";
/// The variable. Names in documents are words.
pub const NAME: &str = "#history";

const QUERY: &str = "query";
const ANSWER: &str = "answer";

/// How many turns are kept.
const MAX_TURNS: usize = 500;
/// How many bytes of text are kept; the oldest turns go first.
const MAX_BYTES: usize = 512 << 10;

/// A turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// What the person said.
    pub query: Name,
    /// What was answered.
    pub answer: Name,
}

impl Turn {
    fn bytes(&self) -> usize {
        self.query.len() + self.answer.len()
    }
}

/// Where it is read.
pub fn selector() -> Selector {
    Selector::of(&CONVERSATION.into(), NAME)
}

/// The turns before this run, oldest first.
pub fn turns(variables: &Variables) -> Vec<Turn> {
    variables.variable(CONVERSATION, NAME).map(read).unwrap_or_default()
}

fn read(variable: &Variable) -> Vec<Turn> {
    let Value::Array(items) = variable.value() else { return Vec::new() };
    let turn = |item: &Value| {
        let Value::Object(members) = item else { return None };
        let text = |name: &str| match members.get(name) {
            Some(Value::Str(text)) => Some(text.clone()),
            _ => None,
        };
        Some(Turn { query: text(QUERY)?, answer: text(ANSWER)? })
    };
    items.iter().filter_map(turn).collect()
}

/// The variable after one more turn.
pub fn after(mut turns: Vec<Turn>, turn: Turn) -> Variable {
    turns.push(turn);
    let mut bytes: usize = turns.iter().map(Turn::bytes).sum();
    let mut left_out = turns.len().saturating_sub(MAX_TURNS);
    bytes -= turns[..left_out].iter().map(Turn::bytes).sum::<usize>();
    while bytes > MAX_BYTES && left_out + 1 < turns.len() {
        bytes -= turns[left_out].bytes();
        left_out += 1;
    }
    let member = |Turn { query, answer }| {
        Value::object([(QUERY.into(), Value::Str(query)), (ANSWER.into(), Value::Str(answer))])
    };
    let kept = turns.into_iter().skip(left_out).map(member).collect();
    Variable::typed(Kind::ArrayObject, Value::array(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(query: &str, answer: &str) -> Turn {
        Turn { query: query.into(), answer: answer.into() }
    }

    fn holding(variable: Variable) -> Variables {
        let mut variables = Variables::default();
        variables.set(&CONVERSATION.into(), &NAME.into(), variable);
        variables
    }

    #[test]
    fn turns_come_back_in_order() {
        assert_eq!(turns(&Variables::default()), []);
        let first = after(Vec::new(), turn("hello", "hi"));
        let second = after(turns(&holding(first)), turn("and?", "that is all"));
        assert_eq!(turns(&holding(second)), [turn("hello", "hi"), turn("and?", "that is all")]);
    }

    #[test]
    fn the_oldest_go_first_and_the_newest_stays() {
        let many = (0..MAX_TURNS).map(|n| turn(&n.to_string(), "x")).collect();
        let kept = turns(&holding(after(many, turn("last", "x"))));
        assert_eq!((kept.len(), &*kept[0].query), (MAX_TURNS, "1"));
        let large = "x".repeat(MAX_BYTES + 1);
        let kept = turns(&holding(after(vec![turn("a", "b")], turn("q", &large))));
        assert_eq!(kept.len(), 1);
        assert_eq!(&*kept[0].query, "q");
    }
}
