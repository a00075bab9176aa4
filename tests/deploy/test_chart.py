"""The chart by itself: it is clean, its objects are valid, bad values are refused, its page is current."""

import json
import re
import tempfile
import unittest

import helm_python
import jsonschema
import kubernetes_validate
import yaml

import values
from chart import loaded, matrix, render, values_of
from repository import CHART, HERE, ROOT, current

# Releases of Kubernetes that the chart is for.
KUBERNETES = [f"1.{minor}" for minor in range(28, 36)]

# What Kubernetes itself does not know: what the chart uses of it is in crds/.
CUSTOM = {
    "ServiceMonitor",
    "PodMonitor",
    "PrometheusRule",
    "ScaledObject",
    "TriggerAuthentication",
    "HTTPRoute",
}


def short(error: Exception) -> str:
    """What is wrong, without the whole schema around it."""
    path = ".".join(str(part) for part in getattr(error, "absolute_path", ()))
    return f"{path}: {getattr(error, 'message', error)}"


class Rendering(unittest.TestCase):
    def test_lint_finds_nothing(self):
        for name in matrix():
            for version in (KUBERNETES[0], KUBERNETES[-1]):
                with self.subTest(values=name, kubernetes=version):
                    report = helm_python.lint(
                        CHART, values_of(name), strict=True, kube_version=f"v{version}.0"
                    )
                    bad = [said for said in report["messages"] if said["severity"] >= 2]
                    self.assertEqual(bad + report["errors"], [])

    def test_objects_are_valid_in_every_kubernetes(self):
        seen = set()
        for name, rendered in matrix().items():
            for item in rendered.objects:
                text = json.dumps(item, sort_keys=True)
                if item["kind"] in CUSTOM or text in seen:
                    continue
                seen.add(text)
                for version in KUBERNETES:
                    try:
                        kubernetes_validate.validate(item, version, strict=True)
                    except kubernetes_validate.ValidationError as error:
                        place = f"{name}: {item['kind']}/{item['metadata']['name']}"
                        self.fail(f"{place} in Kubernetes {version}: {short(error)}")
        self.assertGreater(len(seen), 50)

    def test_custom_resources_are_valid(self):
        seen = set()
        for name, rendered in matrix().items():
            for item in rendered.objects:
                if item["kind"] not in CUSTOM:
                    continue
                seen.add(item["kind"])
                path = HERE / "crds" / f"{item['kind'].lower()}.json"
                schema = json.loads(path.read_text(encoding="utf-8"))
                error = next(jsonschema.Draft7Validator(schema).iter_errors(item), None)
                place = f"{name}: {item['kind']}/{item['metadata']['name']}"
                self.assertIsNone(error, f"{place}: {error and short(error)}")
        self.assertEqual(seen, CUSTOM)

    def test_every_template_is_rendered_by_some_values(self):
        rendered = set()
        for path in (CHART / "ci").glob("*.yaml"):
            files = loaded().render(values_of(path.stem), name="mill", namespace="flows")
            rendered |= {name for name, text in files.items() if text.strip()}
        there = {template["name"] for template in loaded().templates}
        silent = {
            name for name in there
            if not name.endswith(".tpl") and f"flowmill/{name}" not in rendered
        }
        self.assertEqual(silent, set())

    def test_objects_are_as_they_were(self):
        for name in ("minimal", "keda", "production"):
            current(self, HERE / "golden" / f"{name}.yaml", matrix()[name].text())

    def test_names_are_distinct_and_short(self):
        for name, rendered in matrix().items():
            names = [(item["kind"], item["metadata"]["name"]) for item in rendered.objects]
            self.assertEqual(len(names), len(set(names)), name)
        long = render(values_of("dev") | {"fullnameOverride": "n" * 60})
        for item in long.objects:
            self.assertLessEqual(len(item["metadata"]["name"]), 63)

    def test_notes_say_what_is_missing(self):
        notes = {name: rendered.notes for name, rendered in matrix().items()}
        self.assertIn("keep nothing", notes["dev"])
        self.assertIn("there is no secrets.key", notes["minimal"])
        self.assertNotIn("there is no secrets.key", notes["production"])
        self.assertIn("get secret flowmill-keys", notes["existing-secrets"])
        blind = values_of("minimal") | {"monitoring": {"scrape": {"enabled": True}}}
        self.assertIn("networkPolicy.metricsFrom", render(blind).notes)


    def test_a_package_has_what_it_needs(self):
        with tempfile.TemporaryDirectory() as folder:
            package = helm_python.package(CHART, destination=folder)
            with helm_python.Chart.load(package) as chart:
                there = {file["name"] for file in chart.files}
                rendered = chart.render(values_of("monitoring"), name="mill", namespace="flows")
        self.assertLessEqual({"files/alerts.yml", "files/hello.yml", "README.md"}, there)
        self.assertFalse([name for name in there if name.startswith("ci/")])
        self.assertIn("PrometheusRule", rendered["flowmill/templates/monitoring.yaml"])


