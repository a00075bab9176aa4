//! How long templates take, native and with the real Jinja2:
//! `cargo run --release -p flowmill-nodes --example jinja_speed`; with the word `clean` or `trusted`
//! only the real one, in that way.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement to be read")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flowmill_engine::graph::{Content, Item, Mode, Problems};
use flowmill_engine::plan::Source;
use flowmill_engine::value::{Name, Value};
use flowmill_engine::variables::Variables;
use flowmill_nodes::code::{CodeRunner, CodeSettings};
use flowmill_nodes::context::NodeContext;
use flowmill_nodes::files::MemoryFiles;
use flowmill_nodes::http_request::client::Offline;
use flowmill_nodes::jinja::{Context, Template};
use flowmill_nodes::registry;
use futures::stream::{self, StreamExt as _};

const LOOP: &str = "{% for u in users if u.active %}{{ loop.index }}. {{ u.name | upper }} \
                    ({{ u.age }}){% if not loop.last %}, {% endif %}{% endfor %}";

/// Renderings of the real Jinja2.
const REAL: usize = 1000;

fn main() {
    let user = |number: i64| {
        Value::object([
            ("name".into(), Value::from(format!("user {number}"))),
            ("age".into(), Value::int(20 + number)),
            ("active".into(), Value::Bool(number % 4 != 0)),
        ])
    };
    let users = |count: i64| [("users".into(), Value::array((0..count).map(user).collect()))];
    let word = std::env::args().nth(1);
    if word.is_none() {
        native("x={{ v }}!", &[("v".into(), Value::int(42))]);
        native("Dear {{ v | upper }}, {{ v }}", &[("v".into(), "Ada".into())]);
        native(LOOP, &users(10));
        native(LOOP, &users(1000));
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (trusted_code, how) in [(false, "clean"), (true, "trusted")] {
        if word.as_ref().is_some_and(|word| word != how) {
            continue;
        }
        runtime.block_on(real("{{ [1, 2, 3] | random }}", trusted_code));
    }
}

/// Times a template with its context, as a node of a plan renders it, and its compilation.
fn native(text: &str, values: &[(Name, Value)]) {
    let template = Template::compile(text);
    let each = best(|| {
        let context = Context::new(values.iter().cloned()).unwrap();
        black_box(template.render(&context).unwrap());
    });
    let compiled = best(|| {
        black_box(Template::compile(black_box(text)));
    });
    let shown: String = text.chars().take(40).collect();
    println!("{each:9.2} µs, compiled in {compiled:.2} µs: {shown}");
}

/// Microseconds for one call, in the best of ten rounds.
fn best(mut call: impl FnMut()) -> f64 {
    let mut round = |count: u32| {
        let began = Instant::now();
        for _ in 0..count {
            call();
        }
        began.elapsed() / count
    };
    let once = round(10).max(Duration::from_nanos(50));
    let count = (Duration::from_millis(50).as_nanos() / once.as_nanos()).max(1);
    let count = u32::try_from(count).unwrap();
    let best = (0..10).map(|_| round(count)).min().unwrap();
    best.as_secs_f64() * 1e6
}

async fn real(text: &str, trusted_code: bool) {
    let empty = Content::Seq(Vec::new());
    let of = |content| Item { line: 1, content };
    let data = Content::Map(vec![
        (of(Content::Str("template".into())), of(Content::Str(text.into()))),
        (of(Content::Str("variables".into())), of(empty)),
    ]);
    let (id, data, mode) = ("t".into(), of(data), Mode::Workflow);
    let (kind, title) = ("template-transform", "");
    let source =
        Source { id: &id, kind, title, data: &data, mode, strict: false, dify_sizes: false };
    let (_, node) = registry::compile(&source, &mut Problems::new()).unwrap();
    let node = node.unwrap();
    let settings = CodeSettings { trusted_code, ..CodeSettings::default() };
    let context = NodeContext {
        attempt: 1,
        timeout: Duration::from_mins(1),
        code: Arc::new(CodeRunner::new(&settings)),
        http: Arc::new(Offline),
        files: Arc::new(MemoryFiles::default()),
        documents: Arc::default(),
        services: Arc::default(),
        caller: Arc::default(),
        steps: None,
        children: None,
        chunks: None,
    };
    let variables = Variables::default();
    // the interpreters start with the first programs
    for count in [16, REAL] {
        let began = Instant::now();
        stream::iter(0..count)
            .map(|_| node.execute(&variables, &context))
            .buffer_unordered(8)
            .for_each(async |result| assert!(result.is_ok(), "{result:?}"))
            .await;
        if count == REAL {
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            let rate = count as f64 / began.elapsed().as_secs_f64();
            let how = if trusted_code { "trusted" } else { "clean" };
            println!("{rate:9.0} a second, {how}, by the real Jinja2: {text}");
        }
    }
}
