//! Which crate may depend on which (docs/ARCHITECTURE.md).

use std::process::Command;

use serde_json::Value;

use crate::tree::{files, none, root};

/// The arrows: a crate, and the crates of the workspace that it may depend on. Nothing points up
/// or sideways. What only tests need is free.
const ARROWS: &[(&str, &[&str])] = &[
    ("flowmill-engine", &[]),
    ("flowmill-yaml", &["flowmill-engine"]),
    ("flowmill-dsl", &["flowmill-engine", "flowmill-yaml"]),
    ("flowmill-services", &["flowmill-engine", "flowmill-yaml"]),
    ("flowmill-nodes", &["flowmill-engine", "flowmill-services", "flowmill-yaml"]),
    ("flowmill-infra", &["flowmill-engine", "flowmill-services"]),
    ("flowmill-knowledge", &["flowmill-engine", "flowmill-services"]),
    ("flowmill-workflow", &["flowmill-engine", "flowmill-dsl", "flowmill-nodes", "flowmill-infra"]),
    (
        "flowmill-scheduler",
        &[
            "flowmill-engine",
            "flowmill-dsl",
            "flowmill-nodes",
            "flowmill-infra",
            "flowmill-services",
            "flowmill-workflow",
        ],
    ),
    (
        "flowmill-worker",
        &[
            "flowmill-engine",
            "flowmill-dsl",
            "flowmill-nodes",
            "flowmill-infra",
            "flowmill-knowledge",
            "flowmill-services",
            "flowmill-workflow",
        ],
    ),
    (
        "flowmill-cli",
        &[
            "flowmill-engine",
            "flowmill-dsl",
            "flowmill-nodes",
            "flowmill-infra",
            "flowmill-knowledge",
            "flowmill-scheduler",
            "flowmill-services",
            "flowmill-worker",
            "flowmill-workflow",
        ],
    ),
];

/// Crates that do no I/O, and the only outside crates they may use. Each of these is itself pure.
const PURE: &[(&str, &[&str])] = &[
    (
        "flowmill-engine",
        &[
            "archery",
            "rpds",
            "indexmap",
            "num-bigint",
            "num-traits",
            "rustc-hash",
            "serde",
            "serde_json",
            "thiserror",
            "zmij",
        ],
    ),
    ("flowmill-dsl", &["indexmap", "num-bigint", "num-traits", "serde", "serde_json", "thiserror"]),
    ("flowmill-yaml", &["num-bigint"]),
];

/// Crates that speak to servers or fix the form of messages: only flowmill-infra knows them, and
/// flowmill-knowledge its own databases.
pub(crate) const FENCED: [&str; 6] = ["lapin", "sqlx", "redis", "bincode", "backoff", "prometheus"];

/// A dependency of a crate of the workspace.
struct Dependency {
    from: String,
    to: String,
    /// Whether only tests need it.
    for_tests: bool,
}

/// What cargo itself makes of the manifests. Nothing is resolved or fetched.
fn metadata() -> Value {
    let answer = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(answer.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&answer.stderr));
    serde_json::from_slice(&answer.stdout).unwrap()
}

fn packages() -> Vec<Value> {
    match metadata()["packages"].take() {
        Value::Array(packages) => packages,
        other => panic!("packages is {other}"),
    }
}

fn dependencies() -> Vec<Dependency> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |package: Value| {
        let from = text(&package["name"]);
        let all = package["dependencies"].as_array().unwrap().clone();
        all.into_iter().map(move |dependency| Dependency {
            from: from.clone(),
            to: text(&dependency["name"]),
            for_tests: dependency["kind"] == "dev",
        })
    };
    packages().into_iter().flat_map(of).collect()
}

fn is_ours(name: &str) -> bool {
    name.starts_with("flowmill")
}

