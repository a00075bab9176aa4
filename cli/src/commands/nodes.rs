//! `flowmill nodes`: the catalogue of node types.

use std::fmt::Write as _;
use std::process::ExitCode;

use flowmill_engine::plan::Category;
use flowmill_nodes::catalogue::{FieldKind, Needs, NodeType, Runs};
use flowmill_nodes::registry::{self, TYPES};
use serde_json::{Value as Json, json};

use crate::console::{print, talk};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowmill nodes                         all node types, one line each
  flowmill nodes iteration               its fields, handles and outputs
  flowmill nodes llm --format json       the same for machines")]
pub(crate) struct Args {
    /// A node type, as it stands in documents.
    #[arg(value_name = "TYPE")]
    name: Option<String>,
    /// How the catalogue is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One list of objects.
    Json,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let chosen: Vec<&NodeType> = match &args.name {
        None => TYPES.to_vec(),
        Some(name) => TYPES.iter().copied().filter(|kind| kind.name == name).collect(),
    };
    if let (true, Some(name)) = (chosen.is_empty(), &args.name) {
        let hint = match registry::nearest(name) {
            Some(near) => format!("did you mean {near}?"),
            None => "`flowmill nodes` lists all".to_owned(),
        };
        talk(format!("flowmill: there is no node type {name:?} ({hint})"));
        return Ok(ExitCode::from(2));
    }
    let text = match (args.format, &args.name) {
        (Format::Json, _) => {
            format!("{:#}\n", Json::Array(chosen.iter().map(|kind| as_json(kind)).collect()))
        }
        (Format::Text, None) => list(&chosen),
        (Format::Text, Some(_)) => {
            chosen.iter().map(|kind| details(kind)).collect::<Vec<_>>().join("\n")
        }
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn list(kinds: &[&NodeType]) -> String {
    let width = kinds.iter().map(|kind| title(kind).len()).max().unwrap_or(0);
    let mut text = String::new();
    for kind in kinds {
        let needs = match kind.needs {
            Needs::Nothing => "",
            Needs::Service => " (asks a service)",
        };
        // writing to a string cannot fail
        let _ = writeln!(text, "{:<width$}  {}{needs}", title(kind), kind.about);
    }
    text
}

/// Its name, with the version where several share it.
fn title(kind: &NodeType) -> String {
    let shared = TYPES.iter().filter(|other| other.name == kind.name).count() > 1;
    if shared { format!("{} v{}", kind.name, kind.version) } else { kind.name.to_owned() }
}

fn details(kind: &NodeType) -> String {
    let mut text = format!("{}: {}\n\n", title(kind), kind.about);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<9} {value}");
    };
    line("category", category(kind.category));
    line("runs", &runs(kind.runs));
    line("retries", if kind.retries { "yes, by retry_config" } else { "no" });
    line("handles", if kind.handles.is_empty() { "none" } else { kind.handles });
    match kind.needs {
        Needs::Nothing => {}
        Needs::Service => line("asks", "whoever the services file names (--services)"),
    }
    if !kind.outputs.is_empty() {
        text.push_str("\noutputs\n");
        let rows = kind.outputs.iter().map(|output| {
            [output.name.to_owned(), output.kind.to_owned(), output.about.to_owned()]
        });
        table(&mut text, rows.collect());
    }
    if !kind.fields.is_empty() {
        text.push_str("\nfields of data\n");
        let rows = kind.fields.iter().map(|field| {
            let about = match field.default {
                "required" => format!("{} (required)", field.about),
                default => format!("{} (default {default})", field.about),
            };
            [field.name.to_owned(), field_kind(field.kind), about]
        });
        table(&mut text, rows.collect());
    }
    text
}

fn table(text: &mut String, rows: Vec<[String; 3]>) {
    /// A column wider than this does not push the others to the right.
    const WIDEST: usize = 40;
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.filter(|width| *width <= WIDEST).max().unwrap_or(0)
    };
    let (first, second) = (width(0), width(1));
    for [name, kind, about] in &rows {
        let _ = writeln!(text, "  {name:<first$}  {kind:<second$}  {about}");
    }
}

