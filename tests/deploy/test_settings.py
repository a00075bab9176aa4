"""The variables that programs are given: known to them, said once, and usable."""

import base64
import re
import subprocess
import unittest

import settings
from chart import Rendered, matrix, render, values_of
from programs import SAMPLES, check, path_of

# Variables of the command line's own (cli/src/server).
OF_THE_CLIENT = {"FLOWMILL_SERVER", "FLOWMILL_API_KEY"}

def programs(rendered: Rendered):
    """The pods of Flowmill's own programs: their place, the program, its container."""
    for place, pod in rendered.pods():
        container = pod["spec"]["containers"][0]
        program = container.get("args", [""])[0]
        if program.startswith("flowmill"):
            yield place, program, container


def names(container: dict) -> list[str]:
    return [variable["name"] for variable in container["env"]]


class Variables(unittest.TestCase):
    def test_programs_know_them(self):
        for name, rendered in matrix().items():
            for place, program, container in programs(rendered):
                known = {
                    "flowmill": OF_THE_CLIENT | {"FLOWMILL_POSTGRES__URL"},
                    "flowmill-scheduler": settings.variables("scheduler"),
                    "flowmill-worker": settings.variables("worker"),
                }[program]
                # each program passes over the sections that only the other has
                if program != "flowmill":
                    known = known | settings.variables("scheduler") | settings.variables("worker")
                given = {variable for variable in names(container) if variable.startswith("FLOWMILL_")}
                with self.subTest(values=name, pod=place):
                    self.assertEqual(given - known, set())

    def test_each_is_said_once(self):
        for name, rendered in matrix().items():
            for place, _, container in programs(rendered):
                with self.subTest(values=name, pod=place):
                    self.assertEqual(sorted(names(container)), sorted(set(names(container))))

    def test_a_program_is_given_no_secret_of_another(self):
        scheduler = {"FLOWMILL_API__KEY", "FLOWMILL_API__PEPPER", "FLOWMILL_WEBHOOKS__URL_SECRET"}
        worker = {"FLOWMILL_SERVICES__KNOWLEDGE", "FLOWMILL_CODE__SANDBOX_KEY", "OPENAI_API_KEY"}
        for rendered in matrix().values():
            for place, program, container in programs(rendered):
                foreign = {"flowmill-worker": scheduler, "flowmill-scheduler": worker}.get(program, worker)
                self.assertFalse(foreign & set(names(container)), place)
                if "webhooks" in place:
                    self.assertNotIn("FLOWMILL_RABBITMQ__URL", names(container))

    def test_values_are_written_as_programs_read_them(self):
        rendered = matrix()["production"]
        scheduler = rendered.one("Deployment", "mill-flow-scheduler")["spec"]["template"]["spec"]["containers"][0]
        said = {variable["name"]: variable.get("value") for variable in scheduler["env"]}
        self.assertEqual(said["FLOWMILL_WINDOW__LLM"], "2000000")
        self.assertEqual(said["FLOWMILL_INTAKE__KEY_FROM_BODY"], "true")
        self.assertEqual(said["FLOWMILL_WEBHOOKS__ALLOW_NET"], "10.1.0.0/16,*.intra.example")
        self.assertEqual(said["FLOWMILL_SHARDS__LEASE"], "15s")
        self.assertEqual(said["FLOWMILL_ROLES"], "runs")
        self.assertEqual(said["FLOWMILL_OTLP__SAMPLE"], "0.1")

    def test_the_defaults_that_the_chart_copies_are_the_programs(self):
        defaults = settings.keys(settings.defaults("worker"))
        pool = render(values_of("minimal")).one("Deployment", "mill-flowmill-worker-default")
        said = {
            variable["name"]: variable.get("value")
            for variable in pool["spec"]["template"]["spec"]["containers"][0]["env"]
        }
        for name in ("light", "code", "http", "llm"):
            self.assertEqual(said[f"FLOWMILL_SLOTS__{name.upper()}"], str(defaults[f"slots.{name}"]))
        self.assertEqual(said["FLOWMILL_DRAIN"], defaults["drain"])


class Programs(unittest.TestCase):
    """The programs themselves say whether what the chart gives them can be used."""

    def environment(self, rendered: Rendered, container: dict) -> dict:
        data = {
            (secret["metadata"]["name"], key): base64.b64decode(value).decode()
            for secret in rendered.of_kind("Secret")
            for key, value in secret["data"].items()
        }
        found = {}
        for variable in container["env"]:
            name = variable["name"]
            source = variable.get("valueFrom", {})
            if "secretKeyRef" in source:
                reference = source["secretKeyRef"]
                value = data.get((reference["name"], reference["key"]), SAMPLES.get(name, "word"))
                if "planted" in value and name in SAMPLES:
                    value = SAMPLES[name]
            else:
                value = variable.get("value", "a-pod")
            found[name] = value
        # the file lies in the pod
        found.pop("FLOWMILL_SERVICES__FILE", None)
        return found

    def test_they_can_use_what_the_chart_gives_them(self):
        seen = set()
        for name, rendered in matrix().items():
            for place, program, container in programs(rendered):
                if program == "flowmill":
                    continue
                seen.add(program)
                done = check(program, self.environment(rendered, container))
                with self.subTest(values=name, pod=place):
                    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(seen, {"flowmill-scheduler", "flowmill-worker"})

    def test_they_refuse_what_the_chart_would_misspell(self):
        rendered = matrix()["minimal"]
        for _, program, container in programs(rendered):
            if program == "flowmill":
                continue
            environment = self.environment(rendered, container) | {"FLOWMILL_LOG__FORMATT": "json"}
            done = check(program, environment)
            self.assertEqual(done.returncode, 2)
            self.assertIn("FLOWMILL_LOG__FORMATT", done.stderr)

    def test_their_defaults_are_the_files(self):
        for name in settings.PROGRAMS:
            done = subprocess.run(
                [path_of(f"flowmill-{name}"), "--print-defaults"],
                capture_output=True, text=True, timeout=60, check=True,
            )
            self.assertEqual(settings.read(done.stdout), settings.defaults(name))

    def test_words_of_settings_are_theirs(self):
        """The few words that the schema offers are the ones that the programs take."""
        for key, words in settings.WORDS.items():
            for word in [*words, "another"]:
                environment = {settings.variable(key): word, "FLOWMILL_API__KEY": SAMPLES["FLOWMILL_API__KEY"]}
                done = check("flowmill-scheduler", environment)
                with self.subTest(key=key, word=word):
                    self.assertEqual(done.returncode == 0, word in words, done.stderr)

    def test_managed_settings_exist(self):
        known = {key for name in settings.PROGRAMS for key in settings.keys(settings.defaults(name))}
        for key in settings.MANAGED:
            with self.subTest(key=key):
                self.assertTrue(any(re.match(rf"{re.escape(key)}($|\.)", one) for one in known))


if __name__ == "__main__":
    unittest.main()
