//! Random graphs in the notation of `support/notation.rs`, so that a failure can be read.

use std::fmt::{self, Write};

use proptest::collection::vec;
use proptest::prelude::*;

/// A scope: the root, or a container's body.
#[derive(Clone)]
pub(crate) struct Body(Vec<Part>);

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// A node with the edges that lead to it. Numbers choose among what there is, modulo.
#[derive(Clone, Debug)]
struct Part {
    kind: Kind,
    /// Earlier nodes that lead here, and by which of their handles.
    from: Vec<(u8, u8)>,
    /// 0, 1: a failure goes outwards; 2: fail branch; 3: default value.
    strategy: u8,
    retries: u8,
}

#[derive(Clone, Debug)]
enum Kind {
    Task(u8),
    Heavy,
    Inline,
    Failing,
    Write,
    If,
    Choose,
    Pause,
    Form,
    End,
    LoopEnd,
    Root,
    Iteration { list: u8, width: u8, mode: u8, flat: bool, out: u8, body: Body },
    Loop { count: u8, until: bool, body: Body },
}

/// What may be among the nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Failures that nothing handles, writes, pauses and roots that are not chosen.
    pub(crate) troubles: bool,
    /// Nodes that turn out to need a worker.
    pub(crate) heavy: bool,
    /// Failures that nothing handles, also without other troubles.
    pub(crate) unhandled: bool,
}

pub(crate) fn plan(wanted: Wanted) -> impl Strategy<Value = Body> {
    body(leaf(wanted).boxed(), wanted).prop_recursive(3, 40, 6, move |inner| {
        body(prop_oneof![3 => leaf(wanted), 1 => container(inner)].boxed(), wanted)
    })
}

fn body(kind: BoxedStrategy<Kind>, wanted: Wanted) -> BoxedStrategy<Body> {
    let strategy = if wanted.troubles || wanted.unhandled { 0..4_u8 } else { 2..4_u8 };
    let from = prop_oneof![9 => vec(any::<(u8, u8)>(), 1..4), 1 => Just(Vec::new())];
    let part = (kind, from, strategy, 0..3_u8);
    let part =
        part.prop_map(|(kind, from, strategy, retries)| Part { kind, from, strategy, retries });
    vec(part, 1..7).prop_map(Body).boxed()
}

fn leaf(wanted: Wanted) -> impl Strategy<Value = Kind> {
    let mut kinds = vec![
        (4, (0..3_u8).prop_map(Kind::Task).boxed()),
        (3, Just(Kind::Inline).boxed()),
        (1, Just(Kind::Failing).boxed()),
        (2, Just(Kind::If).boxed()),
        (1, Just(Kind::Choose).boxed()),
        (2, Just(Kind::End).boxed()),
        (1, Just(Kind::LoopEnd).boxed()),
    ];
    if wanted.troubles {
        let troubles = [Kind::Write, Kind::Pause, Kind::Form, Kind::Root];
        kinds.extend(troubles.map(|kind| (1, Just(kind).boxed())));
    }
    if wanted.heavy {
        kinds.push((2, Just(Kind::Heavy).boxed()));
    }
    proptest::strategy::Union::new_weighted(kinds)
}

fn container(inner: impl Strategy<Value = Body> + Clone) -> impl Strategy<Value = Kind> {
    let iteration = (0..8_u8, 1..4_u8, 0..3_u8, any::<bool>(), any::<u8>(), inner.clone())
        .prop_map(|(list, width, mode, flat, out, body)| Kind::Iteration {
            list,
            width,
            mode,
            flat,
            out,
            body,
        });
    let repeat = (1..4_u8, any::<bool>(), inner).prop_map(|(count, until, body)| Kind::Loop {
        count,
        until,
        body,
    });
    prop_oneof![iteration, repeat]
}

impl Body {
    /// The graph as text. Nodes are named `n1`, `n2`, … in the order in which they stand.
    pub(crate) fn text(&self) -> String {
        let mut writer = Writer::default();
        writer.out.push_str("conversation.c = 0\n");
        writer.scope(self, "start", &[]);
        writer.out
    }
}

#[derive(Default)]
struct Writer {
    out: String,
    named: usize,
}

