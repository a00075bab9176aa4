//! What went between a process and the servers, as the kernel counts it for each connection: bytes,
//! and segments with something in them. A connection sends a segment when its program writes, so of a
//! client that waits for each answer they are its round trips.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use crate::figures::number;

/// Servers by their usual ports.
const SERVERS: [(u16, &str); 3] = [(5432, "postgres"), (5672, "rabbitmq"), (6379, "redis")];

/// What went over a connection, as its client sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Flow {
    pub(crate) writes: f64,
    pub(crate) bytes_out: f64,
    pub(crate) bytes_in: f64,
}

/// Connections: whose, to which server, from which address.
pub(crate) type Flows = BTreeMap<(String, &'static str, String), Flow>;

/// The connections of some processes to servers.
pub(crate) async fn look(processes: &BTreeMap<u32, &str>) -> anyhow::Result<Flows> {
    let listed = Command::new("ss").args(["-tinpHO"]).output().await;
    let listed = listed.context("failed to run ss, which counts bytes (Debian: iproute2)")?;
    ensure!(listed.status.success(), "ss: {}", String::from_utf8_lossy(&listed.stderr));
    Ok(read(&String::from_utf8_lossy(&listed.stdout), processes))
}

/// What went over the connections between two looks. What was closed between them is lost.
pub(crate) fn between(before: &Flows, after: Flows) -> BTreeMap<(String, &'static str), Flow> {
    let mut sums: BTreeMap<(String, &'static str), Flow> = BTreeMap::new();
    for (key, flow) in after {
        let earlier = before.get(&key).copied().unwrap_or_default();
        let sum = sums.entry((key.0, key.1)).or_default();
        sum.writes += flow.writes - earlier.writes;
        sum.bytes_out += flow.bytes_out - earlier.bytes_out;
        sum.bytes_in += flow.bytes_in - earlier.bytes_in;
    }
    sums
}

fn read(listed: &str, processes: &BTreeMap<u32, &str>) -> Flows {
    let mut flows = Flows::new();
    for line in listed.lines() {
        let mut words = line.split_whitespace().skip(3);
        let (Some(own), Some(other)) = (words.next(), words.next()) else { continue };
        let port = other.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let server = SERVERS.iter().find(|(usual, _)| Some(*usual) == port);
        let pid = line.split_once("pid=").and_then(|(_, rest)| rest.split([',', ')']).next());
        let process = pid.and_then(|pid| processes.get(&pid.parse().ok()?));
        let (Some((_, server)), Some(process)) = (server, process) else { continue };
        let value = |key: &str| {
            let value = line.split_whitespace().find_map(|word| word.strip_prefix(key));
            value.and_then(number).unwrap_or_default()
        };
        let flow = Flow {
            writes: value("data_segs_out:"),
            bytes_out: value("bytes_sent:"),
            bytes_in: value("bytes_received:"),
        };
        flows.insert(((*process).to_owned(), server, own.to_owned()), flow);
    }
    flows
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "\
ESTAB 0 0 127.0.0.1:40000 127.0.0.1:5432 users:((\"flow\",pid=7,fd=9)) cubic bytes_sent:100 bytes_acked:101 bytes_received:50 segs_out:9 data_segs_out:4 data_segs_in:3
ESTAB 0 0 127.0.0.1:5432 127.0.0.1:40000 users:((\"postgres\",pid=8,fd=9)) cubic bytes_sent:50 data_segs_out:3
ESTAB 0 0 127.0.0.1:40001 127.0.0.1:6379 users:((\"other\",pid=9,fd=9)) cubic bytes_sent:1
";
    const SECOND: &str = "\
ESTAB 0 0 127.0.0.1:40000 127.0.0.1:5432 users:((\"flow\",pid=7,fd=9)) cubic bytes_sent:300 bytes_received:150 data_segs_out:10
ESTAB 0 0 127.0.0.1:40002 127.0.0.1:5432 users:((\"flow\",pid=7,fd=10)) cubic bytes_sent:11 bytes_received:12 data_segs_out:1
";

    #[test]
    fn connections_of_a_process_are_added_up() {
        let processes = BTreeMap::from([(7, "scheduler")]);
        let (before, after) = (read(FIRST, &processes), read(SECOND, &processes));
        assert_eq!(before.len(), 1);
        let sums = between(&before, after);
        let flow = Flow { writes: 7.0, bytes_out: 211.0, bytes_in: 112.0 };
        assert_eq!(sums, BTreeMap::from([(("scheduler".to_owned(), "postgres"), flow)]));
    }
}