fn allowed<'a>(table: &[(&str, &'a [&'a str])], name: &str) -> Option<&'a [&'a str]> {
    table.iter().find(|(from, _)| *from == name).map(|(_, to)| *to)
}

#[test]
fn cargo_run_is_flowmill() {
    let metadata = metadata();
    let members = metadata["workspace_default_members"].as_array().unwrap();
    let [only] = &members[..] else { panic!("{members:?}: `cargo run` must mean one program") };
    assert!(only.as_str().unwrap().contains("/cli#"), "{only}");
}

#[test]
fn arrows_point_down() {
    let wrong = |dependency: &Dependency| {
        let to = allowed(ARROWS, &dependency.from).unwrap_or(&[]);
        !dependency.for_tests
            && is_ours(&dependency.to)
            // crates under tests/ and the load test may use all others
            && allowed(ARROWS, &dependency.from).is_some()
            && !to.contains(&dependency.to.as_str())
    };
    let found: Vec<String> = dependencies()
        .into_iter()
        .filter(wrong)
        .map(|dependency| format!("{} depends on {}", dependency.from, dependency.to))
        .collect();
    let advice = "These arrows are not in docs/ARCHITECTURE.md. Move the shared part down into \
                  the engine or a port; a new arrow needs an ADR first and then a place in ARROWS \
                  (tests/tidy/src/crates.rs).";
    none(&found, advice);
}

#[test]
fn every_crate_has_its_place() {
    let unplaced = |package: &Value| {
        let (name, manifest) = (package["name"].as_str()?, package["manifest_path"].as_str()?);
        let path = manifest.strip_prefix(root().to_str()?)?.trim_start_matches('/').to_owned();
        let free = path.starts_with("tests/") || path.starts_with("loadtest/");
        (!free && allowed(ARROWS, name).is_none()).then(|| format!("{name} in {path}"))
    };
    let found: Vec<String> = packages().iter().filter_map(unplaced).collect();
    let advice = "Say in ARROWS (tests/tidy/src/crates.rs) and in docs/ARCHITECTURE.md what this \
                  crate may depend on.";
    none(&found, advice);
}

#[test]
fn pure_crates_use_pure_crates() {
    let wrong = |dependency: &Dependency| {
        let pure = allowed(PURE, &dependency.from);
        !dependency.for_tests
            && !is_ours(&dependency.to)
            && pure.is_some_and(|pure| !pure.contains(&dependency.to.as_str()))
    };
    let found: Vec<String> = dependencies()
        .into_iter()
        .filter(wrong)
        .map(|dependency| format!("{} depends on {}", dependency.from, dependency.to))
        .collect();
    let advice = "The engine and the documents do no I/O, read no clock and draw no random \
                  number. If this crate is as pure, add it to PURE (tests/tidy/src/crates.rs); \
                  otherwise its work belongs into common/nodes or common/infra.";
    none(&found, advice);
}

#[test]
fn servers_are_known_to_infra_only() {
    // the tests of a whole cluster make and remove what is theirs on a real server, and are its
    // clients
    let tests = ["flowmill-cluster-tests", "flowmill-e2e-tests"];
    let may = |dependency: &Dependency| {
        dependency.from == "flowmill-infra"
            || (dependency.from == "flowmill-knowledge" && dependency.to == "sqlx")
            || (tests.contains(&&*dependency.from) && dependency.for_tests)
    };
    let wrong =
        |dependency: &Dependency| !may(dependency) && FENCED.contains(&dependency.to.as_str());
    let found: Vec<String> = dependencies()
        .into_iter()
        .filter(wrong)
        .map(|dependency| format!("{} depends on {}", dependency.from, dependency.to))
        .collect();
    none(
        &found,
        "Only common/infra may depend on these, and common/knowledge on sqlx: use one of their ports.",
    );
}

#[test]
fn every_crate_takes_the_common_lints() {
    let silent = |file: &crate::tree::File| {
        let is_crate = file.path.ends_with("/Cargo.toml") && file.text.contains("[package]");
        is_crate && !file.text.contains("[lints]\nworkspace = true")
    };
    let found: Vec<String> = files().into_iter().filter(silent).map(|file| file.path).collect();
    none(&found, "Add to these manifests:\n[lints]\nworkspace = true");
}

#[test]
fn nested_clippy_settings_repeat_the_common_ones() {
    // clippy reads only the nearest file
    let all = files();
    let common = all.iter().find(|file| file.path == "clippy.toml").unwrap();
    let nested = all.iter().filter(|file| file.path.ends_with("/clippy.toml"));
    let lacking = nested.flat_map(|file| {
        let lacks = |line: &&str| !file.text.lines().any(|own| own == *line);
        common.text.lines().filter(lacks).map(|line| format!("{}: {line}", file.path))
    });
    let found: Vec<String> = lacking.collect();
    none(
        &found,
        "Clippy reads only the nearest clippy.toml: repeat these lines of the common one.",
    );
}
