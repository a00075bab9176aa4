//! The scripted provider as a program.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use flowmill_scripted_provider::{Protocol, Provider, Script};

/// Answers as a provider of models, by a script.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where it listens.
    #[arg(long, default_value = "127.0.0.1:8089")]
    listen: SocketAddr,
    /// The script, in JSON; without one it repeats what it is told.
    #[arg(long)]
    script: Option<PathBuf>,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "whoever starts it wants to know where it is")]
async fn main() -> anyhow::Result<()> {
    let Arguments { listen, script } = Arguments::parse();
    let script = match script {
        Some(path) => {
            let text = std::fs::read_to_string(&path);
            let text = text.with_context(|| format!("failed to read {}", path.display()))?;
            let read = serde_json::from_str(&text);
            read.with_context(|| format!("failed to read {} as a script", path.display()))?
        }
        None => Script::default(),
    };
    let provider = Provider::listen(script, listen).await;
    let provider = provider.with_context(|| format!("failed to listen on {listen}"))?;
    println!("openai     {}", provider.url(Protocol::OpenAi));
    println!("anthropic  {}", provider.url(Protocol::Anthropic));
    println!("gemini     {}", provider.url(Protocol::Gemini));
    tokio::signal::ctrl_c().await.context("failed to wait for the end")
}
