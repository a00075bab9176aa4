//! `flowmill models list`.

use std::fmt::Write as _;
use std::process::ExitCode;

use flowmill_services::caller::Caller;
use flowmill_services::models::config::{Config, Features, Limits, Provider};
use flowmill_services::models::{Known, Offer, Routes};
use flowmill_services::secret::Credential;

use super::{Flags, asked};
use crate::commands::code;
use crate::console::{print, talk};

pub(super) fn run(flags: &Flags) -> anyhow::Result<ExitCode> {
    let config = flags.services.read()?.file.models;
    let mut text = String::new();
    if flags.workflows.is_empty() {
        providers(&mut text, &config)?;
        models(&mut text, &config)?;
        print(&text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let routes = Routes::new(config);
    let mut exit = ExitCode::SUCCESS;
    for file in &flags.workflows {
        let asking = asked::of_file(file)?;
        if asking.is_empty() {
            writeln!(text, "{}: no node asks for a model", file.display())?;
        }
        for asking in asking {
            let wanted = &asking.wanted;
            let (file, kind, node) = (file.display(), &asking.kind, &asking.node);
            write!(text, "{file}: {kind} {node}: {} of {}", wanted.name, wanted.provider)?;
            let caller = Caller { node: node.clone(), ..Caller::default() };
            match routes.find(wanted, &caller) {
                Ok(route) => {
                    writeln!(text, " -> {}", offered(&route.first))?;
                    for other in &route.race {
                        writeln!(text, "    at the same time {}", offered(other))?;
                    }
                    for other in &route.fallbacks {
                        writeln!(text, "    or else {}", offered(other))?;
                    }
                }
                Err(error) => {
                    writeln!(text, " -> nobody")?;
                    talk(&error);
                    exit = ExitCode::from(code::FAILED);
                }
            }
        }
    }
    print(&text)?;
    Ok(exit)
}

fn providers(text: &mut String, config: &Config) -> std::fmt::Result {
    match &config.file {
        Some(file) => writeln!(text, "providers of {file}:")?,
        None => writeln!(text, "providers of the environment (there is no services file):")?,
    }
    if config.providers.is_empty() {
        writeln!(text, "  none")?;
    }
    for provider in &config.providers {
        let Provider { name, kind, url, .. } = provider;
        writeln!(text, "  {name}  {} at {url}, {}", kind.name(), key(provider))?;
        if let Some(limits) = limits(&provider.limits) {
            writeln!(text, "    {limits}")?;
        }
    }
    Ok(())
}

fn models(text: &mut String, config: &Config) -> std::fmt::Result {
    if config.entries.is_empty() {
        return Ok(());
    }
    writeln!(text, "models that documents ask for:")?;
    for entry in &config.entries {
        let asked = (entry.asked_provider.text(), entry.asked_model.text());
        let provider = entry.provider.as_deref().unwrap_or("the provider of that name");
        let name = entry.name.as_deref().unwrap_or("the same");
        writeln!(text, "  {} of {} -> {name} of {provider}", asked.1, asked.0)?;
        if let Some(features) = said(&entry.features) {
            writeln!(text, "    {features}")?;
        }
        if let Some(price) = &entry.pricing {
            let (input, output, unit) = (&price.input, &price.output, &price.unit);
            writeln!(text, "    {input} in, {output} out {} for {unit}", price.currency)?;
        }
        if let Some(limits) = limits(&entry.limits) {
            writeln!(text, "    {limits}")?;
        }
        for (what, others) in [("race", &entry.race), ("fallbacks", &entry.fallbacks)] {
            if !others.is_empty() {
                let others =
                    others.iter().map(|other| format!("{}/{}", other.provider, other.name));
                writeln!(text, "    {what}: {}", others.collect::<Vec<_>>().join(", "))?;
            }
        }
    }
    Ok(())
}

/// A model and what is known of it.
fn offered(offer: &Offer) -> String {
    let Known { tools, schema, images, audio, video, documents, context_tokens } = offer.known;
    let features = [
        (tools, "tools"),
        (schema, "schema"),
        (images, "images"),
        (audio, "audio"),
        (video, "video"),
        (documents, "documents"),
    ];
    let features = features.iter().filter(|(has, _)| *has).map(|(_, name)| *name);
    let mut about: Vec<String> = features.map(str::to_owned).collect();
    if let Some(tokens) = context_tokens {
        about.push(format!("{tokens} tokens of context"));
    }
    about.push(key(&offer.provider));
    format!("{} of {} ({})", offer.name, offer.provider.name, about.join(", "))
}

/// What the file says of what a model can do.
fn said(features: &Features) -> Option<String> {
    let Features { tools, schema, images, audio, video, documents, .. } = features;
    let flags = [
        (tools, "tools"),
        (schema, "schema"),
        (images, "images"),
        (audio, "audio"),
        (video, "video"),
        (documents, "documents"),
    ];
    let word = |(flag, name): &(&Option<bool>, &str)| {
        flag.map(|has| if has { (*name).to_owned() } else { format!("no {name}") })
    };
    let mut all: Vec<String> = flags.iter().filter_map(word).collect();
    all.extend(features.context_tokens.map(|tokens| format!("{tokens} tokens of context")));
    (!all.is_empty()).then(|| all.join(", "))
}

fn key(provider: &Provider) -> String {
    match &provider.key {
        Credential::None => "no key".to_owned(),
        Credential::Given(_) => "key is there".to_owned(),
        Credential::Missing(variable) => format!("key is missing: {variable} is not set"),
    }
}

fn limits(limits: &Limits) -> Option<String> {
    let Limits { requests_per_minute, tokens_per_minute, at_once } = limits;
    let all = [
        (requests_per_minute, "calls a minute"),
        (tokens_per_minute, "tokens a minute"),
        (at_once, "at once"),
    ];
    let all = all.iter().filter_map(|(limit, what)| limit.map(|limit| format!("{limit} {what}")));
    let all: Vec<String> = all.collect();
    (!all.is_empty()).then(|| format!("limits: {}", all.join(", ")))
}
