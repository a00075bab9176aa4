//! Tools that are commands, on workers of a cluster: each call is held by the kernel there as it is
//! anywhere, and cut when its run is stopped.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::cluster::{Asked, Cluster};
use crate::documents::tool_of_word;
use crate::process::until;
use crate::servers::folder;

/// Counts words of what it is told, and says what else it could do.
const HELD: &str = "wc -w\n\
    cat /etc/passwd >/dev/null 2>&1 && echo read\n\
    (echo x > /var/tmp/flowmill-held) 2>/dev/null && echo written\n\
    (exec 3<>/dev/tcp/127.0.0.1/1) 2>&1 | grep -qi 'not permitted' && echo offline\n\
    env | grep -c -e FLOWMILL -e HELD";

/// Its number is in no other command line.
const LONG: &str = "exec sleep 7193";

fn asked(folder: &Path) -> Asked {
    let tool = |provider: &str, script: &str, more: &str| {
        format!(
            "[[tools]]\nprovider = \"{provider}\"\n[tools.command]\nargv = [\"/bin/bash\", \"-c\", \
             {script:?}]\nresult = \"text\"\n{more}\n"
        )
    };
    let held = tool("held", HELD, "stdin = \"{word}\"\nenv = {HELD = \"1\"}");
    let file = folder.join("services.toml");
    std::fs::write(&file, held + &tool("long", LONG, "")).unwrap();
    Asked { file, proxy: "http://127.0.0.1:1".to_owned() }
}

/// How many processes of this machine have this command line.
fn processes(words: &str) -> usize {
    let is_it = |folder: &std::fs::DirEntry| {
        let line = std::fs::read(folder.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").trim() == words
    };
    std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).filter(is_it).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_held_on_a_worker_and_ends_with_its_run() {
    let folder = folder();
    let cluster = Cluster::with_services(1, 2, &asked(folder.path())).await;
    let api = &cluster.api;
    let held = api.push(&tool_of_word("held")).await;
    let run = api.submit(&held, json!({ "word": "three little words" }), "held").await;
    let ended = api.end(&run).await;
    assert_eq!(ended["status"], "succeeded", "{ended}");
    let said: Vec<&str> = ended["outputs"]["said"].as_str().unwrap().split_whitespace().collect();
    assert_eq!(said, ["3", "offline", "1"], "{ended}");

    let long = api.push(&tool_of_word("long")).await;
    let run = api.submit(&long, json!({ "word": "any" }), "long").await;
    until("the command", async || processes("sleep 7193") == 1).await;
    let cancel = format!("/api/v1/runs/{run}/cancel");
    assert_eq!(api.ask("POST", &cancel, "", "").await.status, 202);
    assert_eq!(api.end(&run).await["status"], "stopped");
    let gone = until("the command's end", async || processes("sleep 7193") == 0);
    tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
}