class Values(unittest.TestCase):
    def refused(self, changes: dict, *said: str, over: str = "minimal") -> None:
        whole = loaded().merge_values(values_of(over))
        merge(whole, changes)
        with self.subTest(changes=changes):
            with self.assertRaises(helm_python.HelmError) as caught:
                render(whole)
            for part in said:
                self.assertIn(part, str(caught.exception))

    def test_what_is_wrong_is_refused_with_its_place(self):
        self.refused({"postgress": {}}, "'postgress' not allowed")
        self.refused({"scheduler": {"replicas": "two"}}, "/scheduler/replicas", "want integer")
        self.refused({"scheduler": {"settings": {"window": {"lm": 1}}}}, "/scheduler/settings/window", "'lm'")
        self.refused({"settings": {"log": {"format": "xml"}}}, "/settings/log/format", "'text', 'json'")
        self.refused({"settings": {"postgres": {"url": "x"}}}, "/settings/postgres", "'url' not allowed")
        self.refused({"workerDefaults": {"settings": {"window": {"llm": 1}}}}, "'window' not allowed")
        self.refused({"workerDefaults": {"drainSeconds": 0}}, "/workerDefaults/drainSeconds")
        self.refused({"workers": {"Big": {}}}, "'Big'")
        self.refused({"workers": {"default": {"slots": {"gpu": 1}}}}, "'gpu' not allowed")
        self.refused({"workers": {"default": {"autoscaling": {"by": "magic"}}}}, "'none', 'hpa', 'keda'")
        self.refused({"postgres": {"urlFrom": {"name": "a"}}}, "'key' required")
        self.refused({"image": {"digest": "latest"}}, "/image/digest")
        self.refused({"migration": {"shards": 0}}, "/migration/shards")
        self.refused({"networkPolicy": {"postgresPort": 70000}}, "/networkPolicy/postgresPort")

    def test_values_that_need_each_other_are_missed(self):
        self.refused({"postgres": {"url": ""}}, "set postgres.url or postgres.urlFrom")
        self.refused({"rabbitmq": {"url": ""}}, "set rabbitmq.url or rabbitmq.urlFrom")
        self.refused({"api": {"key": ""}}, "set api.key or api.keyFrom", "openssl rand")
        self.refused({"workers": {"default": {"slots": {"code": 0}}}}, "no pool has slots for the class code")
        self.refused({"workers": {"default": {"enabled": False}}}, "no pool has slots")
        self.refused({"ingress": {"enabled": True}}, "set ingress.host")
        self.refused({"httpRoute": {"enabled": True}}, "set httpRoute.parentRefs")
        pool = {"autoscaling": {"by": "hpa", "min": 0}}
        self.refused({"workers": {"default": pool}}, "keda takes 0")
        pool = {"autoscaling": {"by": "hpa", "tasks": False}}
        self.refused({"workers": {"default": pool}}, "needs tasks or cpuPercent")
        pool = {"autoscaling": {"by": "keda", "queues": False}}
        self.refused({"workers": {"default": pool}}, "keda needs queues or prometheus")
        pool = {"autoscaling": {"by": "keda", "min": 20}}
        self.refused({"workers": {"default": pool}}, "min is above max")
        pool = {"pod": {"env": [{"name": "FLOWMILL_THREADS", "value": "2"}]}}
        self.refused({"workers": {"default": pool}}, "workers.default.pod.env: FLOWMILL_THREADS is a setting")

    def test_a_secret_is_in_no_message(self):
        for changes in (
            {"api": {"key": "hidden"}},
            {"secrets": {"key": "hidden"}},
            {"postgres": {"url": "hidden", "urlFrom": {"name": "a"}}},
        ):
            whole = loaded().merge_values(values_of("minimal"))
            merge(whole, changes)
            with self.assertRaises(helm_python.HelmError) as caught:
                render(whole)
            self.assertNotIn("hidden", str(caught.exception))

    def test_all_are_described(self):
        self.assertEqual(values.undescribed(values.read()), [])

    def test_the_schema_is_current(self):
        current(self, CHART / "values.schema.json", values.schema())

    def test_the_page_is_current(self):
        current(self, CHART / "README.md", values.page())


