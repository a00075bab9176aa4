//! `flowmill models check`.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, bail};
use flowmill_engine::value::{Name, Value};
use flowmill_services::caller::Caller;
use flowmill_services::models::config::{Config, Model};
use flowmill_services::models::{Ask, Gateway, Message, ModelError, Models as _, Role, Wanted};

use super::{Flags, asked};
use crate::commands::code;
use crate::console::{print, talk};

/// How long an answer may be. Models that think need more than a word.
const MOST_TOKENS: i64 = 256;

pub(super) fn run(flags: &Flags, models: &[String]) -> anyhow::Result<ExitCode> {
    let gateway = flags.services.models()?;
    let mut all = Vec::new();
    for text in models {
        let Some(model) = Model::parse(text) else {
            bail!("--model {text}: write it as PROVIDER/MODEL");
        };
        all.push(directly(&model));
    }
    for file in &flags.workflows {
        all.extend(asked::of_file(file)?.into_iter().map(|asking| asking.wanted));
    }
    if models.is_empty() && flags.workflows.is_empty() {
        all.extend(named(gateway.routes().config()));
    }
    let mut once: Vec<Wanted> = Vec::new();
    for wanted in all {
        if !once.contains(&wanted) {
            once.push(wanted);
        }
    }
    if once.is_empty() {
        bail!(
            "no model is named that could be asked: name one with --model PROVIDER/MODEL, or a \
             document with --workflow FILE"
        );
    }
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    let mut exit = ExitCode::SUCCESS;
    for wanted in &once {
        let began = Instant::now();
        let answer = runtime.block_on(ask(&gateway, wanted));
        let took = began.elapsed().as_millis();
        let (name, provider) = (&wanted.name, &wanted.provider);
        match answer {
            Ok(()) => print(&format!("ok      {took:>6} ms  {name} of {provider}\n"))?,
            Err(error) => {
                print(&format!("failed  {took:>6} ms  {name} of {provider}\n"))?;
                talk(format_args!("  {error}"));
                exit = ExitCode::from(code::FAILED);
            }
        }
    }
    Ok(exit)
}

/// A model as the file itself names it.
fn directly(model: &Model) -> Wanted {
    Wanted { provider: model.provider.clone(), name: model.name.clone(), ..Wanted::default() }
}

/// The models that a file names without a pattern.
fn named(config: &Config) -> Vec<Wanted> {
    let mut found = Vec::new();
    for entry in &config.entries {
        let asked = entry.asked_model.text();
        let name = entry.name.clone().or_else(|| (!asked.contains('*')).then(|| asked.into()));
        let of_pattern = entry.asked_provider.text();
        let provider = entry
            .provider
            .clone()
            .or_else(|| (!of_pattern.contains('*')).then(|| of_pattern.into()));
        if let (Some(provider), Some(name)) = (provider, name) {
            found.push(directly(&Model { provider, name }));
        }
        found.extend(entry.race.iter().chain(&entry.fallbacks).map(directly));
    }
    found
}

/// Asks for a word, for a vector, or for a ranking: what the name of the model sounds like.
async fn ask(gateway: &Gateway, wanted: &Wanted) -> Result<(), ModelError> {
    let caller = Caller { node: "models check".into(), ..Caller::default() };
    let sounds = wanted.name.to_lowercase();
    let text: Name = "Say ok.".into();
    if sounds.contains("rerank") {
        return gateway.rerank(wanted, text.clone(), vec![text], &caller).await.map(|_| ());
    }
    if sounds.contains("embed") {
        return gateway.embed(wanted, vec![text], &caller).await.map(|_| ());
    }
    let ask = Ask {
        messages: vec![Message::text(Role::User, text)],
        params: vec![("max_tokens".into(), Value::int(MOST_TOKENS))],
        streams: true,
        ..Ask::default()
    };
    gateway.ask(wanted, ask, &caller, &|_| {}).await.map(|_| ())
}
