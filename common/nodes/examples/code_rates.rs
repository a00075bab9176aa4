//! How many code nodes a second run in each of the ways there are. Every node gets one number and
//! gives one back. A word chooses the ways in whose name it stands.
//!
//!     cargo run --release -p flowmill-nodes --example code_rates
//!     perf stat -e task-clock target/release/examples/code_rates javascript

#![expect(clippy::print_stdout, reason = "it prints what it measured")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use flowmill_engine::value::Value;
use flowmill_engine::variables::{Variable, Variables};
use flowmill_nodes::code::{CodeRunner, CodeSettings};
use flowmill_nodes::context::NodeContext;
use flowmill_nodes::files::MemoryFiles;
use flowmill_nodes::http_request::client::Offline;
use futures::stream::{self, StreamExt};
use support::node;

const PYTHON: &str = "def main(n):\n    return {'twice': 2 * n}";
const JAVASCRIPT: &str = "function main({n}) { return {twice: 2 * n} }";

fn context(settings: &CodeSettings) -> NodeContext {
    let (timeout, code) = (settings.timeout, Arc::new(CodeRunner::new(settings)));
    let files = Arc::new(MemoryFiles::default());
    NodeContext {
        attempt: 1,
        timeout,
        code,
        http: Arc::new(Offline),
        documents: Arc::default(),
        files,
        services: Arc::default(),
        caller: Arc::default(),
        steps: None,
        children: None,
        chunks: None,
    }
}

/// Runs `count` nodes, `width` at a time, on as many threads as there are processors.
async fn measure(what: &str, language: &str, code: &str, context: NodeContext, count: u64) {
    let outputs = Value::object([("type".into(), "number".into())]);
    let outputs = Value::object([("twice".into(), outputs)]);
    let node = node(&language.into(), &code.into(), &["n".into()], &outputs);
    if std::env::args().nth(1).is_some_and(|word| !what.contains(&word)) {
        return;
    }
    let mut variables = Variables::default();
    variables.set(&"start".into(), &"n".into(), Variable::infer(Value::int(21)));
    let (context, variables) = (Arc::new(context), Arc::new(variables));
    let run = |_| {
        let (node, context, variables) = (node.clone(), context.clone(), variables.clone());
        async move {
            let one = tokio::spawn(async move { node.execute(&variables, &context).await.is_ok() });
            one.await.unwrap_or(false)
        }
    };
    let width = 2 * std::thread::available_parallelism().map_or(2, usize::from);
    let all = |count: u64| stream::iter(0..count).map(run).buffer_unordered(width);
    let warm: Vec<bool> = all(width as u64 * 4).collect().await;
    let began = Instant::now();
    let succeeded = all(count).filter(|ok| std::future::ready(*ok)).count().await;
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "rates are shown with few digits")]
    let rate = succeeded as f64 / seconds;
    let failed = count - succeeded as u64 + warm.iter().filter(|ok| !**ok).count() as u64;
    println!("{what:<44} {rate:>9.0}/s   {failed} failed");
}

#[tokio::main]
async fn main() {
    let timeout = Duration::from_mins(1);
    let sandboxed = CodeSettings { timeout, ..CodeSettings::default() };
    let free = CodeSettings { unsafe_code: true, ..sandboxed.clone() };
    let trusted = CodeSettings { trusted_code: true, ..sandboxed.clone() };
    measure("python, sandbox, clean interpreter", "python3", PYTHON, context(&sandboxed), 2000)
        .await;
    measure("python, no sandbox, clean interpreter", "python3", PYTHON, context(&free), 2000).await;
    measure("python, sandbox, shared interpreter", "python3", PYTHON, context(&trusted), 40_000)
        .await;
    measure("javascript, fresh engine", "javascript", JAVASCRIPT, context(&sandboxed), 20_000)
        .await;
}
