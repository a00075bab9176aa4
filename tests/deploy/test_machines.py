"""What lies in deploy/ for machines without Kubernetes: the image, compose.yaml, systemd's units."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml

import settings
from chart import matrix
from programs import SAMPLES, check, path_of
from repository import CHART, ROOT

DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
BINARIES = {"flowmill", "flowmill-scheduler", "flowmill-worker"}

# Variables that the program `flowmill` reads, by its verb.
OF_THE_VERBS = {"migrate": {"FLOWMILL_POSTGRES__URL"}, "serve": {"FLOWMILL_KEY", "FLOWMILL_PEPPER"}}


class Image(unittest.TestCase):
    def setUp(self):
        self.text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")

    def test_it_is_built_with_the_projects_rust(self):
        wanted = re.search(r'^rust-version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.M)[1]
        self.assertIn(f"\nFROM rust:{wanted}-", self.text)

    def test_what_it_copies_is_what_it_builds(self):
        copied = set(re.findall(r"/source/target/release/([\w-]+)", self.text))
        self.assertEqual(copied, BINARIES)
        built = set(re.findall(r"-p ([\w-]+)", self.text))
        self.assertEqual(built, {"flowmill-cli", "flowmill-scheduler", "flowmill-worker"})
        manifests = "".join(
            (ROOT / folder / "Cargo.toml").read_text() for folder in ("cli", "scheduler", "worker")
        )
        for name in re.search(r"--features ([\w,]+)", self.text)[1].split(","):
            self.assertRegex(manifests, rf"(?m)^{name} = \[")
        for name in BINARIES:
            self.assertTrue(path_of(name).exists())

    def test_its_context_has_all_members_of_the_workspace(self):
        left_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
        members = settings.read((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]["members"]
        for member in [*members, "migrations", "Cargo.lock", ".cargo"]:
            self.assertTrue((ROOT / member).exists())
            self.assertNotIn(member.split("/")[0], left_out)

    def test_nothing_that_is_left_out_is_built_in(self):
        """Sources that include a file of a folder which the image is not built from would not build there."""
        for path in ROOT.glob("*/**/src/**/*.rs"):
            if path.is_relative_to(ROOT / "target") or path.is_relative_to(ROOT / "tests"):
                continue
            code = path.read_text(encoding="utf-8").split("#[cfg(test)]")[0]
            for included in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', code):
                whole = (path.parent / included).resolve()
                top = whole.relative_to(ROOT).parts[0]
                self.assertNotIn(top, ("docs", "helm", "deploy"), f"{path}: {included}")

    def test_it_is_not_root_and_the_chart_knows_who(self):
        user = re.search(r"^USER (\d+):(\d+)$", self.text, re.M)
        pod = matrix()["minimal"].one("Deployment", "mill-flowmill-scheduler")["spec"]["template"]["spec"]
        self.assertEqual(int(user[1]), pod["securityContext"]["runAsUser"])
        self.assertEqual(int(user[2]), pod["securityContext"]["runAsGroup"])

    def test_the_chart_starts_programs_that_it_has(self):
        started = {
            pod["spec"]["containers"][0]["args"][0]
            for name, rendered in matrix().items()
            for place, pod in rendered.pods()
            if "-dev-" not in place
        }
        self.assertEqual(started, BINARIES)


class Compose(unittest.TestCase):
    def setUp(self):
        text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
        self.asked = set(re.findall(r"\$\{(\w+)", text))
        # as compose does it: ${NAME} and ${NAME:?why}
        given = {
            "PASSWORD": "0123456789abcdef",
            "API_KEY": SAMPLES["FLOWMILL_API__KEY"],
            "PEPPER": SAMPLES["FLOWMILL_API__PEPPER"],
            "SECRETS_KEY": SAMPLES["FLOWMILL_SECRETS__KEY"],
        }
        self.whole = yaml.safe_load(re.sub(r"\$\{(\w+)(:\?[^}]*)?\}", lambda found: given[found[1]], text))
        self.services = self.whole["services"]

    def test_what_is_secret_is_asked_for(self):
        self.assertEqual(self.asked, {"PASSWORD", "API_KEY", "PEPPER", "SECRETS_KEY"})
        page = (ROOT / "docs" / "single-vm.md").read_text(encoding="utf-8")
        for name in self.asked:
            self.assertIn(f"{name}=", page)

    def test_services_and_volumes_are_there(self):
        for name, service in self.services.items():
            with self.subTest(service=name):
                self.assertIn("image", service)
                for other in service.get("depends_on", {}):
                    self.assertIn(other, self.services)
                    if service["depends_on"][other]["condition"] == "service_healthy":
                        self.assertIn("healthcheck", self.services[other])
                for volume in service.get("volumes", []):
                    self.mounted(volume.split(":")[0])

    def mounted(self, source: str) -> None:
        if not source.startswith("."):
            self.assertIn(source, self.whole["volumes"])
            return
        path = (DEPLOY / source).resolve()
        self.assertTrue(path.exists(), f"{source} is not there")

    def test_only_this_machine_reaches_them(self):
        for service in self.services.values():
            for port in service.get("ports", []):
                self.assertTrue(port.startswith("127.0.0.1:"), port)

    def test_programs_are_restricted(self):
        for name in ("migrate", "scheduler", "worker"):
            service = self.services[name]
            self.assertTrue(service["read_only"])
            self.assertEqual(service["cap_drop"], ["ALL"])
            self.assertIn(service["command"][0], BINARIES)

    def test_programs_can_use_their_settings(self):
        for name in settings.PROGRAMS:
            environment = {
                variable: str(value or "a-key")
                for variable, value in self.services[name]["environment"].items()
            }
            done = check(f"flowmill-{name}", environment)
            with self.subTest(service=name):
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_worker_is_given_the_time_that_it_drains(self):
        drain = settings.defaults("worker")["drain"]
        grace = self.services["worker"]["stop_grace_period"]
        self.assertGreater(int(grace.removesuffix("s")), int(drain.removesuffix("s")))

    def test_servers_are_those_of_the_chart(self):
        values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["dev"]
        for name in ("postgres", "rabbitmq", "redis"):
            self.assertEqual(self.services[name]["image"], values[f"{name}Image"])

    def test_whoever_watches_asks_at_the_programs_ports(self):
        path = DEPLOY / "monitoring" / "prometheus.yml"
        jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["scrape_configs"]
        asked = {
            (name, found["port"])
            for job in jobs for found in job.get("dns_sd_configs", []) for name in found["names"]
        }
        for name, port in asked:
            listen = self.services[name]["environment"]["FLOWMILL_HTTP__LISTEN"]
            self.assertEqual(listen, f"0.0.0.0:{port}")
        self.assertEqual({name for name, _ in asked}, set(settings.PROGRAMS))


class Units(unittest.TestCase):
    def unit(self, path: Path) -> dict[str, list[str]]:
        """The lines of a unit: every key with all that is said of it."""
        found: dict[str, list[str]] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            if "=" in line and not line.startswith("#"):
                key, value = line.split("=", 1)
                found.setdefault(key, []).append(value)
        return found

    def test_they_start_programs_that_there_are(self):
        self.assertEqual(len(UNITS), 4)
        for path in UNITS:
            command = self.unit(path)["ExecStart"][0].split()
            self.assertIn(command[0], {f"/usr/local/bin/{name}" for name in BINARIES})
            done = subprocess.run(
                [path_of(Path(command[0]).name), *command[1:], "--help"],
                capture_output=True, text=True, timeout=60, check=False,
            )
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_files_that_they_read_have_samples(self):
        for path in UNITS:
            for file in self.unit(path)["EnvironmentFile"]:
                if not file.startswith("-"):
                    self.assertTrue((DEPLOY / "systemd" / Path(file).name).exists(), file)

    def test_samples_can_be_used(self):
        environment = self.environment("secrets.env")
        self.assertLessEqual(set(environment), set(SAMPLES))
        file = str(DEPLOY / "systemd" / "flowmill.toml")
        for name in settings.PROGRAMS:
            done = check(f"flowmill-{name}", environment, "--config", file)
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(set(self.environment("serve.env")), {"FLOWMILL_KEY"})

    def environment(self, name: str) -> dict[str, str]:
        """The variables of a sample, with something in the place of what is to be filled in."""
        lines = (DEPLOY / "systemd" / name).read_text(encoding="utf-8").splitlines()
        pairs = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
        self.assertIn("…", "".join(pairs.values()))
        return {key: SAMPLES.get(key, value) if "…" in value else value for key, value in pairs.items()}

    def test_programs_that_drain_have_the_time(self):
        drain = int(settings.defaults("worker")["drain"].removesuffix("s"))
        for path in UNITS:
            unit = self.unit(path)
            if "worker" in path.name:
                self.assertGreater(int(unit["TimeoutStopSec"][0].removesuffix("s")), drain)
            if "worker" in path.name or "serve" in path.name:
                # otherwise the code that nodes run would be told to stop at once
                self.assertEqual(unit["KillMode"], ["mixed"])
                self.assertEqual(unit["OOMPolicy"], ["continue"])

    @unittest.skipUnless(shutil.which("systemd-analyze"), "there is no systemd-analyze here")
    def test_systemd_can_read_them_and_finds_them_safe(self):
        with tempfile.TemporaryDirectory() as folder:
            for path in UNITS:
                # the programs are not installed where these tests run
                text = re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={shutil.which('true')}", path.read_text())
                Path(folder, path.name).write_text(text, encoding="utf-8")
            for path in UNITS:
                with self.subTest(unit=path.name):
                    self.analyze("verify", "--man=no", str(Path(folder, path.name)))
                    self.analyze("security", "--offline=yes", "--threshold=25", str(Path(folder, path.name)))

    def analyze(self, *arguments: str) -> None:
        done = subprocess.run(
            ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False,
            env=os.environ | {"SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"},
        )
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout[-200:])
        # what it does not know it only warns of
        self.assertNotIn("Unknown", done.stderr)


if __name__ == "__main__":
    unittest.main()