class Pages(unittest.TestCase):
    def test_values_in_pages_can_be_used(self):
        seen = 0
        for path in (ROOT / "docs" / "kubernetes.md", CHART / "README.md"):
            for block in re.findall(r"```yaml\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
                whole = values_of("minimal")
                merge(whole, yaml.safe_load(block))
                with self.subTest(page=path.name, values=block):
                    render(whole)
                seen += 1
        self.assertGreaterEqual(seen, 4)

    def test_values_that_pages_name_exist(self):
        known = {name for value in values.read() for name in flat(value)}
        # sections whose names no setting of the programs has
        own = {"dev", "migration", "monitoring", "networkPolicy", "scheduler", "workerDefaults"}
        pages = [CHART / "README.md", *(ROOT / "docs").glob("*.md")]
        for path in pages:
            for name in re.findall(r"`([a-zA-Z]+(?:\.[a-zA-Z]+)+)", path.read_text(encoding="utf-8")):
                if name.split(".")[0] in own:
                    with self.subTest(page=path.name):
                        self.assertIn(re.sub(r"\.settings\..*", ".settings", name), known)


def flat(value: values.Value) -> list[str]:
    return [value.name, *(name for child in value.children for name in flat(child))]


class Copies(unittest.TestCase):
    def test_the_tests_workflow_is_the_example(self):
        example = (ROOT / "examples" / "hello.yml").read_text(encoding="utf-8")
        current(self, CHART / "files" / "hello.yml", example)

    def test_the_release_is_the_programs(self):
        workspace = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
        release = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["appVersion"]
        self.assertIn(f'\nversion = "{release}"\n', workspace)

    def test_dashboards_are_the_files(self):
        rendered = matrix()["monitoring"]
        dashboards = {path.name: path for path in (CHART / "files" / "dashboards").glob("*.json")}
        told = {}
        for item in rendered.of_kind("ConfigMap"):
            if item["metadata"]["labels"].get("grafana_dashboard"):
                told |= item["data"]
        self.assertTrue(told)
        self.assertEqual(
            {name: json.loads(text) for name, text in told.items()},
            {f"flowmill-{name}": json.loads(self.led(path.read_text())) for name, path in dashboards.items()},
        )

    def test_rules_are_the_file_with_the_runbooks_addresses(self):
        text = (CHART / "files" / "alerts.yml").read_text(encoding="utf-8")
        wanted = yaml.safe_load(self.led(text))["groups"]
        [rules] = matrix()["monitoring"].of_kind("PrometheusRule")
        self.assertEqual(rules["spec"]["groups"], wanted)
        self.assertIn("https://runbooks.example/flowmill/", str(wanted))

    def led(self, text: str) -> str:
        """What ci/monitoring.yaml makes of the paths of runbooks."""
        return text.replace("docs/runbooks/", "https://runbooks.example/flowmill/")


def merge(into: dict, other: dict) -> None:
    for name, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            merge(into[name], value)
        else:
            into[name] = value


if __name__ == "__main__":
    unittest.main()
