//! The settings of all programs are looked at before any of them runs.

use crate::cluster::ours;

/// What `flowmill config` says, and whether all is well.
fn config(arguments: &[&str]) -> (bool, String, String) {
    let mut command = ours("flowmill");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FLOWMILL_")) {
        command.env_remove(name);
    }
    let output = command.arg("config").args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn settings_are_checked_by_the_programs_themselves() {
    for program in ["flowmill-scheduler", "flowmill-worker"] {
        assert!(!ours(program).get_program().is_empty(), "{program} lies beside it");
    }
    let (is_well, told, complaint) = config(&["check"]);
    let expected = "flowmill-scheduler: the settings can be used\n\
                    flowmill-worker: the settings can be used\n";
    assert_eq!((is_well, &*told, &*complaint), (true, expected, ""));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flowmill.toml");
    std::fs::write(&file, "[retention]\nfailed = \"3s\"\n[slots]\nllm = 5\n").unwrap();
    let file = file.to_str().unwrap();
    let (is_well, told, complaint) = config(&["check", "--config", file]);
    assert!(!is_well && complaint.contains("retention.failed"), "{complaint}");
    assert_eq!(told, "flowmill-worker: the settings can be used\n", "they are none of its own");

    let (is_well, told, _) = config(&["show", "worker", "--config", file, "--set", "slots.http=7"]);
    assert!(is_well && told.contains("llm = 5  # ") && told.contains("http = 7  # "), "{told}");
    assert!(!told.contains("[retention]"), "{told}");
}
