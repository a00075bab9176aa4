#!/usr/bin/env python3
"""What metrics and traces cost: the same load with and without them, in turns.

    python3 loadtest/overhead.py [--pairs 5] [--scenario w1] [--mode hop] [--runs 2000] [--sample 1.0]

Each load has a cluster of its own (loadtest/measure). With them, all metrics are counted and fetched every five
seconds, and each run is traced (or a share of them), its spans sent to an endpoint of this script that reads and
forgets them. What is compared is the time on processors of schedulers and workers for each node: times of other
things move more from run to run than what is looked for.
"""

import argparse
import json
import os
import statistics
import subprocess
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "target" / "loadtest"
OURS = ("scheduler", "worker")


class Endpoint(BaseHTTPRequestHandler):
    """Takes spans and forgets them."""

    protocol_version = "HTTP/1.1"
    taken = 0

    def do_POST(self):
        Endpoint.taken += len(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def fetch(stop: threading.Event) -> None:
    """Fetches the metrics of the cluster under way, as Prometheus would."""
    while not stop.wait(5):
        try:
            port = int((FOLDER / "port").read_text())
        except (OSError, ValueError):
            continue
        for at in (port, port + 1):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{at}/metrics", timeout=3).read()
            except OSError:
                pass  # it comes up, or goes down


def load(arguments: argparse.Namespace, settings: dict) -> dict:
    command = ["loadtest/measure", "--scenario", arguments.scenario, "--mode", arguments.mode]
    command += ["--runs", str(arguments.runs)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the load failed:\n{done.stdout}{done.stderr}")
    (told,) = json.loads((FOLDER / "figures.json").read_text())["loads"]
    used = sum(of["cpu_seconds"] for name, of in told["processes"].items() if name.startswith(OURS))
    return {"micros": used / told["units"] * 1e6, "rate": told["units_per_second"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--scenario", default="w1")
    parser.add_argument("--mode", default="hop")
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--sample", type=float, default=1.0)
    arguments = parser.parse_args()

    endpoint = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=endpoint.serve_forever, daemon=True).start()
    without = {"FLOWMILL_METRICS__ENABLED": "false", "FLOWMILL_OTLP__ENDPOINT": ""}
    with_them = {
        "FLOWMILL_METRICS__ENABLED": "true",
        "FLOWMILL_OTLP__ENDPOINT": f"http://127.0.0.1:{endpoint.server_port}",
        "FLOWMILL_OTLP__SAMPLE": str(arguments.sample),
    }
    print("| pair | without, µs a node | with, µs a node | more | without, nodes/s | with, nodes/s |")
    print("|---|---|---|---|---|---|")
    more = []
    for pair in range(1, arguments.pairs + 1):
        plain = load(arguments, without)
        stop = threading.Event()
        fetching = threading.Thread(target=fetch, args=(stop,))
        fetching.start()
        watched = load(arguments, with_them)
        stop.set()
        fetching.join()
        more.append(watched["micros"] / plain["micros"] - 1)
        print(
            f"| {pair} | {plain['micros']:.0f} | {watched['micros']:.0f} | {more[-1]:+.1%} "
            f"| {plain['rate']:,.0f} | {watched['rate']:,.0f} |",
            flush=True,
        )
    print(f"\nMedian: {statistics.median(more):+.1%} time on processors for each node.")
    print(f"{Endpoint.taken / 1e6:.1f} MB of spans were taken.")


if __name__ == "__main__":
    main()
