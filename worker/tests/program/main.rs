//! The program as those use it who run it: settings in; signals; answers, logs and exit codes out.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../../../scheduler/tests/program/process.rs"]
mod process;

use process::{Place, Process, program};

/// What is tested.
const PROGRAM: &str = env!("CARGO_BIN_EXE_flowmill-worker");

#[test]
fn wrong_settings_are_all_told_before_anything_begins() {
    let environment = [
        ("FLOWMILL_DRAIN", "10"),
        ("FLOWMILL_OUTBOUND__ALLOW_NET", "a:b:c"),
        ("FLOWMILL_SECRETS__KEY", "hidden"),
        ("FLOWMILL_SERVICES__FILE", "nowhere.toml"),
        // where the program for everybody finds its file
        ("FLOWMILL_SERVICES", "elsewhere.toml"),
    ];
    let drain = program(&environment, &[]);
    assert_eq!(drain.code, 2, "{drain:?}");
    assert!(drain.err.contains("drain: write it as 500ms"), "{drain:?}");
    let others = program(&environment, &["--set", "drain=10s", "--set", "slots.llm=0"]);
    assert_eq!(others.code, 2, "{others:?}");
    for key in ["outbound.allow_net", "secrets.key", "services.file: failed to read the"] {
        assert!(others.err.contains(key), "{key} in {others:?}");
    }
    assert!(!others.err.contains("hidden"), "{others:?}");
    let idle = ["light", "code", "http", "llm"].map(|class| format!("--set=slots.{class}=0"));
    let idle = program(&[], &idle.each_ref().map(String::as_str));
    assert!(idle.err.contains("slots: it serves no class at all"), "{idle:?}");
}

#[test]
fn settings_are_shown_without_secrets() {
    let environment = [
        ("FLOWMILL_CODE__SANDBOX_KEY", "hidden"),
        ("FLOWMILL_RABBITMQ__URL", "amqp://me:hidden@broker/%2f"),
        ("FLOWMILL_API__KEY", "a scheduler's"),
    ];
    let shown = program(&environment, &["--print-config"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(!shown.out.contains("hidden"), "{shown:?}");
    assert!(shown.out.contains("amqp://me:***@broker/%2f"), "{shown:?}");
    assert!(shown.out.contains("drain = \"2m\"\n"), "{shown:?}");
}

#[test]
fn a_database_without_our_tables_is_refused() {
    let place = Place::new("worker_unknown");
    let ended = Process::start(&place.settings()).ended();
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.err.contains("flowmill migrate"), "{ended:?}");
}

#[test]
fn it_works_until_it_is_told_to_stop() {
    let place = Place::migrated("worker_works");
    let mut process = Process::start(&place.settings());
    process.until("working");
    assert!(process.until_ready().contains("\"ready\":true"));
    assert_eq!(process.get("/healthz").0, 200);
    assert_eq!(process.get("/api/v1/runs").0, 404);
    process.signal("TERM");
    let ended = process.ended();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.is_empty() && !ended.err.contains("ERROR"), "{ended:?}");
}
