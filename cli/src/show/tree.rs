//! What runs at present, as a tree: nodes, and in containers the nodes of their passes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use flowmill_engine::fact::FramePath;
use flowmill_engine::plan::{Behaviour, Node};
use flowmill_engine::value::Name;
use flowmill_workflow::watch::{Container, Place, container};

use crate::console::{Paint, Tone, one_line};
use crate::duration::show;

/// Letters of a title.
const TITLE: usize = 60;
/// Letters of an error's message.
const MESSAGE: usize = 80;
/// Cells of a bar.
const CELLS: u64 = 24;
/// Nodes of a container's passes that are shown.
const CHILDREN: usize = 4;
/// How deep containers are shown.
const DEPTH: usize = 6;
/// A thing that turns.
const WHEEL: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// All that began and did not end.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// In the order in which they began.
    open: BTreeMap<u64, Open>,
    turn: usize,
}

#[derive(Debug)]
struct Open {
    frame: FramePath,
    id: Name,
    name: String,
    began: Instant,
    note: String,
    /// A container's passes.
    passes: Option<Passes>,
}

#[derive(Debug)]
struct Passes {
    kind: Container,
    length: u64,
    done: u64,
    failed: u64,
}

impl Tree {
    /// A node began.
    pub(super) fn started(&mut self, at: &Place<'_>, length: Option<u64>) {
        let passes = container(at.node).map(|kind| Passes {
            kind,
            length: length.unwrap_or(0),
            done: 0,
            failed: 0,
        });
        let open = Open {
            frame: at.frame.clone(),
            id: at.node.id.clone(),
            name: name(at.node),
            began: Instant::now(),
            note: String::new(),
            passes,
        };
        self.open.insert(at.number, open);
    }

    /// A node ended.
    pub(super) fn finished(&mut self, at: &Place<'_>) {
        self.open.remove(&at.number);
    }

    /// Something is to be known about a node.
    pub(super) fn note(&mut self, at: &Place<'_>, note: &str) {
        if let Some(open) = self.open.get_mut(&at.number) {
            open.note = one_line(note, MESSAGE);
        }
    }

    /// A pass ended.
    pub(super) fn pass_ended(&mut self, frame: &FramePath, failed: bool) {
        let Some((outer, id, _)) = frame.split() else { return };
        let mut open = self.open.values_mut();
        let found = open.find(|open| open.frame == outer && *open.id == *id);
        if let Some(passes) = found.and_then(|open| open.passes.as_mut()) {
            passes.done += 1;
            passes.failed += u64::from(failed);
        }
    }

    /// The tree as lines, at most so many.
    pub(super) fn lines(&mut self, paint: Paint, most: usize) -> Vec<String> {
        self.turn = self.turn.wrapping_add(1);
        let mut lines = Vec::new();
        self.add(&FramePath::default(), 0, paint, &mut lines);
        if lines.len() > most {
            let more = lines.len() + 1 - most;
            lines.truncate(most.saturating_sub(1));
            lines.push(paint.paint(Tone::Dim, &format!("  \u{2026} and {more} more lines")));
        }
        lines
    }

    /// The nodes of a frame, each with what runs in it.
    fn add(&self, frame: &FramePath, depth: usize, paint: Paint, lines: &mut Vec<String>) {
        for open in self.open.values().filter(|open| open.frame == *frame) {
            lines.push(self.line(open, None, depth, paint));
            if open.passes.is_some() && depth < DEPTH {
                self.add_passes(open, depth + 1, paint, lines);
            }
        }
    }

    fn add_passes(&self, of: &Open, depth: usize, paint: Paint, lines: &mut Vec<String>) {
        let inside = |open: &&Open| {
            open.frame.split().is_some_and(|(outer, id, _)| outer == of.frame && *id == *of.id)
        };
        let children: Vec<&Open> = self.open.values().filter(inside).collect();
        for child in children.iter().take(CHILDREN) {
            let pass = child.frame.split().map(|(_, _, index)| index);
            lines.push(self.line(child, pass, depth, paint));
            if child.passes.is_some() && depth < DEPTH {
                self.add_passes(child, depth + 1, paint, lines);
            }
        }
        if children.len() > CHILDREN {
            let more = format!(
                "{:indent$}  \u{2026} and {} more",
                "",
                children.len() - CHILDREN,
                indent = depth * 3
            );
            lines.push(paint.paint(Tone::Dim, &more));
        }
    }

