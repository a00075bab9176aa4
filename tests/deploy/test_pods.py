"""The chart's pods as processes of this machine: what their objects say is done, without Kubernetes.

The programs run as the user of the pods, without capabilities, with the variables of the objects and no
others, over the servers that ./dev brings. Then `helm test` is what its pod says.
"""

import base64
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

import yaml

from chart import Rendered, render
from programs import path_of
from repository import ROOT

POSTGRES = os.environ.get("FLOWMILL_TEST_POSTGRES", "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable")
RABBITMQ = os.environ.get("FLOWMILL_TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672/%2f")
REDIS = os.environ.get("FLOWMILL_TEST_REDIS", "redis://127.0.0.1:6379/0")

# One for each checkout: tests of several may run at a time. What an earlier run left is taken over.
OWN = "flowmill_deploy_" + hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]

API_KEY = "a-key-of-the-test-0123"

# How long anything may take here, in seconds.
PATIENCE = 60


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def psql(url: str, *statements: str) -> None:
    for statement in statements:
        subprocess.run(["psql", "-Xqw", url, "-c", statement], check=True, capture_output=True, text=True)


class Pods(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        # the user of the pods may not look into everybody's folders
        cls.folder.chmod(0o755)
        cls.programs = cls.folder / "bin"
        cls.programs.mkdir()
        for name in ("flowmill", "flowmill-scheduler", "flowmill-worker"):
            shutil.copy2(path_of(name), cls.programs / name)
        psql(POSTGRES, f"DROP DATABASE IF EXISTS {OWN} WITH (FORCE)", f"CREATE DATABASE {OWN}")
        cls.addClassCleanup(psql, POSTGRES, f"DROP DATABASE IF EXISTS {OWN} WITH (FORCE)")
        start, _, rest = POSTGRES.rpartition("/")
        database = f"{start}/{OWN}" + (f"?{rest.split('?')[1]}" if "?" in rest else "")
        cls.rendered = render(
            {
                "postgres": {"url": database},
                "rabbitmq": {"url": RABBITMQ},
                "redis": {"url": REDIS},
                "api": {"key": API_KEY, "pepper": "a-pepper-of-the-test"},
                "secrets": {"key": "0123456789abcdef" * 4},
                "settings": {"rabbitmq": {"prefix": OWN, "queues": "classic"}},
                "workers": {"default": {"drainSeconds": 10}},
            }
        )
        cls.running: dict[str, subprocess.Popen] = {}
        cls.addClassCleanup(cls.kill)
        cls.run_to_end("Job", "mill-flowmill-migrate")
        cls.api = cls.start("mill-flowmill-scheduler")
        cls.start("mill-flowmill-worker-default")

    @classmethod
    def kill(cls):
        for process in cls.running.values():
            process.kill()
            process.wait()

    @classmethod
    def start(cls, name: str) -> int:
        """Runs a Deployment's pod and waits until it is ready. Its port."""
        pod = cls.rendered.one("Deployment", name)["spec"]["template"]
        port = free_port()
        command, environment = command_of(cls.rendered, pod)
        # in a pod of its own each has the same port
        environment["FLOWMILL_HTTP__LISTEN"] = f"127.0.0.1:{port}"
        with (cls.folder / f"{name}.log").open("w") as log:
            cls.running[name] = subprocess.Popen(
                cls.confined(pod, command), env=environment, stdout=log, stderr=log, cwd="/"
            )
        probe = pod["spec"]["containers"][0]["readinessProbe"]["httpGet"]["path"]
        until = time.monotonic() + PATIENCE
        while not answers(port, probe):
            if cls.running[name].poll() is not None or time.monotonic() > until:
                raise AssertionError(f"{name} is not ready:\n{cls.log(name)}")
            time.sleep(0.1)
        return port

    @classmethod
    def log(cls, name: str) -> str:
        return (cls.folder / f"{name}.log").read_text()[-3000:]

    @classmethod
    def run_to_end(cls, kind: str, name: str, changes: dict | None = None, files: dict | None = None) -> str:
        """Runs a pod that ends by itself; it must succeed. What it said."""
        item = cls.rendered.one(kind, name)
        pod = item if kind == "Pod" else item["spec"]["template"]
        command, environment = command_of(cls.rendered, pod)
        command = [(files or {}).get(part, part) for part in command]
        done = subprocess.run(
            cls.confined(pod, command), env=environment | (changes or {}),
            capture_output=True, text=True, timeout=PATIENCE, check=False, cwd="/",
        )
        if done.returncode:
            raise AssertionError(f"{name}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    @classmethod
    def confined(cls, pod: dict, command: list[str]) -> list[str]:
        """The command as the pod's security context has it; who is not root can be nobody else."""
        whole = [str(cls.programs / command[0]), *command[1:]]
        if os.geteuid() != 0:
            return ["setpriv", "--no-new-privs", *whole]
        context = pod["spec"]["securityContext"]
        return [
            "setpriv", f"--reuid={context['runAsUser']}", f"--regid={context['runAsGroup']}", "--clear-groups",
            "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", *whole,
        ]

    def submit(self, workflow: str) -> str:
        """What the pod of `helm test` does, with a workflow in the place of its own."""
        file = self.folder / "workflow.yml"
        file.write_text(workflow, encoding="utf-8")
        return self.run_to_end(
            "Pod", "mill-flowmill-test",
            {"FLOWMILL_SERVER": f"http://127.0.0.1:{self.api}"}, {"/etc/flowmill/hello.yml": str(file)},
        )

    def test_1_helm_test_succeeds(self):
        workflow = self.rendered.one("ConfigMap", "mill-flowmill-test")["data"]["hello.yml"]
        said = self.submit(workflow)
        self.assertIn("Kubernetes", said)
        self.assertIn("succeeded", said)

    def test_2_code_runs_in_its_sandbox(self):
        document = yaml.safe_load((ROOT / "examples" / "hello.yml").read_text(encoding="utf-8"))
        [node] = [
            node["data"] for node in document["workflow"]["graph"]["nodes"]
            if node["data"]["type"] == "template-transform"
        ]
        del node["template"]
        code = "import os\ndef main(name):\n    return {'output': f'{name} as {os.getuid()}'}\n"
        node |= {
            "type": "code", "code_language": "python3", "code": code,
            "outputs": {"output": {"type": "string", "children": None}},
        }
        said = self.submit(yaml.safe_dump(document))
        pod = self.rendered.one("Deployment", "mill-flowmill-worker-default")["spec"]["template"]
        user = pod["spec"]["securityContext"]["runAsUser"] if os.geteuid() == 0 else os.geteuid()
        # it is nobody inside where it has a user namespace
        self.assertRegex(said, rf"Kubernetes as ({user}|65534)\b")

    def test_3_it_says_what_it_does_at_the_port_that_is_scraped(self):
        self.assertTrue(answers(self.api, "/healthz"))
        request = urllib.request.Request(f"http://127.0.0.1:{self.api}/api/v1/runs")
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=PATIENCE)
        caught.exception.close()
        # the key of the Secret, and no other, opens the API
        self.assertEqual(caught.exception.code, 401)
        request.add_header("Authorization", f"Bearer {API_KEY}")
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            self.assertEqual(answer.status, 200)

    def test_4_they_stop_in_the_time_that_they_are_given(self):
        for name in ("mill-flowmill-worker-default", "mill-flowmill-scheduler"):
            spec = self.rendered.one("Deployment", name)["spec"]["template"]["spec"]
            process = self.running[name]
            process.send_signal(signal.SIGTERM)
            code = process.wait(timeout=spec["terminationGracePeriodSeconds"])
            self.assertEqual(code, 0, self.log(name))


def command_of(rendered: Rendered, pod: dict) -> tuple[list[str], dict[str, str]]:
    """A container's command and all of its environment."""
    container = pod["spec"]["containers"][0]
    secrets = {item["metadata"]["name"]: item["data"] for item in rendered.of_kind("Secret")}
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    for variable in container["env"]:
        source = variable.get("valueFrom", {})
        if "secretKeyRef" in source:
            reference = source["secretKeyRef"]
            value = base64.b64decode(secrets[reference["name"]][reference["key"]]).decode()
        elif "fieldRef" in source:
            value = f"a-pod-of-{container['name']}"
        else:
            value = variable["value"]
        environment[variable["name"]] = value
    return container["args"], environment


def answers(port: int, path: str) -> bool:
    """Whether a process says that all is well."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


if __name__ == "__main__":
    unittest.main()