impl Writer {
    /// Writes the statements of a scope; `around` are the containers around it.
    fn scope(&mut self, body: &Body, first: &str, around: &[String]) -> Vec<String> {
        // the first name in a body is where it begins, also when nothing follows
        let mut earlier: Vec<(String, Vec<&str>)> = vec![(first.to_owned(), vec!["source"])];
        let _ =
            writeln!(self.out, "{first}: {}", if around.is_empty() { "start" } else { "begin" });
        let mut names = Vec::new();
        for part in &body.0 {
            self.named += 1;
            let name = format!("n{}", self.named);
            let is_root = matches!(part.kind, Kind::Root) && around.is_empty();
            let mut before = String::from("start.x");
            for (source, handle) in &part.from {
                let (source, handles) = &earlier[usize::from(*source) % earlier.len()];
                let handle = handles[usize::from(*handle) % handles.len()];
                if !is_root {
                    let _ = writeln!(self.out, "{source} -{handle}-> {name}");
                }
                before = format!("{source}.y");
            }
            let handles = self.node(part, &name, &before, around);
            earlier.push((name.clone(), handles));
            names.push(name);
        }
        names
    }

    fn node(
        &mut self,
        part: &Part,
        name: &str,
        before: &str,
        around: &[String],
    ) -> Vec<&'static str> {
        let kind = match &part.kind {
            Kind::Task(class) => {
                format!("task class={}", ["light", "http", "llm"][usize::from(*class)])
            }
            Kind::Heavy => "heavy".to_owned(),
            Kind::Inline => format!("inline y=${before}"),
            Kind::Failing => format!("inline y=1 fail=bad fail-if={}:2", Self::item(around)),
            Kind::Write => "inline conversation.c:=$conversation.c+1".to_owned(),
            Kind::If => format!("if on=${}", Self::item(around)),
            Kind::Choose => "choose".to_owned(),
            Kind::Pause => "pause".to_owned(),
            Kind::Form => format!("form wait=1s says=${before}"),
            Kind::End => format!("end {name}={before}"),
            Kind::LoopEnd => "loop-end".to_owned(),
            Kind::Root if around.is_empty() => "root".to_owned(),
            Kind::Root => "inline".to_owned(),
            Kind::Iteration { .. } => "iteration".to_owned(),
            Kind::Loop { .. } => "loop".to_owned(),
        };
        let _ = write!(self.out, "{name}: {kind}");
        match part.strategy {
            2 => self.out.push_str(" or=branch"),
            3 => self.out.push_str(" or={\"y\":0}"),
            _ => {}
        }
        if part.retries > 0 {
            let _ = write!(self.out, " retry={}/{}s", part.retries, part.retries - 1);
        }
        match &part.kind {
            Kind::Iteration { list, width, mode, flat, out, body } => {
                let list = match list {
                    0 => "start.none",
                    1 => "start.x",
                    2 => before,
                    _ => "start.xs",
                };
                let mode = ["terminate", "continue", "remove"][usize::from(*mode)];
                let flat = if *flat { " flat" } else { "" };
                // bodies are named after what is named already
                let out = format!("n{}.y", self.named + 1 + usize::from(*out) % body.0.len());
                let _ = write!(self.out, " over={list} out={out} width={width} mode={mode}{flat}");
                self.body(name, body, around);
            }
            Kind::Loop { count, until, body } => {
                let until = if *until { format!(" until={name}.n:≥:2") } else { String::new() };
                let _ = write!(self.out, " count={count} n=0{until}");
                self.body(name, body, around);
            }
            _ => {}
        }
        self.out.push('\n');
        match (&part.kind, part.strategy) {
            (Kind::If | Kind::Choose | Kind::Pause | Kind::Form, 2) => {
                vec!["1", "2", "fail-branch"]
            }
            (Kind::If | Kind::Choose | Kind::Pause | Kind::Form, _) => vec!["1", "2"],
            (_, 2) => vec!["source", "fail-branch"],
            _ => vec!["source"],
        }
    }

    fn body(&mut self, name: &str, body: &Body, around: &[String]) {
        let mut around = around.to_vec();
        around.push(name.to_owned());
        self.out.push_str(" { \n");
        self.scope(body, &format!("{name}s"), &around);
        self.out.push_str(" }");
    }

    /// A variable that may be 1, 2 or missing.
    fn item(around: &[String]) -> String {
        around.last().map_or_else(|| "start.x".to_owned(), |name| format!("{name}.item"))
    }
}
