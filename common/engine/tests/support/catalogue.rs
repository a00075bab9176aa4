//! Node types that do nothing but what a test asks of them. Their data is plain text, as
//! [`super::notation`] writes it.
//!
//! | type | what it does |
//! |---|---|
//! | `start`, `root` | begins a run |
//! | `task` | a worker answers; `class=` names the workers |
//! | `choose` | the same, as a branch |
//! | `inline` | gives its fields as outputs; `fail=text` fails, `fail-if=a.x:1` only when they agree; `a.x:=1` writes |
//! | `heavy` | inline at first sight, but needs a worker |
//! | `if` | a branch that takes the handle in `on=$a.x`, or `false` |
//! | `end`, `answer` | merge outputs; `x=a.x`, `says="{{#a.x#}}"` |
//! | `begin` | begins a body |
//! | `loop-end` | ends the loop around it |
//! | `pause` | waits for a person, who may say anything |
//! | `form` | the same with a form: `says="…"`, `wait=5s`; takes `1`, `2`, or nobody's `late` |
//! | `iteration` | `over=a.xs out=b.y`, `width=2`, `mode=continue`, `mode=remove`, `flat` |
//! | `loop` | `count=3`, `until=lp.n:≥:3`, its other fields are its variables |
//!
//! A value is JSON, or `$a.x` for a variable, or `$a.x+1`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::sync::Arc;

use flowmill_engine::condition::Conditions;
use flowmill_engine::error::NodeError;
use flowmill_engine::form::{Asks, Form};
use flowmill_engine::graph::{Fields, Item, Problems};
use flowmill_engine::plan::{
    Behaviour, Catalogue, Category, Compiled, Evaluation, Inline, Iteration, Loop, LoopValue,
    LoopVariable, OnItemError, Source, Success, TaskClass, TaskNode, Write,
};
use flowmill_engine::template::{Piece, Template};
use flowmill_engine::value::{Kind, Name, Value, loads};
use flowmill_engine::variables::{Selector, Variable, Variables};

#[derive(Debug, Default)]
pub(crate) struct Tiny;

/// Fields that are no outputs.
const RESERVED: [&str; 21] = [
    "type",
    "title",
    "error_strategy",
    "default_value",
    "retry_config",
    "class",
    "fail",
    "fail-if",
    "on",
    "says",
    "wait",
    "over",
    "out",
    "width",
    "mode",
    "flat",
    "count",
    "until",
    "start",
    "logical_operator",
    "waits",
];

impl Catalogue for Tiny {
    fn compile(&self, source: &Source<'_>, problems: &mut Problems) -> Option<Compiled> {
        let data = Data(source.data);
        let (category, behaviour) = match source.kind {
            "start" | "root" => (Category::Root, inline(Plain::default())),
            "task" => (Category::Executable, data.task()),
            "choose" => (Category::Branch, data.task()),
            "inline" => (Category::Executable, inline(data.plain())),
            "heavy" => (Category::Executable, inline(Heavy)),
            "if" => (Category::Branch, inline(data.plain())),
            "end" => (Category::Response, inline(data.end())),
            "answer" => (Category::Response, inline(Answer(data.template()))),
            "begin" => (Category::BodyStart, inline(Plain::default())),
            "loop-end" => (Category::LoopEnd, inline(data.plain())),
            "pause" => (Category::Branch, Behaviour::Pause(None)),
            "form" => (Category::Branch, Behaviour::Pause(Some(Arc::new(data.form())))),
            "iteration" => (Category::Container, Behaviour::Iteration(Arc::new(data.iteration()))),
            "loop" => {
                (Category::Container, Behaviour::Loop(Arc::new(data.repeat(source, problems))))
            }
            other => panic!("no node type {other}"),
        };
        let response = match source.kind {
            "end" => data.end().template(),
            "answer" => data.template().pieces().to_vec(),
            _ => Vec::new(),
        };
        let reads = match (source.kind, &behaviour) {
            (_, Behaviour::Iteration(it)) => vec![it.input.clone(), it.output.clone()],
            (_, Behaviour::Loop(repeat)) => {
                let firsts = repeat.variables.iter().filter_map(|held| match &held.value {
                    LoopValue::Variable(selector) => Some(selector.clone()),
                    LoopValue::Constant(_) => None,
                });
                repeat.until.references().into_iter().chain(firsts).collect()
            }
            ("end", _) => data.end().0.into_iter().map(|(_, selector)| selector).collect(),
            ("answer" | "form", _) => data.template().references().collect(),
            ("inline" | "if" | "loop-end" | "task", _) => data.plain().reads(),
            _ => Vec::new(),
        };
        let retries = ["task", "choose", "heavy"].contains(&source.kind);
        Some(Compiled { category, behaviour, retries, reads, writes: data.targets(), response })
    }
}

