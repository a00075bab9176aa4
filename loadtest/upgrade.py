#!/usr/bin/env python3
"""A rolling upgrade under load: the programs of one build are replaced by those of another, one by one.

    python3 loadtest/upgrade.py --old DIR --new DIR [--rate 10] [--seconds 20]

Each folder holds `flowmill`, `flowmill-scheduler` and `flowmill-worker`. A cluster of the old ones, with a database, queues
and ports of its own on the servers of this machine, gets runs at a steady rate: each makes two calls in a row, every fourth one
for each of eight elements. The new `flowmill migrate` runs meanwhile, then workers and schedulers are told to end and
are replaced (docs/upgrades.md). At the end each run must have succeeded with what it must give, and each call must have been
made once; the exit code says whether that is so.
"""

import argparse
import collections
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DATABASE = "flowmill_upgrade"
PREFIX = "flowmill-upgrade"
ITEMS = 8

# Every so many runs, one is an iteration.
WIDE = 4

# Seconds that anything may take.
PATIENCE = 120


class Receiver(BaseHTTPRequestHandler):
    """Answers each call with its path, and counts them."""

    protocol_version = "HTTP/1.1"
    seen: collections.Counter = collections.Counter()
    lock = threading.Lock()

    def do_GET(self):
        with Receiver.lock:
            Receiver.seen[self.path] += 1
        time.sleep(0.02)
        said = self.path[1:].encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_):
        pass


def node(name: str, of: dict, **more) -> dict:
    return {"id": name, "data": {"title": name, **of}, **more}


def call(name: str, port: int, path: str, of: dict | None = None, **more) -> dict:
    request = {"method": "get", "url": f"http://127.0.0.1:{port}/{path}", "headers": "", "params": ""}
    request |= {"authorization": {"type": "no-auth"}, "body": {"type": "none", "data": []}, "timeout": {}}
    return node(name, {"type": "http-request", **request, **(of or {})}, **more)


def document(name: str, inputs: dict, nodes: list, edges: list, output: tuple) -> str:
    variables = [{"variable": key, "label": key, "type": kind} for key, kind in inputs.items()]
    start = node("s", {"type": "start", "variables": variables})
    key, selector = output
    end = node("e", {"type": "end", "outputs": [{"variable": key, "value_selector": selector}]})
    edges = [{"source": source, "target": target} for source, target in edges]
    graph = {"nodes": [start, *nodes, end], "edges": edges}
    app = {"name": name, "mode": "workflow"}
    return json.dumps({"kind": "app", "version": "0.6.0", "app": app, "workflow": {"graph": graph}})


def documents(port: int) -> tuple[str, str]:
    calls = [call("a", port, "{{#s.who#}}-a"), call("b", port, "{{#a.body#}}-b")]
    narrow = document("upgrade-narrow", {"who": "text-input"}, calls, [("s", "a"), ("a", "b"), ("b", "e")], ("says", ["b", "body"]))
    inside = {"isInIteration": True, "iteration_id": "it"}
    several = {"iterator_selector": ["s", "data", "list"], "output_selector": ["a", "body"], "output_type": "array[string]"}
    several |= {"start_node_id": "itstart", "is_parallel": True, "parallel_nums": 4, "error_handle_mode": "terminated"}
    nodes = [
        node("it", {"type": "iteration", **several}),
        node("itstart", {"type": "iteration-start", **inside}, parentId="it"),
        call("a", port, "{{#it.item#}}", inside, parentId="it"),
    ]
    edges = [("s", "it"), ("itstart", "a"), ("it", "e")]
    return narrow, document("upgrade-wide", {"data": "json_object"}, nodes, edges, ("items", ["it", "output"]))


def asked(number: int) -> dict:
    if number % WIDE == WIDE - 1:
        return {"data": {"list": [f"w{number}-{item}" for item in range(ITEMS)]}}
    return {"who": f"r{number}"}


