//! `--answer NODE=ACTION[,field=value…]`

use anyhow::bail;
use flowmill_engine::fact::Waiting;
use flowmill_engine::plan::{Behaviour, Plan};
use flowmill_engine::run::{Input, Run};
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value};

use crate::console::talk;

use super::form::{answer, asks, name};

/// One answer as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The node: its id, its title, or `id@container[index]`.
    node: Name,
    action: Name,
    entries: Vec<(Name, Name)>,
}

impl std::str::FromStr for Answer {
    type Err = String;

    /// A comma that does not begin another field belongs to the text before it.
    fn from_str(text: &str) -> Result<Self, String> {
        let (node, rest) = text.split_once('=').ok_or("write it as NODE=ACTION[,field=value]")?;
        let mut parts = rest.split(',');
        let action = parts.next().unwrap_or_default().trim();
        if node.is_empty() || action.is_empty() {
            return Err("write it as NODE=ACTION[,field=value]".to_owned());
        }
        let mut entries: Vec<(Name, String)> = Vec::new();
        for part in parts {
            match (field(part), entries.last_mut()) {
                (Some((name, value)), _) => entries.push((name.into(), value.to_owned())),
                (None, Some((_, value))) => {
                    value.push(',');
                    value.push_str(part);
                }
                (None, None) => return Err(format!("write {part:?} as field=value")),
            }
        }
        let entries = entries.into_iter().map(|(name, value)| (name, value.into())).collect();
        Ok(Self { node: node.into(), action: action.into(), entries })
    }
}

fn field(part: &str) -> Option<(&str, &str)> {
    let (name, value) = part.split_once('=')?;
    let word = |letter: char| letter.is_alphanumeric() || letter == '_';
    (!name.is_empty() && name.chars().all(word)).then_some((name, value))
}

/// The answers given for a run. Several for one node are given in turn; the last one is given
/// again whenever the node asks once more.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    answers: Vec<Held>,
}

#[derive(Debug)]
struct Held {
    /// A node's id, or `id@container[index]`.
    key: String,
    answer: Answer,
    used: bool,
    refused: bool,
}

impl Answers {
    /// Finds the nodes that are meant, and checks what can be checked before the run begins.
    ///
    /// # Errors
    /// Says what is wrong with which answer.
    pub(crate) fn of(answers: &[Answer], plan: &Plan) -> anyhow::Result<Self> {
        let mut held = Vec::new();
        for answer in answers {
            let (id, pass) = answer.node.split_once('@').map_or((&*answer.node, None), |found| {
                let (id, pass) = found;
                (id, Some(pass))
            });
            let id = find(plan, id)?;
            if let Some(asks) = asks(plan, &id) {
                let names: Vec<Name> =
                    answer.entries.iter().map(|(name, _)| name.clone()).collect();
                if let Err(wrong) = asks.check(&answer.action, &names) {
                    bail!("--answer {}: {wrong}", answer.node);
                }
            }
            let key = pass.map_or_else(|| id.to_string(), |pass| format!("{id}@{pass}"));
            held.push(Held { key, answer: answer.clone(), used: false, refused: false });
        }
        Ok(Self { answers: held })
    }

    /// The answers to what a run waits for, as far as they were given and fit.
    pub(crate) fn next(&mut self, run: &Run, now: Time) -> Vec<Input> {
        run.waiting().iter().filter_map(|waiting| self.answer(run, waiting, now)).collect()
    }

    fn answer(&mut self, run: &Run, waiting: &Waiting, now: Time) -> Option<Input> {
        let exact = name(&waiting.frame, &waiting.node);
        let held = self.pick(&exact).or_else(|| self.pick(&waiting.node))?;
        let held = self.answers.get_mut(held)?;
        held.used = true;
        let Answer { action, entries, .. } = &held.answer;
        let Some(asked) = run.form(waiting) else {
            // a mock that pauses, whose form nobody looks at
            let values =
                entries.iter().map(|(name, text)| (name.clone(), Value::Str(text.clone())));
            return Some(Input::Answered {
                frame: waiting.frame.clone(),
                node: waiting.node.clone(),
                action: action.clone(),
                values: values.collect(),
                by: None,
            });
        };
        if asked.expires_at <= now {
            return None;
        }
        match answer(run, waiting, asked, action, entries) {
            Ok(input) => Some(input),
            Err(wrong) => {
                held.refused = true;
                talk(format_args!("--answer {} does not fit: {wrong}", held.answer.node));
                None
            }
        }
    }

    /// The next unused answer under a key, else the last one.
    fn pick(&self, key: &str) -> Option<usize> {
        let mut held = self.answers.iter().enumerate().filter(|(_, held)| held.key == key);
        let fresh = held.clone().find(|(_, held)| !held.used);
        let found = fresh.or_else(|| held.next_back())?;
        (!found.1.refused).then_some(found.0)
    }
}

/// The human-input node with this id, or the only one with this title.
fn find(plan: &Plan, wanted: &str) -> anyhow::Result<Name> {
    let people: Vec<_> =
        plan.nodes().iter().filter(|node| matches!(node.behaviour, Behaviour::Pause(_))).collect();
    if let Some(node) = people.iter().find(|node| &*node.id == wanted) {
        return Ok(node.id.clone());
    }
    let titled: Vec<_> = people.iter().filter(|node| &*node.title == wanted).collect();
    match titled[..] {
        [node] => Ok(node.id.clone()),
        [] if people.is_empty() => {
            bail!("--answer {wanted}: no node of this workflow asks a person")
        }
        [] => {
            let names: Vec<String> =
                people.iter().map(|node| format!("{} ({})", node.id, node.title)).collect();
            bail!(
                "--answer {wanted}: no node that asks a person is called so; there are {}",
                names.join(", ")
            )
        }
        _ => bail!("--answer {wanted}: several nodes have this title; use the id of one"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let entries = |text: &str| {
            let answer: Answer = text.parse().unwrap();
            let entries = answer.entries.iter().map(|(name, value)| format!("{name}={value}"));
            (answer.node.to_string(), answer.action.to_string(), entries.collect::<Vec<_>>())
        };
        let none: Vec<String> = Vec::new();
        assert_eq!(entries("h=yes"), ("h".into(), "yes".into(), none));
        let (node, _, fields) = entries("Final check@it[0]=ok,a=x, y,b=,c=k=v");
        assert_eq!(node, "Final check@it[0]");
        assert_eq!(fields, ["a=x, y", "b=", "c=k=v"]);
        for wrong in ["h", "=yes", "h=", "h=yes,no"] {
            assert!(wrong.parse::<Answer>().is_err(), "{wrong}");
        }
    }
}