fn inline(node: impl Inline + 'static) -> Behaviour {
    Behaviour::Inline(Arc::new(node))
}

/// A value as a test writes it.
#[derive(Clone, Debug)]
pub(crate) enum Expr {
    Value(Value),
    Variable(Selector, i64),
}

impl Expr {
    pub(crate) fn parse(text: &str) -> Self {
        match text.strip_prefix('$') {
            None => Self::Value(value(text)),
            Some(path) => {
                let (path, plus) = path.split_once('+').unwrap_or((path, "0"));
                Self::Variable(Selector::from_dotted(path), plus.parse().unwrap())
            }
        }
    }

    fn evaluate(&self, variables: &Variables) -> Value {
        match self {
            Self::Value(value) => value.clone(),
            Self::Variable(selector, plus) => {
                let found = variables.get(selector.parts());
                let value = found.map_or(Value::None, |found| found.value().clone());
                match value {
                    Value::Int(number) if *plus != 0 => Value::int(number.to_i64().unwrap() + plus),
                    other => other,
                }
            }
        }
    }
}

/// JSON, or the text itself.
pub(crate) fn value(text: &str) -> Value {
    loads(text).unwrap_or_else(|_| text.into())
}

#[derive(Debug, Default)]
struct Plain {
    outputs: Vec<(Name, Expr)>,
    writes: Vec<(Selector, Expr)>,
    handle: Option<Expr>,
    fails: Option<String>,
    fails_if: Option<(Selector, String)>,
}

impl Plain {
    fn reads(&self) -> Vec<Selector> {
        let outputs = self.outputs.iter().map(|(_, expr)| expr);
        let written = self.writes.iter().map(|(_, expr)| expr);
        let exprs = outputs.chain(written).chain(&self.handle);
        let read = exprs.filter_map(|expr| match expr {
            Expr::Variable(selector, _) => Some(selector.clone()),
            Expr::Value(_) => None,
        });
        read.chain(self.fails_if.iter().map(|(selector, _)| selector.clone())).collect()
    }
}

impl Inline for Plain {
    fn run(&self, variables: &Variables) -> Evaluation {
        let when = |(selector, text): &(Selector, String)| {
            let found = variables.get(selector.parts());
            found.is_some_and(|found| found.value().to_python() == *text)
        };
        if let (Some(message), true) = (&self.fails, self.fails_if.as_ref().is_none_or(when)) {
            return Evaluation::Failed(NodeError::new("Bad", message.as_str()));
        }
        let outputs = self.outputs.iter();
        let outputs = outputs.map(|(name, expr)| (name.clone(), expr.evaluate(variables)));
        let mut success = Success::of(outputs);
        success.handle = self.handle.as_ref().map(|handle| match handle.evaluate(variables) {
            Value::None => "false".into(),
            other => other.to_python().to_lowercase().into(),
        });
        success.writes = self
            .writes
            .iter()
            .map(|(selector, expr)| Write {
                selector: selector.clone(),
                variable: Variable::infer(expr.evaluate(variables)),
            })
            .collect();
        Evaluation::Succeeded(success)
    }
}

#[derive(Debug)]
struct Heavy;

impl Inline for Heavy {
    fn run(&self, _: &Variables) -> Evaluation {
        Evaluation::NotInline
    }
}

#[derive(Debug)]
struct End(Vec<(Name, Selector)>);

impl End {
    fn template(&self) -> Vec<Piece> {
        let pieces = self.0.iter().flat_map(|(_, selector)| {
            [Piece::Text("\n".into()), Piece::Reference(selector.clone())]
        });
        pieces.skip(1).collect()
    }
}

impl Inline for End {
    fn run(&self, variables: &Variables) -> Evaluation {
        let read = |(name, selector): &(Name, Selector)| {
            let found = variables.get(selector.parts());
            (name.clone(), found.map_or(Value::None, |found| found.value().clone()))
        };
        Evaluation::Succeeded(Success::of(self.0.iter().map(read)))
    }
}

#[derive(Debug)]
struct Answer(Template);

impl Inline for Answer {
    fn run(&self, variables: &Variables) -> Evaluation {
        let text = self.0.render_markdown(variables).unwrap();
        Evaluation::Succeeded(Success::of([("answer".into(), Value::Str(text))]))
    }
}

/// A form with two actions. Answers are taken as given.
#[derive(Debug)]
struct Ask {
    says: Template,
    wait_ms: u64,
}

