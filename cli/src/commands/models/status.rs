//! `flowmill models status`.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use flowmill_engine::value::{Object, Value};

use crate::commands::dlq::line;
use crate::console::{print, talk};
use crate::server::{Flags, Reply, number, text};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    server: Flags,
    /// Also what this run has spent of its budget.
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Also what this batch has spent of its budget.
    #[arg(long, value_name = "ID")]
    batch: Option<String>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    let named = [("run", &args.run), ("batch", &args.batch)];
    let query = named.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
    let query = query.collect();
    let server = args.server.server()?;
    let reply = runtime.block_on(server.get(&["models"], query))?;
    let (providers, budgets) = (reply.rows("data"), reply.rows("budgets"));
    if !is_known(&reply) {
        talk(
            "the server has no Redis, or does not reach it: each worker limits itself, and only it \
             knows how its providers stand",
        );
    }
    if args.json {
        print(&providers.into_iter().chain(budgets).map(line).collect::<String>())?;
    } else if is_known(&reply) {
        print(&told(&providers, &budgets))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn is_known(reply: &Reply) -> bool {
    reply.members.get("is_known") == Some(&Value::Bool(true))
}

fn told(providers: &[&Object], budgets: &[&Object]) -> String {
    let mut out = String::new();
    if providers.is_empty() {
        out.push_str("no provider was asked within the last hour\n");
    } else {
        let head = ["PROVIDER", "CIRCUIT", "IN FLIGHT", "A MINUTE", "LEFT ALONE UNTIL"];
        table(&mut out, head, providers.iter().map(|row| provider(row)));
    }
    if !budgets.is_empty() {
        out.push('\n');
        let head = ["BUDGET", "TOKENS", "MONEY", "BEGINS ANEW"];
        table(&mut out, head, budgets.iter().map(|row| budget(row)));
    }
    out
}

fn provider(row: &Object) -> [String; 5] {
    let name = match text(row, "model") {
        "" => text(row, "provider").to_owned(),
        model => format!("{}/{model}", text(row, "provider")),
    };
    let failures = number(row, "failures_in_a_row");
    let circuit = match failures {
        0 => text(row, "circuit").to_owned(),
        count => format!("{}, {count} failures", text(row, "circuit")),
    };
    let under_way = number(row, "in_flight");
    let most = [limit(row, "at_once"), limit(row, "at_once_for_now")];
    let in_flight = match most {
        [None, None] => under_way.to_string(),
        [Some(most), None] => format!("{under_way} of {most}"),
        [None, Some(now)] => format!("{under_way} of {now} for now"),
        [Some(most), Some(now)] if now >= most => format!("{under_way} of {most}"),
        [Some(most), Some(now)] => format!("{under_way} of {now} for now, {most} at most"),
    };
    let minute = [("requests_per_minute", "calls"), ("tokens_per_minute", "tokens")];
    let minute =
        minute.iter().filter_map(|(key, what)| Some(format!("{} {what}", limit(row, key)?)));
    let minute = minute.collect::<Vec<_>>().join(", ");
    let until = [("open_until", "it fails"), ("cools_until", "it asked for fewer calls")];
    let until = until.iter().filter(|(key, _)| !text(row, key).is_empty());
    let until = until.map(|(key, why)| format!("{} ({why})", text(row, key)));
    [name, circuit, in_flight, minute, until.collect::<Vec<_>>().join(", ")]
}

fn budget(row: &Object) -> [String; 4] {
    let tokens = match limit(row, "tokens_limit") {
        Some(most) => format!("{} of {most}", number(row, "tokens")),
        None => number(row, "tokens").to_string(),
    };
    let money = match text(row, "money_limit") {
        "" => text(row, "money").to_owned(),
        most => format!("{} of {most}", text(row, "money")),
    };
    let name = format!("{} {}", text(row, "kind"), text(row, "name"));
    [name, tokens, money, text(row, "begins_anew_at").to_owned()]
}

/// A limit; None where there is none.
fn limit(row: &Object, key: &str) -> Option<u64> {
    matches!(row.get(key), Some(Value::Int(_))).then(|| number(row, key))
}

/// Rows below each other, with a line above.
fn table<const N: usize>(
    out: &mut String,
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(width);
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        // writing to a string cannot fail
        let _ = writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Object {
        match flowmill_engine::value::loads(text) {
            Ok(Value::Object(row)) => row.as_ref().clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_table_says_how_providers_stand_and_what_was_spent() {
        let providers = [
            row(r#"{"provider": "eu", "model": null, "circuit": "open", "failures_in_a_row": 6,
                "open_until": "12:00Z", "cools_until": null, "in_flight": 0, "at_once": null,
                "at_once_for_now": null, "requests_per_minute": null, "tokens_per_minute": null}"#),
            row(r#"{"provider": "openai", "model": "gpt-4o", "circuit": "closed",
                "failures_in_a_row": 0, "open_until": null, "cools_until": "12:01Z",
                "in_flight": 2, "at_once": 50, "at_once_for_now": 7, "requests_per_minute": 500,
                "tokens_per_minute": 200000}"#),
        ];
        let budgets = [row(r#"{"kind": "tenant", "name": "acme", "tokens": 1200,
            "tokens_limit": null, "money": "0.12", "money_limit": "5",
            "begins_anew_at": "tomorrow"}"#)];
        let expected = "\
PROVIDER       CIRCUIT           IN FLIGHT                    A MINUTE                  LEFT ALONE UNTIL
eu             open, 6 failures  0                                                      12:00Z (it fails)
openai/gpt-4o  closed            2 of 7 for now, 50 at most  500 calls, 200000 tokens  12:01Z (it asked for fewer calls)

BUDGET       TOKENS  MONEY      BEGINS ANEW
tenant acme  1200    0.12 of 5  tomorrow
";
        let told = told(&providers.each_ref(), &budgets.each_ref());
        assert_eq!(squeezed(&told), squeezed(expected), "{told}");
        let widths: Vec<usize> = told.lines().take(3).filter_map(|line| line.find("  ")).collect();
        assert_eq!(widths.len(), 3, "{told}");
    }

    /// Blanks in a row as two: what is told, however wide its columns are.
    fn squeezed(text: &str) -> Vec<Vec<&str>> {
        text.lines()
            .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
            .collect()
    }

    #[test]
    fn who_was_not_asked_is_not_told_of() {
        assert_eq!(told(&[], &[]), "no provider was asked within the last hour\n");
    }
}
