#!/usr/bin/env python3
"""What a history of a million runs costs while retention is at work: the same load over an empty database and over
one that is full and purged meanwhile, in turns, every other pair the full one first.

    python3 loadtest/history.py [--pairs 5] [--history 1000000] [--runs 2000] [--postgres URL]

The history lies in the five months before: a third of it ended so long ago that it is due. Each load has a cluster of
its own (loadtest/measure) over a copy of it. While it is loaded with `w1` in hops, one purge removes what is due, in the
share of the time that is usual. Compared are the time on processors of programs and servers and the statements of
PostgreSQL for each node, those of the purge among them (each is a transaction of its own). Then `w6` is: how long short
runs take, ten a second, under load.

How many nodes a commit carries moves by a tenth from load to load, and with it the statements. So it is also counted what
a purge asks while nothing else does, once it removes single runs.
"""

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "target" / "loadtest"
TEMPLATE = "flowmill_loadtest_history"

# What a cluster would have left: rows of runs that ended, each with its journal, in parts by month.
PARTS = """
DO $$
DECLARE
    month timestamp;
    parent text;
BEGIN
    FOR month IN SELECT date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => back)
        FROM generate_series(1, 5) AS back
    LOOP
        FOREACH parent IN ARRAY ARRAY['runs', 'journal', 'checkpoints', 'payloads'] LOOP
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                parent || to_char(month, '_YYYY_MM'), parent,
                flowmill_first_id(month), flowmill_first_id(month + interval '1 month'));
        END LOOP;
    END LOOP;
END $$
"""
ROWS = """
SET session_replication_role = replica;
CREATE TEMPORARY TABLE old AS
SELECT number, flowmill_first_id(at::timestamp) || '-7' || lpad(to_hex(number % 4096), 3, '0') || '-8000-'
        || lpad(to_hex(number), 12, '0') AS run,
    (extract(epoch FROM at) * 1000000)::bigint AS micros
FROM (SELECT number, date_trunc('month', now() AT TIME ZONE 'UTC')
        - interval '150 days' * ({count} - number) / {count} - interval '1 minute' AS at
    FROM generate_series(1, {count}) AS number) AS spread;
INSERT INTO runs (run, tenant, shard, workflow, dify_sizes, status, seq, accepted_at, started_at, finished_at, flow)
SELECT run, 'default', number % 16, repeat('a', 64), false,
    CASE WHEN number % 20 = 0 THEN 'failed' ELSE 'succeeded' END, 12, micros, micros, micros + 1000000, ''
FROM old;
INSERT INTO journal (run, first, last, tenant, version, facts)
SELECT run, 1 + 6 * half, 6 + 6 * half, 'default', 1, repeat('{{"seq":1,"at":0,"event":{{}}}},', 25)
FROM old CROSS JOIN generate_series(0, 1) AS half;
-- as it would be after so long
VACUUM (ANALYZE)
"""


def psql(url: str, *statements: str) -> None:
    command = ["psql", "-Xqw", "-v", "ON_ERROR_STOP=1", url]
    for statement in statements:
        subprocess.run(command, input=statement, text=True, check=True, stdout=subprocess.DEVNULL)


def psql_rows(url: str, statement: str) -> list[str]:
    return subprocess.run(["psql", "-XAtqw", url, "-c", statement], capture_output=True, text=True, check=True).stdout.split()


def make_history(server: str, count: int) -> None:
    usual, history = server + "/postgres", f"{server}/{TEMPLATE}"
    psql(usual, f"DROP DATABASE IF EXISTS {TEMPLATE}", f"CREATE DATABASE {TEMPLATE}")
    flowmill = ROOT / "target" / "release" / "flowmill"
    subprocess.run([flowmill, "migrate", "--url", history], check=True, stdout=subprocess.DEVNULL)
    psql(history, PARTS, ROWS.format(count=count))


