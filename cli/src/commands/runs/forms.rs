//! Forms of a server's runs: what people are asked, and their answers.

use std::fmt::Write as _;

use anyhow::{bail, ensure};
use flowmill_engine::value::{Name, Object, Style, Value, dumps};
use reqwest::StatusCode;

use super::super::run::pair;
use super::remote::{line, second};
use crate::console::{one_line, plain, print};
use crate::server::{self, Call, Server, object, rows, text};

/// Letters of a name on a line.
const LINE: usize = 120;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowmill runs forms 0197e0c2-0000-7000-8000-000000000000
  flowmill runs forms 0197e0c2-0000-7000-8000-000000000000 --json | jq .state")]
pub(super) struct Forms {
    /// The run's id.
    #[arg(value_name = "RUN_ID")]
    run: String,
    #[command(flatten)]
    server: server::Flags,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Entries that are not given take their default. Of several answers to a form one counts; the others
are refused.

Examples:
  flowmill runs answer 0197e0c2-0000-7000-8000-000000000000 --action yes --input note='go on'
  flowmill runs answer 0197e0c2-0000-7000-8000-000000000000 5d41402abc4b2a76 --action no")]
pub(super) struct Answer {
    /// The run's id.
    #[arg(value_name = "RUN_ID")]
    run: String,
    /// The form's id, as `flowmill runs forms` says it; not needed when only one waits.
    #[arg(value_name = "FORM_ID")]
    form: Option<String>,
    /// The id of the action to choose.
    #[arg(long, value_name = "ACTION")]
    action: String,
    /// What is entered; a file as its URL or as JSON.
    #[arg(long = "input", value_name = "NAME=VALUE", value_parser = pair)]
    input: Vec<(Name, Name)>,
    /// Who answers.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    #[command(flatten)]
    server: server::Flags,
    /// Print the form as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Lists the forms of a run.
pub(super) async fn list(args: &Forms) -> anyhow::Result<()> {
    let server = args.server.server()?;
    let forms = server.get(&["runs", &args.run, "forms"], Vec::new()).await?;
    let forms = forms.rows("data").into_iter();
    let lines = forms.map(|form| if args.json { line(form) } else { shown(form, &args.run) });
    print(&lines.collect::<Vec<_>>().join(if args.json { "" } else { "\n" }))
}

/// Answers a form.
pub(super) async fn answer(args: &Answer) -> anyhow::Result<()> {
    let server = args.server.server()?;
    let form = find(args, &server).await?;
    let id = text(&form, "id");
    let body = Value::object([
        ("action".into(), args.action.as_str().into()),
        ("inputs".into(), entries(&form, &args.input)?),
        ("user".into(), args.user.as_deref().map_or(Value::None, Value::from)),
    ]);
    let path = ["runs", &args.run, "forms", id];
    let body = Some(dumps(&body, Style::Compact));
    let reply = server.call(Call { path: &path, body, ..Call::default() }).await?;
    if args.json {
        return print(&format!("{}\n", reply.text.trim_end()));
    }
    print(&if reply.status == StatusCode::ACCEPTED {
        format!("the answer to form {id} is kept; no scheduler has looked at it yet\n")
    } else {
        format!("form {id} is answered: {}\n", args.action)
    })
}

/// The form that is meant.
async fn find(args: &Answer, server: &Server) -> anyhow::Result<Object> {
    let run = &*args.run;
    if let Some(form) = &args.form {
        return Ok(server.get(&["runs", run, "forms", form], Vec::new()).await?.members);
    }
    let forms = server.get(&["runs", run, "forms"], Vec::new()).await?;
    let forms = forms.rows("data").into_iter();
    let waiting: Vec<&Object> = forms.filter(|form| text(form, "state") == "waiting").collect();
    ensure!(!waiting.is_empty(), "run {run} waits for nobody's answer");
    let [form] = waiting[..] else {
        let ids: Vec<&str> = waiting.iter().map(|form| text(form, "id")).collect();
        bail!("run {run} waits for {} answers; say which: {}", ids.len(), ids.join(", "))
    };
    Ok(form.clone())
}

/// What is entered, each by its type, with the defaults of what is not.
fn entries(form: &Object, given: &[(Name, Name)]) -> anyhow::Result<Value> {
    let fields = rows(form.get("inputs"));
    let declared = fields.iter().map(|field| {
        Value::object([
            ("name".into(), text(field, "output_variable_name").into()),
            ("type".into(), text(field, "type").into()),
        ])
    });
    let declared = Value::array(declared.collect());
    let known = |name: &Name| fields.iter().any(|it| text(it, "output_variable_name") == &**name);
    if let Some((name, _)) = given.iter().find(|(name, _)| !known(name)) {
        let names: Vec<&str> =
            fields.iter().map(|field| text(field, "output_variable_name")).collect();
        bail!("the form has no input {name:?} (it has {})", names.join(", "));
    }
    let defaults = fields.iter().filter_map(|field| {
        let default = default(field)?;
        Some((Name::from(text(field, "output_variable_name")), Value::Str(default)))
    });
    server::inputs(Some(&declared), defaults.collect(), given)
}

fn default(field: &Object) -> Option<Name> {
    let default: Object = object(field, "default").into_iter().collect();
    match default.get("value") {
        Some(Value::Str(text)) => Some(text.clone()),
        _ => None,
    }
}

/// A form as a person reads it.
fn shown(form: &Object, run: &str) -> String {
    let title = match text(form, "title") {
        "" => text(form, "node"),
        title => title,
    };
    let place = match text(form, "frame") {
        "" => String::new(),
        frame => format!(" @{frame}"),
    };
    let (id, state) = (text(form, "id"), text(form, "state"));
    let mut out =
        format!("form {id}  {state}  {}{}", one_line(title, LINE), one_line(&place, LINE));
    let is_open = state == "waiting";
    let until = second(text(form, if is_open { "expires_at" } else { "answered_at" }));
    // writing to a string cannot fail
    if !until.is_empty() {
        let _ = write!(out, "{}{until}", if is_open { ", until " } else { ", " });
    }
    if !text(form, "action").is_empty() && state == "submitted" {
        let by = match text(form, "answered_by") {
            "" => String::new(),
            by => format!(" by {}", one_line(by, LINE)),
        };
        let _ = write!(out, ": {}{by}", one_line(text(form, "action"), LINE));
    }
    out.push('\n');
    for row in plain(text(form, "content").trim_end()).lines() {
        let _ = writeln!(out, "  | {row}");
    }
    if !is_open {
        return out;
    }
    for field in rows(form.get("inputs")) {
        let name = one_line(text(field, "output_variable_name"), LINE);
        let _ = writeln!(out, "  enter   {name}  {}", takes(field));
    }
    let actions = rows(form.get("actions"));
    for action in &actions {
        let (id, title) = (text(action, "id"), text(action, "title"));
        let _ = writeln!(out, "  choose  {}  {}", one_line(id, LINE), one_line(title, LINE));
    }
    let first = actions.first().map_or("ACTION", |action| text(action, "id"));
    let _ = writeln!(out, "  flowmill runs answer {run} {id} --action {}", one_line(first, LINE));
    out
}

/// What an entry takes.
fn takes(field: &Object) -> String {
    let options: Object = object(field, "option_source").into_iter().collect();
    match (text(field, "type"), default(field), options.get("value")) {
        ("select", _, Some(Value::Array(options))) => {
            let options = options.iter().filter_map(Value::as_str);
            let options: Vec<String> = options.map(|option| one_line(option, LINE)).collect();
            format!("one of {}", options.join(", "))
        }
        ("paragraph", Some(default), _) => format!("text, default {:?}", one_line(&default, LINE)),
        ("paragraph", None, _) => "text".to_owned(),
        ("file", ..) => "a file's URL or JSON".to_owned(),
        (kind, ..) => kind.to_owned(),
    }
}