impl Asks for Ask {
    fn ask(&self, variables: &Variables) -> Result<Form, NodeError> {
        let content = self.says.render_text(variables)?;
        if &*content == "broken" {
            return Err(NodeError::new("Bad", "broken"));
        }
        Ok(Form { content, wait_ms: self.wait_ms, ..Form::default() })
    }

    fn answer(
        &self,
        form: &Form,
        action: &str,
        values: &[(Name, Value)],
    ) -> Result<Success, String> {
        self.check(action, &[])?;
        let asked = ("asked".into(), Value::Str(form.content.clone()));
        Ok(Success::of(values.iter().cloned().chain([asked])).with_handle(action))
    }

    fn nobody(&self, form: &Form) -> Success {
        Success::of([("asked".into(), Value::Str(form.content.clone()))]).with_handle("late")
    }

    fn check(&self, action: &str, _: &[Name]) -> Result<(), String> {
        if ["1", "2"].contains(&action) { Ok(()) } else { Err(format!("no {action} here")) }
    }
}

struct Data<'a>(&'a Item);

impl Data<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(Item::as_str)
    }

    fn selector(&self, key: &str) -> Selector {
        Selector::from_dotted(self.text(key).unwrap_or(""))
    }

    fn template(&self) -> Template {
        Template::parse(self.text("says").unwrap_or(""))
    }

    fn others(&self) -> impl Iterator<Item = (&str, &str)> {
        let members = self.0.as_map().unwrap_or_default().iter();
        let texts = members.filter_map(|(key, item)| Some((key.as_str()?, item.as_str()?)));
        texts.filter(|(key, _)| !RESERVED.contains(key))
    }

    fn task(&self) -> Behaviour {
        let class = match self.text("class").unwrap_or("light") {
            "light" => TaskClass::Light,
            "code" => TaskClass::Code,
            "http" => TaskClass::Http,
            "llm" => TaskClass::Llm,
            other => panic!("no class {other}"),
        };
        let waits = self.text("waits").is_some();
        Behaviour::Task(TaskNode { waits, ..TaskNode::new(class, false) })
    }

    fn writes(&self) -> impl Iterator<Item = (Selector, Expr)> {
        let writes = self.others().filter_map(|(key, text)| Some((key.strip_suffix(':')?, text)));
        writes.map(|(target, text)| (Selector::from_dotted(target), Expr::parse(text)))
    }

    fn targets(&self) -> Vec<Selector> {
        self.writes().map(|(selector, _)| selector).collect()
    }

    fn plain(&self) -> Plain {
        let outputs = self.others().filter(|(key, _)| !key.ends_with(':'));
        Plain {
            outputs: outputs.map(|(key, text)| (key.into(), Expr::parse(text))).collect(),
            writes: self.writes().collect(),
            handle: self.text("on").map(Expr::parse),
            fails: self.text("fail").map(str::to_owned),
            fails_if: self.text("fail-if").map(|text| {
                let (selector, wanted) = text.rsplit_once(':').unwrap();
                (Selector::from_dotted(selector), wanted.to_owned())
            }),
        }
    }

    fn end(&self) -> End {
        End(self.others().map(|(key, text)| (key.into(), Selector::from_dotted(text))).collect())
    }

    fn form(&self) -> Ask {
        let wait = self.text("wait").map_or(3_600_000, super::notation::duration_ms);
        Ask { says: self.template(), wait_ms: u64::try_from(wait).unwrap() }
    }

    fn iteration(&self) -> Iteration {
        Iteration {
            start: self.text("start").unwrap_or("").into(),
            input: self.selector("over"),
            output: self.selector("out"),
            width: self.text("width").map_or(1, |text| text.parse().unwrap()),
            on_error: match self.text("mode").unwrap_or("terminate") {
                "terminate" => OnItemError::Terminate,
                "continue" => OnItemError::Continue,
                "remove" => OnItemError::Remove,
                other => panic!("no mode {other}"),
            },
            flatten: self.text("flat").is_some(),
        }
    }

    fn repeat(&self, source: &Source<'_>, problems: &mut Problems) -> Loop {
        let mut fields = Fields::new(source.data, source.id, source.title, problems);
        let until = Conditions::read_optional(&mut fields, "until", "logical_operator");
        let variables = self.others().map(|(label, text)| LoopVariable {
            label: label.into(),
            kind: match value(text) {
                Value::Str(_) => Kind::String,
                _ => Kind::Float,
            },
            value: match Expr::parse(text) {
                Expr::Value(value) => LoopValue::Constant(value),
                Expr::Variable(selector, _) => LoopValue::Variable(selector),
            },
        });
        Loop {
            start: self.text("start").unwrap_or("").into(),
            count: self.text("count").map_or(10, |text| text.parse().unwrap()),
            until,
            variables: variables.collect(),
        }
    }
}
