//! Time and memory of processes, as the kernel has them in `/proc`.

use std::fs;

use anyhow::{Context as _, ensure};

use crate::figures::{float, number};

/// Ticks of a second in `/proc`, on every architecture that Linux has now.
const TICKS: f64 = 100.0;

/// A process, or all with the name of a command.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    which: Which,
}

#[derive(Debug)]
enum Which {
    Process(u32),
    Command(String),
}

/// What a process, or a group, has used so far.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    /// Of a process what is resident; of a group each page once.
    pub(crate) memory_mib: f64,
    pub(crate) peak_mib: Option<f64>,
}

impl Group {
    /// `NAME=PID` or `NAME=COMMAND`.
    pub(crate) fn parse(given: &str) -> anyhow::Result<Self> {
        let (name, process) =
            given.split_once('=').with_context(|| format!("write {given:?} as NAME=PROCESS"))?;
        ensure!(!name.is_empty() && !process.is_empty(), "write {given:?} as NAME=PROCESS");
        let which = match process.parse() {
            Ok(pid) => Which::Process(pid),
            Err(_) => Which::Command(process.to_owned()),
        };
        Ok(Self { name: name.to_owned(), which })
    }

    /// Its number, if it is one process.
    pub(crate) fn pid(&self) -> Option<u32> {
        match self.which {
            Which::Process(pid) => Some(pid),
            Which::Command(_) => None,
        }
    }

    /// The peak of its memory counts from now on. Who may not say so gets the peak of its life.
    pub(crate) fn forget_peak(&self) {
        if let Which::Process(pid) = self.which {
            let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
    }

    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        match &self.which {
            Which::Process(pid) => {
                let status = read(*pid, "status")?;
                let mib = |key| kib(&status, key).map(|kib| kib / 1024.0);
                Ok(Usage {
                    cpu_seconds: cpu_seconds(&read(*pid, "stat")?)?,
                    memory_mib: mib("VmRSS:").context("it has no memory")?,
                    peak_mib: mib("VmHWM:"),
                })
            }
            Which::Command(command) => Ok(of_all(command)),
        }
    }
}

/// All processes of a command that can be looked at; they come and go.
fn of_all(command: &str) -> Usage {
    let mut all = Usage::default();
    let Ok(folder) = fs::read_dir("/proc") else { return all };
    for entry in folder.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if !read(pid, "comm").is_ok_and(|name| name.trim_end() == command) {
            continue;
        }
        let used = read(pid, "stat").and_then(|stat| cpu_seconds(&stat));
        all.cpu_seconds += used.unwrap_or_default();
        let shares = read(pid, "smaps_rollup").ok();
        all.memory_mib += shares.and_then(|text| kib(&text, "Pss:")).unwrap_or_default() / 1024.0;
    }
    all
}

fn read(pid: u32, file: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))
}

/// What stands behind a key, in KiB.
fn kib(text: &str, key: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    number(line.trim().trim_end_matches("kB").trim())
}

/// The time on processors in a process's `stat`, its own and that of its children that have ended.
fn cpu_seconds(stat: &str) -> anyhow::Result<f64> {
    // the name may hold blanks and brackets
    let (_, rest) = stat.rsplit_once(") ").context("its stat has no name")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = fields.get(11..15).context("its stat is short")?;
    let ticks: Result<Vec<u64>, _> = ticks.iter().map(|ticks| ticks.parse()).collect();
    Ok(float(ticks?.iter().sum()) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_any_name() {
        let stat = "7 (a) b (c) S 1 1 1 0 -1 4194560 1 2 3 4 150 50 20 30 20 0 1 0 9 10";
        assert_eq!(format!("{}", cpu_seconds(stat).unwrap()), "2.5");
        assert!(cpu_seconds("7 (a) S 1").is_err());
    }

    #[test]
    fn memory_is_found_by_its_key() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(kib(status, "VmRSS:"), Some(1024.0));
        assert_eq!(kib(status, "Pss:"), None);
    }

    #[test]
    fn its_own_process_is_looked_at() {
        let group = Group::parse(&format!("own={}", std::process::id())).unwrap();
        let usage = group.usage().unwrap();
        assert!(usage.memory_mib > 0.5 && usage.peak_mib.unwrap() >= usage.memory_mib, "{usage:?}");
        assert!(Group::parse("own").is_err());
        assert!(Group::parse("gone=4194305").unwrap().usage().is_err());
    }
}