def expected(number: int) -> tuple[dict, list[str]]:
    """What a run gives, and the calls that it takes."""
    inputs = asked(number)
    if "data" in inputs:
        items = inputs["data"]["list"]
        return {"items": items}, [f"/{item}" for item in items]
    return {"says": f"r{number}-a-b"}, [f"/r{number}-a", f"/r{number}-a-b"]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def ask(port: int, method: str, path: str, body: str | None = None, headers: dict | None = None):
    """A status and an answer; None when nobody answers."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


class Program:
    """A scheduler or a worker, of whichever build."""

    def __init__(self, kind: str, number: int, settings: dict, folder: Path):
        self.kind, self.name, self.port = kind, f"{kind}-{number}", free_port()
        self.settings = settings | {"FLOWMILL_NAME": self.name, "FLOWMILL_HTTP__LISTEN": f"127.0.0.1:{self.port}"}
        self.log = open(folder / f"{self.name}.log", "ab")
        self.process = None

    def start(self, build: Path) -> float:
        """Starts it; the seconds until it is ready."""
        began = time.monotonic()
        program = build / f"flowmill-{self.kind}"
        self.process = subprocess.Popen([program], env=os.environ | self.settings, stdout=self.log, stderr=self.log)
        while (ask(self.port, "GET", "/readyz") or (0,))[0] != 200:
            expect(self.process.poll() is None, f"{self.name} ended; its log: {self.log.name}")
            expect(time.monotonic() - began < PATIENCE, f"{self.name} is not ready; its log: {self.log.name}")
            time.sleep(0.05)
        return time.monotonic() - began

    def end(self) -> float:
        """Tells it to end; the seconds that this takes."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=180)
        expect(code == 0, f"{self.name} ended with {code}; its log: {self.log.name}")
        return time.monotonic() - began

    def kill(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Api:
    """Whichever scheduler answers."""

    def __init__(self, schedulers: list[Program]):
        self.schedulers = schedulers
        self.turn = 0
        self.again = 0

    def ask(self, method: str, path: str, body: str | None = None, headers: dict | None = None):
        began = time.monotonic()
        while True:
            scheduler = self.schedulers[self.turn % len(self.schedulers)]
            answer = ask(scheduler.port, method, path, body, headers)
            if answer and answer[0] < 500:
                expect(answer[0] in (200, 201, 202), f"{method} {path}: {answer}")
                return answer[1]
            self.turn += 1
            self.again += 1
            expect(time.monotonic() - began < PATIENCE, f"no scheduler answers {method} {path}")
            time.sleep(0.05)


class Load(threading.Thread):
    """Runs at a steady rate, until there is enough."""

    def __init__(self, api: Api, workflows: list[str], rate: float):
        super().__init__(daemon=True)
        self.api, self.workflows, self.rate = api, workflows, rate
        self.enough = threading.Event()
        self.phase = "before"
        # run: its number, the phase, and when it was due
        self.runs: dict[str, tuple[int, str, float]] = {}

    def run(self):
        began, first = time.monotonic(), time.time()
        with ThreadPoolExecutor(32) as pool:
            number = 0
            while not self.enough.is_set():
                due = number / self.rate
                time.sleep(max(0.0, began + due - time.monotonic()))
                pool.submit(self.submit, number, self.phase, first + due)
                number += 1
        self.count = number

    def submit(self, number: int, phase: str, due: float):
        workflow = self.workflows[number % WIDE == WIDE - 1]
        body = json.dumps({"workflow": workflow, "inputs": asked(number)})
        headers = {"content-type": "application/json", "idempotency-key": f"upgrade-{number}"}
        run = self.api.ask("POST", "/api/v1/runs", body, headers)["id"]
        self.runs[run] = (number, phase, due)


def expect(is_so: bool, why: str) -> None:
    if not is_so:
        raise SystemExit(f"loadtest/upgrade.py: {why}")


def sql(url: str, statement: str) -> list[list[str]]:
    done = subprocess.run(["psql", "-XqtAw", url, "-c", statement], capture_output=True, text=True)
    expect(done.returncode == 0, f"{statement}: {done.stderr}")
    return [line.split("|") for line in done.stdout.splitlines()]


def remove_queues() -> None:
    if not shutil.which("rabbitmqctl"):
        return
    listed = subprocess.run(["rabbitmqctl", "-q", "list_queues", "name", "--no-table-headers"], capture_output=True, text=True)
    for queue in listed.stdout.split():
        if queue.startswith(f"{PREFIX}."):
            subprocess.run(["rabbitmqctl", "-q", "delete_queue", queue], capture_output=True)


def migrate(build: Path, url: str) -> float:
    began = time.monotonic()
    done = subprocess.run([build / "flowmill", "migrate", "--url", url], capture_output=True, text=True)
    expect(done.returncode == 0, f"{build}/flowmill migrate: {done.stderr}")
    return time.monotonic() - began


def upgrade(given: argparse.Namespace, url: str, load: Load, programs: dict) -> None:
    time.sleep(given.seconds)
    load.phase = "while"
    print(f"migrate: {migrate(given.new, url):.1f} s", flush=True)
    for kind in ("worker", "scheduler"):
        for program in programs[kind]:
            ended = program.end()
            print(f"{program.name}: ended in {ended:.1f} s, ready after {program.start(given.new):.1f} s", flush=True)
    load.phase = "after"
    time.sleep(given.seconds)
    load.enough.set()
    load.join()


def report(url: str, api: Api, load: Load) -> bool:
    """Waits for the ends, and tells what there was; whether all is as it must be."""
    began = time.monotonic()
    while (left := sql(url, "SELECT count(*) FROM runs WHERE finished_at IS NULL")[0][0]) != "0":
        expect(time.monotonic() - began < PATIENCE, f"{left} runs do not end")
        time.sleep(0.2)
    rows = {run: int(at) / 1e6 for run, at in sql(url, "SELECT run, finished_at FROM runs")}
    wrong, calls = [], collections.Counter()
    for run, (number, _, _) in load.runs.items():
        shown = api.ask("GET", f"/api/v1/runs/{run}")
        outputs, paths = expected(number)
        calls.update(paths)
        if shown["status"] != "succeeded" or shown["outputs"] != outputs:
            wrong.append(run)
    print("\n| | runs | p50 ms | p99 ms | longest ms |\n|---|---|---|---|---|")
    for phase in ("before", "while", "after"):
        times = sorted((rows[run] - due) * 1000 for run, (_, of, due) in load.runs.items() if of == phase)
        p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
        print(f"| {phase} | {len(times)} | {statistics.median(times):,.0f} | {p99:,.0f} | {times[-1]:,.0f} |")
    twice = sum(count - 1 for count in Receiver.seen.values() if count > 1)
    missing = len(calls - Receiver.seen)
    letters = int(sql(url, "SELECT count(*) FROM dead_letters")[0][0])
    print(f"\nruns: {load.count} asked for, {len(load.runs)} accepted, {len(rows)} ended, {len(wrong)} not as they must be")
    print(f"calls: {sum(Receiver.seen.values())} made, {twice} twice, {missing} missing; dead letters: {letters}")
    print(f"requests asked again of another scheduler: {api.again}")
    is_whole = len(load.runs) == len(rows) == load.count
    return is_whole and not (wrong or twice or missing or letters)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", type=Path, required=True, help="the folder with the programs to begin with")
    parser.add_argument("--new", type=Path, required=True, help="the folder with those that replace them")
    parser.add_argument("--rate", type=float, default=10, help="runs a second")
    parser.add_argument("--seconds", type=float, default=20, help="how long before the upgrade, and after it")
    parser.add_argument("--schedulers", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    usual = "postgres://postgres@127.0.0.1:5432/postgres"
    parser.add_argument("--postgres", default=usual, help="a server whose user may make databases")
    parser.add_argument("--rabbitmq", default="amqp://guest:guest@127.0.0.1:5672/%2f")
    parser.add_argument("--redis", default="redis://127.0.0.1:6379/0")
    given = parser.parse_args()
    given.old, given.new = given.old.resolve(), given.new.resolve()

    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    url = given.postgres.rsplit("/", 1)[0] + f"/{DATABASE}"
    folder = Path(tempfile.mkdtemp(prefix="flowmill-upgrade-"))
    settings = {
        "FLOWMILL_POSTGRES__URL": url,
        "FLOWMILL_RABBITMQ__URL": given.rabbitmq,
        "FLOWMILL_RABBITMQ__PREFIX": PREFIX,
        "FLOWMILL_REDIS__URL": given.redis,
        "FLOWMILL_OUTBOUND__ALLOW_NET": "127.0.0.1",
    }
    of = {"scheduler": given.schedulers, "worker": given.workers}
    programs = {kind: [Program(kind, number, settings, folder) for number in range(count)] for kind, count in of.items()}
    everyone = [program for some in programs.values() for program in some]
    remove_queues()
    sql(given.postgres, f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    sql(given.postgres, f"CREATE DATABASE {DATABASE}")
    is_well = False
    try:
        migrate(given.old, url)
        for program in everyone:
            program.start(given.old)
        api = Api(programs["scheduler"])
        yaml = {"content-type": "application/yaml"}
        pushed = [api.ask("POST", "/api/v1/workflows", text, yaml) for text in documents(receiver.server_port)]
        load = Load(api, [workflow["id"] for workflow in pushed], given.rate)
        load.start()
        upgrade(given, url, load, programs)
        is_well = report(url, api, load)
    finally:
        for program in everyone:
            program.kill()
        if is_well:
            shutil.rmtree(folder)
        else:
            print(f"the logs: {folder}", file=sys.stderr)
        sql(given.postgres, f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        remove_queues()
    sys.exit(0 if is_well else 1)


if __name__ == "__main__":
    main()
