"""What runs code and reaches out, run as the chart's worker pods run it: it works there, and holds there."""

import base64
import functools
import http.server
import json
import threading
import unittest

from chart import matrix
from confined import PROGRAMS, pod_of, run, writable
from repository import ROOT

DOCUMENTS = ROOT / "common" / "nodes" / "tests" / "fixtures" / "documents"


@functools.cache
def worker() -> dict:
    """The pod of a worker, as the chart gives it with what it has by itself."""
    return pod_of(next(iter(matrix().values())), "Deployment/flows-worker-default")


def scratch() -> str:
    """The folder that it may write to."""
    [folder] = writable(worker())
    return folder


def document(node: dict, output: str, inputs: tuple[dict, ...] = ()) -> str:
    """A workflow of one node between start and end. JSON is YAML."""
    end = {"type": "end", "title": "End",
           "outputs": [{"variable": "says", "value_selector": ["node", output], "value_type": "string"}]}
    nodes = [("start", {"type": "start", "title": "Start", "variables": [*inputs]}), ("node", node), ("end", end)]
    edges = [("start", "node"), ("node", "end")]
    return json.dumps({
        "app": {"mode": "workflow", "name": "Confined"}, "kind": "app", "version": "0.6.0",
        "workflow": {
            "conversation_variables": [], "environment_variables": [], "features": {},
            "graph": {
                "nodes": [{"id": name, "type": "custom", "data": data} for name, data in nodes],
                "edges": [{"id": f"{a}-{b}", "source": a, "target": b, "sourceHandle": "source",
                           "targetHandle": "target"} for a, b in edges],
            },
        },
    })


def code(language: str, text: str) -> dict:
    return {"type": "code", "title": "Code", "code_language": language, "code": text, "variables": [],
            "outputs": {"says": {"type": "string", "children": None}}}


def python(statements: str) -> str:
    body = "".join(f"    {line}\n" for line in statements.splitlines())
    return document(code("python3", f"def main():\n{body}    return {{'says': str(says)}}\n"), "says")


def get(url: str) -> str:
    return document({"type": "http-request", "title": "Get", "method": "get", "url": url, "headers": "", "params": "",
                     "body": {"type": "none", "data": []}, "authorization": {"type": "no-auth", "config": None},
                     "variables": [], "retry_config": {"retry_enabled": False}}, "body")


class Confined(unittest.TestCase):
    def outcome(self, text: str, *flags: str) -> dict:
        done = run(worker(), f"{PROGRAMS}/flowmill", "run", "--output", "json", *flags, "-", given=text)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        return json.loads(done.stdout)

    def says(self, text: str, *flags: str) -> str:
        outcome = self.outcome(text, *flags)
        self.assertEqual(outcome["status"], "succeeded", outcome)
        return outcome["outputs"]["says"]

    def fails(self, text: str, why: str) -> None:
        outcome = self.outcome(text)
        self.assertEqual(outcome["status"], "failed", outcome)
        self.assertIn(why, outcome["error"])

    def test_it_has_no_rights_and_nowhere_to_write(self):
        look = (
            "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; id -u; touch /usr/x /etc/x; "
            f"touch {scratch()}/x && echo wrote"
        )
        done = run(worker(), "sh", "-c", look)
        told = dict(line.split(":\t") for line in done.stdout.splitlines() if ":\t" in line)
        rights = {name: int(value, 16) for name, value in told.items() if name.startswith("Cap")}
        self.assertEqual(rights, dict.fromkeys(["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"], 0))
        self.assertEqual((told["NoNewPrivs"], told["Seccomp"]), ("1", "2"))
        *_, user, wrote = done.stdout.splitlines()
        self.assertNotEqual(user, "0")
        self.assertEqual(wrote, "wrote")
        self.assertEqual(done.stderr.count("Read-only file system"), 2, done.stderr)
        unshared = run(worker(), "unshare", "--user", "true")
        self.assertIn("not permitted", unshared.stderr)

    def test_what_isolates_code_says_that_it_does(self):
        done = run(worker(), f"{PROGRAMS}/flowmill", "sandbox")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for part in ("privileges", "files", "system calls", "limits"):
            self.assertRegex(done.stdout, rf"(?s)Python code:.*  {part}: active")
            self.assertRegex(done.stdout, rf"(?s)converter of documents:.*  {part}: active")

    def test_code_runs(self):
        self.assertEqual(self.says(python("import json\nsays = json.dumps([6 * 7])")), "[42]")
        script = "function main() { return {says: String(6 * 7)} }"
        self.assertEqual(self.says(document(code("javascript", script), "says")), "42")

    def test_code_does_not_get_out(self):
        for attack in [
            "import socket\nsays = socket.create_connection(('127.0.0.1', 5432), 2)",
            "import socket\nsays = socket.socket(socket.AF_UNIX).connect('/run/x')",
            "says = open('/etc/passwd').read()",
            f"says = open('{scratch()}/x', 'w').write('x')",
            "import os\nsays = os.listdir('/')",
            "import os\nsays = os.execv('/bin/sh', ['sh', '-c', 'id'])",
            "import os\nsays = open(f'/proc/{os.getppid()}/mem', 'rb').read(1)",
            "says = open('/proc/1/environ').read()",
            "import os\nsays = os.kill(1, 9)",
        ]:
            with self.subTest(attack=attack):
                self.fails(python(attack), "PermissionError")
        for script in ["require('fs')", "process.env", "fetch('http://127.0.0.1')"]:
            with self.subTest(attack=script):
                text = f"function main() {{ return {{says: String({script})}} }}"
                self.fails(document(code("javascript", text), "says"), "ReferenceError")

    def test_documents_are_converted(self):
        given = {"variable": "file", "label": "File", "type": "file", "required": True, "options": [],
                 "allowed_file_types": ["document"], "allowed_file_extensions": [],
                 "allowed_file_upload_methods": ["local_file"]}
        node = {"type": "document-extractor", "title": "Extract", "variable_selector": ["start", "file"],
                "is_array_file": False}
        # the folder of tests may be closed to who has no rights, so it comes with the command
        content = base64.b64encode((DOCUMENTS / "lines.pdf").read_bytes()).decode()
        command = (
            f"echo {content} | base64 -d > {scratch()}/lines.pdf && "
            f"exec {PROGRAMS}/flowmill run --output json --file file={scratch()}/lines.pdf -"
        )
        done = run(worker(), "sh", "-c", command, given=document(node, "text", (given,)))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("line", json.loads(done.stdout)["outputs"]["says"].lower())

    def test_requests_go_where_they_may(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"let in")

            def log_message(self, *about):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            here = f"127.0.0.1:{server.server_port}"
            for url in [f"http://{here}", f"http://localhost:{server.server_port}",
                        f"http://[::ffff:127.0.0.1]:{server.server_port}", "http://169.254.169.254/latest",
                        "http://10.0.0.1", "http://[fd00::1]"]:
                with self.subTest(url=url):
                    self.fails(get(url), "was blocked by SSRF protection")
            self.assertEqual(self.says(get(f"http://{here}"), "--allow-net", here), "let in")
            server.shutdown()


if __name__ == "__main__":
    unittest.main()
