//! The verbs in the order in which people look for them.

use std::fmt::Write as _;

use clap::Command;

/// What verbs are for. Those that stand nowhere come last.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Run workflows", &["run", "resume", "rerun", "runs", "replay"]),
    (
        "Use a server",
        &[
            "serve",
            "workflows",
            "submit",
            "batches",
            "export",
            "explain",
            "limits",
            "retention",
            "top",
            "webhooks",
            "dlq",
            "tenants",
            "keys",
            "audit",
            "secrets",
        ],
    ),
    ("Write workflows", &["validate", "plan", "nodes", "test"]),
    ("Measure and compare", &["bench", "conform"]),
    (
        "Set up",
        &["models", "tools", "knowledge", "sandbox", "config", "migrate", "purge", "completions"],
    ),
];

/// The command line with its verbs in groups.
pub(super) fn grouped(command: Command) -> Command {
    let mut verbs: Vec<(String, String)> = command
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set())
        .map(|verb| {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            (verb.get_name().to_owned(), about)
        })
        .collect();
    let width = verbs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::from("{about}\n\n{usage-heading} {usage}\n");
    let mut group = |title: &str, listed: Vec<(String, String)>| {
        if listed.is_empty() {
            return;
        }
        // writing to a string cannot fail
        let _ = writeln!(text, "\n{title}:");
        for (name, about) in listed {
            let _ = writeln!(text, "  {name:width$}  {about}");
        }
    };
    for (title, names) in GROUPS {
        let place = |name: &str| names.iter().position(|known| *known == name);
        let mut listed: Vec<_> = verbs.extract_if(.., |(name, _)| place(name).is_some()).collect();
        listed.sort_by_key(|(name, _)| place(name));
        group(title, listed);
    }
    group("Others", verbs);
    text.push_str("\nOptions:\n{options}{after-help}");
    command.help_template(text)
}