    fn line(&self, open: &Open, pass: Option<u64>, depth: usize, paint: Paint) -> String {
        let took = open.began.elapsed();
        let wheel = paint.paint(Tone::Odd, WHEEL[self.turn % WHEEL.len()]);
        let mut text = format!("{:indent$}{wheel} {}", "", open.name, indent = depth * 3);
        // writing to a string cannot fail
        if let Some(pass) = pass {
            let _ = write!(text, " [{pass}]");
        }
        if let Some(passes) = &open.passes {
            let _ = write!(text, "  {}", passes.show(took, paint));
        }
        let _ = write!(text, "  {}", paint.paint(Tone::Dim, &steady(took)));
        if !open.note.is_empty() {
            let _ = write!(text, "  {}", paint.paint(Tone::Odd, &open.note));
        }
        text
    }
}

impl Passes {
    /// A bar, how much is done, how fast, and when it will be over.
    fn show(&self, took: Duration, paint: Paint) -> String {
        let filled = (self.done.min(self.length) * CELLS).checked_div(self.length).unwrap_or(0);
        let cells = |count: u64, cell: &str| cell.repeat(usize::try_from(count).unwrap_or(0));
        let mut text = format!(
            "{}{} {}/{}",
            paint.paint(Tone::Good, &cells(filled, "━")),
            paint.paint(Tone::Dim, &cells(CELLS - filled, "─")),
            self.done,
            self.length
        );
        if self.kind == Container::Loop {
            text.push_str(" rounds at most");
        } else if let Some((rate, left)) = pace(self.done, self.length, took) {
            let _ = write!(text, "  {rate}  {} left", whole(left));
        }
        if self.failed > 0 {
            let failed = paint.paint(Tone::Bad, &format!("{} failed", self.failed));
            let _ = write!(text, "  {failed}");
        }
        text
    }
}

/// A length of time that changes no faster than it is read.
fn steady(time: Duration) -> String {
    if time < Duration::from_secs(1) { format!("{:.1} s", time.as_secs_f64()) } else { show(time) }
}

/// Whole seconds.
fn whole(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        _ => show(time),
    }
}

/// How fast passes end, and how long the others take at that pace.
#[expect(clippy::cast_precision_loss, reason = "for people")]
fn pace(done: u64, length: u64, took: Duration) -> Option<(String, Duration)> {
    let rate = done as f64 / took.as_secs_f64();
    if done == 0 || !rate.is_finite() || rate <= 0.0 {
        return None;
    }
    let left = length.saturating_sub(done) as f64 / rate;
    let left = Duration::try_from_secs_f64(left.ceil()).ok()?;
    let rate = if rate >= 10.0 { format!("{rate:.0}/s") } else { format!("{rate:.1}/s") };
    Some((rate, left))
}

fn name(node: &Node) -> String {
    let title = one_line(&node.title, TITLE);
    let what = match node.behaviour {
        Behaviour::Pause(_) => ", waits for a person",
        Behaviour::Inline(_)
        | Behaviour::Task(_)
        | Behaviour::Iteration(_)
        | Behaviour::Loop(_) => "",
    };
    if title.is_empty() {
        format!("{} {}{what}", node.kind, node.id)
    } else {
        format!("{title} ({}{what})", node.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_says_when_it_is_over() {
        let pace = |done, length, seconds| pace(done, length, Duration::from_secs(seconds));
        assert_eq!(pace(0, 9, 1), None);
        assert_eq!(pace(5, 10, 0), None);
        assert_eq!(pace(50, 100, 10), Some(("5.0/s".to_owned(), Duration::from_secs(10))));
        assert_eq!(pace(100, 110, 2), Some(("50/s".to_owned(), Duration::from_secs(1))));
    }
}