fn category(category: Category) -> &'static str {
    match category {
        Category::Root => "root: may begin a run",
        Category::Branch => "branch: one handle is taken, the others are skipped",
        Category::Container => "container: runs a body of its own",
        Category::Response => "response: its outputs are the run's",
        Category::Executable => "executable: every edge that leaves it is taken",
        Category::BodyStart => "body start: begins a container's body",
        Category::LoopEnd => "loop end: ends the loop around it",
    }
}

fn category_word(category: Category) -> &'static str {
    match category {
        Category::Root => "root",
        Category::Branch => "branch",
        Category::Container => "container",
        Category::Response => "response",
        Category::Executable => "executable",
        Category::BodyStart => "body-start",
        Category::LoopEnd => "loop-end",
    }
}

fn runs(runs: Runs) -> String {
    match runs {
        Runs::Inline => "in the core itself".to_owned(),
        Runs::Task(task) => {
            let costly = if task.costly { ", may cost money or act on the world" } else { "" };
            format!("on a worker (class {}{costly})", task.class.name())
        }
        Runs::Container => "in the core, pass by pass".to_owned(),
        Runs::Person => "when a person answers; the run pauses until then".to_owned(),
    }
}

fn field_kind(kind: FieldKind) -> String {
    match kind {
        FieldKind::Text => "text".to_owned(),
        FieldKind::Template => "template".to_owned(),
        FieldKind::Flag => "true or false".to_owned(),
        FieldKind::Integer => "integer".to_owned(),
        FieldKind::Selector => "list of text".to_owned(),
        FieldKind::Selectors => "list of selectors".to_owned(),
        FieldKind::Word(words) => words.join(" | "),
        FieldKind::Mapping => "mapping".to_owned(),
        FieldKind::List => "list of mappings".to_owned(),
        FieldKind::Any => "anything".to_owned(),
    }
}

fn as_json(kind: &NodeType) -> Json {
    let (runs, task) = match kind.runs {
        Runs::Inline => ("inline", None),
        Runs::Task(task) => ("task", Some(task)),
        Runs::Container => ("container", None),
        Runs::Person => ("person", None),
    };
    let fields = kind.fields.iter().map(|field| {
        let words = match field.kind {
            FieldKind::Word(words) => json!(words),
            _ => Json::Null,
        };
        let required = field.default == "required";
        // defaults are documented as JSON
        let default = serde_json::from_str(field.default).unwrap_or(Json::Null);
        json!({
            "name": field.name,
            "kind": kind_word(field.kind),
            "words": words,
            "required": required,
            "default": default,
            "about": field.about,
        })
    });
    let outputs = kind
        .outputs
        .iter()
        .map(|output| json!({ "name": output.name, "kind": output.kind, "about": output.about }));
    json!({
        "type": kind.name,
        "version": kind.version,
        "about": kind.about,
        "category": category_word(kind.category),
        "runs": runs,
        "class": task.map(|task| task.class.name()),
        "costly": task.is_some_and(|task| task.costly),
        "retries": kind.retries,
        "asks_service": kind.needs == Needs::Service,
        "handles": kind.handles,
        "outputs": outputs.collect::<Vec<_>>(),
        "fields": fields.collect::<Vec<_>>(),
        "example": serde_json::from_str(kind.example).unwrap_or(Json::Null),
    })
}

fn kind_word(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Text => "text",
        FieldKind::Template => "template",
        FieldKind::Flag => "flag",
        FieldKind::Integer => "integer",
        FieldKind::Selector => "selector",
        FieldKind::Selectors => "selectors",
        FieldKind::Word(_) => "word",
        FieldKind::Mapping => "mapping",
        FieldKind::List => "list",
        FieldKind::Any => "any",
    }
}
