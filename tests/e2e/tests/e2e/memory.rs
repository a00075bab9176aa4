//! How much memory the programs take at most, all of it counted that is theirs while they run.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Api, Cluster, ours};
use crate::documents::{Maker, large_list};
use crate::process::{Process, free_port, until};
use crate::servers::folder;

/// The most that any process may take.
const MOST_MB: u64 = 300;

/// 40 MB of JSON.
const COUNT: usize = 40_000;

/// One after the other: what one run leaves behind counts for the next.
const MAKERS: [Maker; 4] = [Maker::Python, Maker::JavaScript, Maker::Texts, Maker::JavaScript];

/// Looks at processes and at what they start, for as long as it lives. The highest of each is kept
/// by the kernel; it is only to be read before the process ends.
struct Peaks {
    seen: Arc<Mutex<BTreeMap<u32, (String, u64)>>>,
    is_enough: Arc<AtomicBool>,
}

impl Peaks {
    fn of(roots: Vec<u32>) -> Self {
        let this = Self { seen: Arc::default(), is_enough: Arc::default() };
        let (seen, is_enough) = (this.seen.clone(), this.is_enough.clone());
        std::thread::spawn(move || {
            while !is_enough.load(Ordering::Relaxed) {
                for (process, name, peak) in family(&roots) {
                    seen.lock().unwrap().insert(process, (name, peak));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        this
    }

    /// The highest of the processes with each name, in MB.
    fn by_name(&self) -> BTreeMap<String, u64> {
        let mut highest: BTreeMap<String, u64> = BTreeMap::new();
        for (name, peak) in self.seen.lock().unwrap().values() {
            let known = highest.entry(name.clone()).or_default();
            *known = (*known).max(*peak);
        }
        highest
    }
}

impl Drop for Peaks {
    fn drop(&mut self) {
        self.is_enough.store(true, Ordering::Relaxed);
    }
}

/// Processes with all that they started: number, name, the most memory they ever had in MB.
fn family(roots: &[u32]) -> Vec<(u32, String, u64)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        // it may just have ended
        if let Some(number) = number
            && let Ok(status) = std::fs::read_to_string(entry.path().join("status"))
        {
            all.push((number, status));
        }
    }
    let field = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()).map(str::to_owned)
    };
    let mut members: Vec<u32> = roots.to_vec();
    let mut at = 0;
    while let Some(parent) = members.get(at).map(u32::to_string) {
        let is_child = |status: &str| field(status, "PPid:").as_ref() == Some(&parent);
        members.extend(all.iter().filter(|(_, status)| is_child(status)).map(|(child, _)| *child));
        at += 1;
    }
    let of_family = all.iter().filter(|(number, _)| members.contains(number));
    let peak = |(number, status): &(u32, String)| {
        let kb: u64 = field(status, "VmHWM:")?.parse().ok()?;
        Some((*number, field(status, "Name:")?, kb / 1024))
    };
    of_family.filter_map(peak).collect()
}

fn check(peaks: &Peaks, names: &[&str]) {
    let by_name = peaks.by_name();
    eprintln!("at most, in MB: {by_name:?}");
    for name in names {
        assert!(by_name.contains_key(*name), "{name} was not seen: {by_name:?}");
    }
    let is_modest = by_name.values().all(|peak| *peak <= MOST_MB);
    assert!(is_modest, "no process may have more than {MOST_MB} MB: {by_name:?}");
}

/// What the run of a large list gives.
fn check_outputs(outputs: &Value, maker: Maker) {
    let text = outputs["text"].as_str().unwrap();
    assert!(text.starts_with("40000 records, "), "{text}");
    assert!(text.contains("record 00004") && !text.contains("record 00005"), "{text}");
    let last = outputs["last"].as_array().unwrap();
    let number = |at: usize| last[at].as_str().unwrap()[..12].to_owned();
    let expected = match maker {
        Maker::Texts => ["record 39999", "record 39998", "record 39997"],
        Maker::Python | Maker::JavaScript => ["record 39997", "record 39987", "record 39979"],
    };
    assert_eq!([number(0), number(1), number(2)], expected);
}

async fn run_all(api: &Api, makers: &[Maker]) {
    for (at, maker) in makers.iter().enumerate() {
        let workflow = api.push(&large_list(*maker)).await;
        let run = api.submit(&workflow, json!({ "count": COUNT }), &format!("{at}")).await;
        let run = api.end(&run).await;
        assert_eq!(run["status"], "succeeded", "{run}");
        check_outputs(&run["outputs"], *maker);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_list_flows_through_a_cluster() {
    let cluster = Cluster::start(1, 1).await;
    let programs = cluster.schedulers.iter().chain(&cluster.workers);
    let peaks = Peaks::of(programs.map(|program| program.process.number()).collect());
    run_all(&cluster.api, &MAKERS).await;
    check(&peaks, &["flowmill-schedu", "flowmill-worker", "python3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_list_flows_through_one_process() {
    let folder = folder();
    let port = free_port();
    let data = folder.path().join("data");
    let mut served = Process::new("serve", folder.path(), move || {
        let mut command = ours("flowmill");
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--data"]).arg(&data);
        command
    });
    served.start();
    let api = Api::at(port);
    until("flowmill serve", async || api.is_up().await).await;
    let peaks = Peaks::of(vec![served.number()]);
    run_all(&api, &MAKERS).await;
    check(&peaks, &["flowmill", "python3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_list_flows_through_one_run() {
    let folder = folder();
    for maker in [Maker::Python, Maker::JavaScript, Maker::Texts] {
        let document = folder.path().join("large.yml");
        std::fs::write(&document, large_list(maker)).unwrap();
        for kept in [false, true] {
            run_alone(&document, maker, kept.then(|| folder.path().join("kept")));
        }
    }
}

/// Runs a document by `flowmill run`, with or without a folder in which the run is kept.
fn run_alone(document: &Path, maker: Maker, store: Option<std::path::PathBuf>) {
    let mut command = ours("flowmill");
    command.arg("run").arg(document).args(["--output", "json", "--input"]);
    command.arg(format!("count={COUNT}")).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(store) = store {
        command.arg("--store").arg(store);
    }
    let child = Command::spawn(&mut command).unwrap();
    let peaks = Peaks::of(vec![child.id()]);
    let done = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{words}");
    let result: Value = serde_json::from_slice(&done.stdout).unwrap();
    check_outputs(&result["outputs"], maker);
    let names: &[&str] = match maker {
        Maker::JavaScript => &["flowmill"],
        Maker::Python | Maker::Texts => &["flowmill", "python3"],
    };
    check(&peaks, names);
}
