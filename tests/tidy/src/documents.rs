//! What the documents promise.

use std::path::Path;

use crate::tree::{File, files, none, numbered, root};

/// Where the links of a line lead, as written.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// Whether a link leads to a file of the repository.
fn is_local(link: &str) -> bool {
    !link.is_empty() && !link.contains("://") && !link.starts_with(['#', '<']) && link != "…"
}

#[test]
fn links_lead_somewhere() {
    let broken = |file: File| {
        let folder = root().join(Path::new(&file.path).parent().unwrap());
        let missing = |link: &&str| {
            let path = link.split('#').next().unwrap_or_default();
            is_local(link) && !folder.join(path).exists()
        };
        numbered(&file.text)
            .flat_map(|(at, line)| links(line).map(move |link| (at, link)))
            .filter(|(_, link)| missing(link))
            .map(|(at, link)| format!("{}:{at}: {link}", file.path))
            .collect::<Vec<_>>()
    };
    let pages = files().into_iter().filter(|file| file.has_extension("md"));
    let found: Vec<String> = pages.flat_map(broken).collect();
    none(&found, "No file lies where these links lead. Links are relative to their own file.");
}

/// What stands between backticks in a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[test]
fn places_in_the_tour_exist() {
    let all = files();
    let tour = all.iter().find(|file| file.path == "docs/ARCHITECTURE.md").unwrap();
    // `engine/…` is short for `common/engine/…`
    let exists =
        |place: &str| ["", "common"].iter().any(|folder| root().join(folder).join(place).exists());
    let is_place = |text: &str| {
        let is_source = Path::new(text).extension().is_some_and(|extension| extension == "rs");
        text.contains('/') && (is_source || text.ends_with('/'))
    };
    let missing = numbered(&tour.text).flat_map(|(at, line)| {
        let places = quoted(line).filter(|text| is_place(text) && !exists(text));
        places.map(move |place| format!("{}:{at}: {place}", tour.path)).collect::<Vec<_>>()
    });
    let found: Vec<String> = missing.collect();
    none(&found, "These files are elsewhere now: tell the tour.");
}

#[test]
fn decisions_are_listed() {
    let all = files();
    let index = all.iter().find(|file| file.path == "docs/adr/README.md").unwrap();
    let is_decision = |file: &&File| {
        let name = file.path.strip_prefix("docs/adr/").unwrap_or_default();
        name.starts_with(|first: char| first.is_ascii_digit())
    };
    let unlisted = |file: &&File| !index.text.contains(file.path.trim_start_matches("docs/adr/"));
    let found: Vec<String> =
        all.iter().filter(is_decision).filter(unlisted).map(|file| file.path.clone()).collect();
    none(&found, "Add these decisions to docs/adr/README.md.");
}

#[test]
fn links_are_found() {
    let line = "See [a](a.md), [b](../b.md#part) and [c](https://example.com).";
    assert_eq!(
        links(line).filter(|link| is_local(link)).collect::<Vec<_>>(),
        ["a.md", "../b.md#part"]
    );
}

#[test]
fn the_page_of_settings_has_all_defaults() {
    let all = files();
    let page = all.iter().find(|file| file.path == "docs/configuration.md").unwrap();
    let defaults: Vec<&File> =
        all.iter().filter(|file| file.path.ends_with("/config.default.toml")).collect();
    assert!(defaults.len() >= 2, "the list lacks the programs' defaults");
    let lacking = |file: &&&File| !page.text.contains(&format!("```toml\n{}```\n", file.text));
    let found: Vec<String> =
        defaults.iter().filter(lacking).map(|file| file.path.clone()).collect();
    none(&found, "docs/configuration.md repeats these files word for word: copy them there.");
}
