"""Gives a cluster a batch of very many lines, and says what that cost. See loadtest/million."""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request

# Fractions of a batch at which memory is told.
MARKS = (0.1, 0.5, 1.0)

# Fractions at which one batch is paused and another one cancelled.
PAUSED_AT = 0.2
CANCELLED_AT = 0.25

# Seconds within which a pause and a cancel must have acted.
ACTS = 2.0

# Seconds in which nothing happens, after which nothing is taken to happen any more.
QUIET = 4.0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--watch", action="append", default=[])
    for name in ("server", "postgres", "flowmill", "folder"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--lines", type=int, required=True)
    given = parser.parse_args()
    samples = Samples(given)
    flowmill = Flowmill(given, samples)
    file = os.path.join(given.folder, "lines.jsonl")
    write(file, given.lines)
    print(f"{given.lines:,} lines, {os.path.getsize(file) / 1e6:.0f} MB of JSON lines", flush=True)
    try:
        whole(given, flowmill, samples, file)
        cancelled(given, flowmill, samples, file)
    finally:
        samples.stop()


def write(path, count):
    with open(path, "w") as file:
        for nth in range(1, count + 1):
            file.write('{"custom_id": "c%d", "inputs": {"name": "Ada %d"}}\n' % (nth, nth))


def whole(given, flowmill, samples, file):
    """A batch that is paused, resumed, and looked at line by line."""
    batch = imported(given, flowmill, samples, file)
    began, done = time.monotonic(), 0
    marks, paused = list(MARKS), 0.0
    is_to_pause = True
    while True:
        shown = flowmill.batch(batch)
        done, now = shown["lines"]["succeeded"], time.monotonic()
        while marks and done >= marks[0] * given.lines:
            rate = done / (now - began - paused)
            print(f"{marks.pop(0):4.0%}  {rate:7,.0f} ends/s  {samples.memory()}", flush=True)
        if shown["finished_at"]:
            break
        if is_to_pause and done >= given.lines * PAUSED_AT:
            is_to_pause = False
            paused = pause(given, flowmill, batch)
        time.sleep(0.25)
    expect(shown["status"] == "succeeded", f"it is {shown['status']}: {shown}")
    seconds = time.monotonic() - began - paused
    print(f"ended in {seconds:.1f} s besides the pause: {given.lines / seconds:,.0f} ends/s")
    results(given, flowmill, samples, batch)


def imported(given, flowmill, samples, file):
    began = time.monotonic()
    told = flowmill.run(
        "submit", "examples/hello.yml", "--batch", file, "--concurrency", "2000"
    )
    seconds = time.monotonic() - began
    print(
        f"imported in {seconds:.1f} s: {given.lines / seconds:,.0f} lines/s; "
        f"flowmill submit: {flowmill.peak:.1f} MiB at most; {samples.memory()}",
        flush=True,
    )
    return told.strip()


def pause(given, flowmill, batch):
    """Nothing begins and nobody is called once a pause has acted. Answers how long it stood still."""
    began = time.monotonic()
    flowmill.ask("POST", f"batches/{batch}/pause")
    answered = time.monotonic() - began
    seen, changed = flowmill.journal(batch), time.monotonic()
    while time.monotonic() - changed < QUIET:
        time.sleep(0.1)
        found = flowmill.journal(batch)
        if found != seen:
            seen, changed = found, time.monotonic()
        expect(changed - began < 60, f"a minute after a pause something still happens: {found}")
    lines = flowmill.batch(batch)["lines"]
    acted = changed - began
    print(
        f"paused in {answered * 1000:.0f} ms at {lines['succeeded']:,} ends; the last thing that "
        f"happened was seen after {acted * 1000:.0f} ms{' (TOO LATE)' if acted > ACTS else ''}, "
        f"{lines['running']:,} runs held",
        flush=True,
    )
    flowmill.ask("POST", f"batches/{batch}/resume")
    resumed = time.monotonic()
    while flowmill.batch(batch)["lines"]["succeeded"] <= lines["succeeded"]:
        time.sleep(0.02)
    print(f"resumed: the next end after {(time.monotonic() - resumed) * 1000:.0f} ms", flush=True)
    return time.monotonic() - began


def results(given, flowmill, samples, batch):
    """Each line has one result, in order, under its own name."""
    path = os.path.join(given.folder, "results.jsonl")
    began = time.monotonic()
    with open(path, "wb") as file:
        flowmill.run("batches", "results", batch, to=file)
    seconds = time.monotonic() - began
    count = 0
    with open(path) as file:
        for line in file:
            count += 1
            told = json.loads(line)
            is_right = (
                told["line"] == count
                and told["custom_id"] == f"c{count}"
                and told["status"] == "succeeded"
                and told["outputs"]["greeting"].startswith(f"Hello, Ada {count}!")
            )
            expect(is_right, f"line {count}: {line}")
    expect(count == given.lines, f"{count} results")
    print(
        f"results of {count:,} lines, each once, {os.path.getsize(path) / 1e6:.0f} MB, in "
        f"{seconds:.1f} s: {count / seconds:,.0f} lines/s; flowmill batches results: "
        f"{flowmill.peak:.1f} MiB at most; {samples.memory()}",
        flush=True,
    )


def cancelled(given, flowmill, samples, file):
    """A batch that is cancelled while it runs."""
    batch = imported(given, flowmill, samples, file)
    while flowmill.batch(batch)["lines"]["succeeded"] < given.lines * CANCELLED_AT:
        time.sleep(0.25)
    began = time.monotonic()
    flowmill.ask("POST", f"batches/{batch}/cancel")
    answered = time.monotonic() - began
    while True:
        shown = flowmill.batch(batch)
        if shown["finished_at"]:
            break
        expect(time.monotonic() - began < 60, f"a minute after a cancel: {shown}")
        time.sleep(0.02)
    seconds = time.monotonic() - began
    lines = shown["lines"]
    expect(shown["status"] == "stopped", f"it is {shown['status']}: {shown}")
    print(
        f"cancelled in {answered * 1000:.0f} ms, stopped after {seconds * 1000:.0f} ms"
        f"{' (TOO LATE)' if seconds > ACTS else ''}: "
        f"{lines['succeeded']:,} had ended, {lines['stopped']:,} were stopped, "
        f"{lines['waiting']:,} never began; {samples.memory()}",
        flush=True,
    )


def expect(is_so, why):
    if not is_so:
        sys.exit(f"loadtest/million: {why}")


class Flowmill:
    """The cluster, as its clients see it."""

    def __init__(self, given, samples):
        self.given = given
        self.samples = samples
        # the most memory of the last command, in MiB
        self.peak = 0.0

    def ask(self, method, path):
        url = f"{self.given.server}/api/v1/{path}"
        with urllib.request.urlopen(urllib.request.Request(url, method=method)) as answer:
            return json.load(answer)

    def batch(self, batch):
        return self.ask("GET", f"batches/{batch}")

    def run(self, *words, to=None):
        """Runs a command; what it prints, unless that goes to a file."""
        words = [self.given.flowmill, *words, "--server", self.given.server]
        with subprocess.Popen(words, stdout=to or subprocess.PIPE, text=True) as command:
            self.samples.also("client", command.pid)
            told = command.stdout.read() if to is None else ""
            _, status, used = os.wait4(command.pid, 0)
            command.returncode = os.waitstatus_to_exitcode(status)
        self.peak = used.ru_maxrss / 1024
        expect(command.returncode == 0, f"{words} ended with {command.returncode}")
        return told

    def journal(self, batch):
        """How much has happened in the runs of a batch."""
        query = (
            "SELECT count(*), max(seq), sum(seq), count(started_at), count(finished_at) FROM runs "
            f"WHERE batch = '{batch}'"
        )
        words = ["psql", "-XqtAw", self.given.postgres, "-c", query]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


class Samples:
    """Memory of processes, once a second."""

    def __init__(self, given):
        self.pids = dict(watch.split("=") for watch in given.watch)
        self.extra = {}
        self.file = open(os.path.join(given.folder, "samples.csv"), "w")
        self.file.write("second,process,rss_mib,peak_mib\n")
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.go_on, daemon=True)
        self.thread.start()

    def also(self, name, pid):
        self.extra = {name: pid}

    def go_on(self):
        began = time.monotonic()
        while not self.over.wait(1.0):
            for name, pid in {**self.pids, **self.extra}.items():
                now, peak = of_process(pid)
                if now:
                    second = time.monotonic() - began
                    self.file.write(f"{second:.0f},{name},{now:.1f},{peak:.1f}\n")
            self.file.flush()

    def memory(self):
        told = []
        for name, pid in self.pids.items():
            now, peak = of_process(pid)
            told.append(f"{name} {now:.1f} MiB (peak {peak:.1f})")
        return ", ".join(told)

    def stop(self):
        self.over.set()
        self.thread.join()
        self.file.close()


def of_process(pid):
    """What a process holds, and the most it ever held, in MiB; nothing of one that is gone."""
    found = {}
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                key, _, value = line.partition(":")
                if key in ("VmRSS", "VmHWM"):
                    found[key] = int(value.split()[0]) / 1024
    except FileNotFoundError:
        pass
    return found.get("VmRSS", 0.0), found.get("VmHWM", 0.0)


if __name__ == "__main__":
    main()