def load(scenario: str, runs: int, settings: dict) -> dict:
    # an iteration in hops would take longer than the load waits for its end
    mode = "default" if scenario == "w6" else "hop"
    command = ["loadtest/measure", "--scenario", scenario, "--mode", mode, "--runs", str(runs)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the load failed:\n{done.stdout}{done.stderr}")
    (told,) = json.loads((FOLDER / "figures.json").read_text())["loads"]
    return told


def cpu(told: dict) -> float:
    return sum(of["cpu_seconds"] for of in told["processes"].values()) / told["units"] * 1e6


def statements(told: dict) -> float:
    return told["counts"]["postgres commits"] / told["units"]


def in_turns(pair: int, scenario: str, runs: int, settings: tuple[dict, dict]) -> tuple[dict, dict]:
    """The load by each of the settings, in their order; whichever comes first may find a server that still rests."""
    empty, full = settings
    if pair % 2:
        return load(scenario, runs, empty), load(scenario, runs, full)
    last = load(scenario, runs, full)
    return load(scenario, runs, empty), last


def of_a_purge(server: str, settings: dict, seconds: int = 30) -> float:
    """How many statements a second a purge asks that removes single runs, in the share that is usual."""
    usual, name = server + "/postgres", TEMPLATE + "_copy"
    psql(usual, f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}", "CHECKPOINT")
    purge = [ROOT / "target" / "release" / "flowmill", "purge", "--url", f"{server}/{name}", "--share", "0.05"]
    commits = f"SELECT xact_commit FROM pg_stat_database WHERE datname = '{name}'"
    with subprocess.Popen(purge, env=os.environ | settings, stderr=subprocess.DEVNULL) as purging:
        # the months go first
        time.sleep(10)
        (before,) = psql_rows(usual, commits)
        time.sleep(seconds)
        (after,) = psql_rows(usual, commits)
        purging.terminate()
    psql(usual, f"DROP DATABASE {name} WITH (FORCE)")
    return (int(after) - int(before)) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--history", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--postgres", default="postgres://postgres@127.0.0.1:5432", help="the server, without a database")
    arguments = parser.parse_args()

    make_history(arguments.postgres, arguments.history)
    empty = {"FLOWMILL_RETENTION__ENABLED": "false"}
    full = {
        "FLOWMILL_LOADTEST_TEMPLATE": TEMPLATE,
        "FLOWMILL_RETENTION__SUCCEEDED": "100d",
        "FLOWMILL_RETENTION__FAILED": "120d",
        "FLOWMILL_RETENTION__PARTIAL_SUCCEEDED": "100d",
        "FLOWMILL_RETENTION__STOPPED": "100d",
        "FLOWMILL_RETENTION__EVERY": "1m",
    }
    rates, more = [], {"cpu": [], "statements": [], "p99": []}
    print("| pair | empty, µs a node | full | more | empty, statements a node | full | more | empty, p99 ms | full | more |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for pair in range(1, arguments.pairs + 1):
        cells = [str(pair)]
        plain, loaded = in_turns(pair, "w1", arguments.runs, (empty, full))
        rates.append(plain["counts"]["postgres commits"] / plain["seconds"])
        quick, slow = in_turns(pair, "w6", 200, (empty, full))
        for name, of, (before, after), form in (
            ("cpu", cpu, (plain, loaded), "{:.0f}"),
            ("statements", statements, (plain, loaded), "{:.3f}"),
            ("p99", lambda told: told["submit_to_end_ms"]["p99"], (quick, slow), "{:.1f}"),
        ):
            before, after = of(before), of(after)
            more[name].append(after / before - 1 if before else 0)
            cells += [form.format(before), form.format(after), f"{more[name][-1]:+.1%}"]
        print("| " + " | ".join(cells) + " |", flush=True)
    medians = {name: statistics.median(values) for name, values in more.items()}
    print(
        f"\nMedians: {medians['cpu']:+.1%} time on processors and {medians['statements']:+.1%} statements of PostgreSQL for each "
        f"node, {medians['p99']:+.1%} at p99 of short runs."
    )
    asked, rate = of_a_purge(arguments.postgres, full), statistics.median(rates)
    print(f"A purge asks {asked:.1f} statements a second, the load alone {rate:.0f}: {asked / rate:+.1%}.")
    psql(arguments.postgres + "/postgres", f"DROP DATABASE IF EXISTS {TEMPLATE}")


if __name__ == "__main__":
    main()
