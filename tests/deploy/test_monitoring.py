"""Alerts, runbooks and dashboards: that each is right by itself, and that they fit together.

Run with a Python that has PyYAML:

    python3 -m unittest discover -s tests/deploy -p test_monitoring.py
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = ROOT / "helm" / "flowmill" / "files"
RULES = FILES / "alerts.yml"
DASHBOARDS = FILES / "dashboards"
RUNBOOKS = ROOT / "docs" / "runbooks"
MONITORING = ROOT / "deploy" / "monitoring"
RULE_TESTS = ROOT / "tests" / "deploy" / "alerts"
METRICS_PAGE = ROOT / "docs" / "metrics.md"
COMMANDS = ROOT / "cli" / "src" / "commands"

# What Prometheus itself knows.
OF_PROMETHEUS = {"up", "ALERTS"}
# Labels that whoever scrapes adds, that histograms have, and that alerts have.
COMMON_LABELS = {"namespace", "job", "instance", "pod", "le", "alertname", "alertstate", "severity"}
# Words of PromQL that look like names of metrics.
WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "offset", "bool"}


def promtool(*arguments):
    """What promtool says; it fails the test when promtool is not content."""
    program = subprocess.run([ROOT / "deploy" / "promtool.sh"], capture_output=True, text=True, check=True)
    done = subprocess.run([program.stdout.strip(), *map(str, arguments)], capture_output=True, text=True, cwd=ROOT)
    if done.returncode != 0:
        raise AssertionError(f"promtool {arguments[0]} {arguments[1]}:\n{done.stdout}{done.stderr}")
    return done.stdout


def rules():
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts():
    return [rule for rule in rules() if "alert" in rule]


def page_of(alert):
    """The name of an alert's runbook: FlowmillApiErrors has api-errors."""
    words = re.findall("[A-Z][a-z]*", alert.removeprefix("Flowmill"))
    return "-".join(words).lower()


def dashboards():
    return {path.stem: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def runbooks():
    return {path.stem: path.read_text() for path in sorted(RUNBOOKS.glob("*.md")) if path.stem != "README"}


def fenced(text):
    return re.findall(r"```promql\n(.*?)```", text, re.DOTALL)


def plain(query):
    """A dashboard's query as Prometheus gets it."""
    return query.replace("$__rate_interval", "5m").replace("$namespace", ".*")


def queries():
    """All PromQL there is, each with where it stands."""
    found = [(f"alerts.yml {rule.get('alert') or rule['record']}", rule["expr"]) for rule in rules()]
    for name, board in dashboards().items():
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                found.append((f"{name}.json {panel['title']}", plain(target["expr"])))
    pages = {**runbooks(), "../monitoring": (ROOT / "docs" / "monitoring.md").read_text()}
    for name, text in pages.items():
        found += [(f"runbooks/{name}.md", query) for query in fenced(text)]
    return found


def taken_apart(query):
    """The metrics of a query with the matchers of each, and the labels by which it groups."""
    groups = re.findall(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)", query)
    labels = {label.strip() for group in groups for label in group.split(",") if label.strip()}
    rest = re.sub(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)", " ", query)
    rest = re.sub(r"\[[^\]]*\]", " ", rest)
    metrics = []
    for name, matchers in re.findall(r'([a-zA-Z_:][\w:]*)\s*(\{(?:[^}"]|"[^"]*")*\})?', rest_without_calls(rest)):
        if name not in WORDS:
            metrics.append((name, re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', matchers)))
    return metrics, labels


def rest_without_calls(query):
    """A query without the names of its functions and without units of numbers."""
    query = re.sub(r"\b[a-z_0-9]+\s*(?=\()", " ", query)
    return re.sub(r"\b\d[\w.]*", " ", query)


def known_metrics():
    """Of docs/metrics.md: each metric with its kind and labels, and each label's known values."""
    metrics, values, is_open = {}, {}, set()
    for line in METRICS_PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[0].startswith("`flowmill_"):
            labels = {label.strip(" `") for label in cells[2].split(",") if label.strip()}
            metrics[cells[0].strip("`")] = (cells[1], labels)
        elif len(cells) == 2 and re.fullmatch(r"`\w+`", cells[0]):
            label = cells[0].strip("`")
            if cells[1].startswith("`"):
                values.setdefault(label, set()).update(re.findall("`([^`]*)`", cells[1]))
            else:
                is_open.add(label)
    return metrics, {label: known for label, known in values.items() if label not in is_open}


def metric_of(name, metrics):
    """A metric by one of its series: histograms have three."""
    for suffix in ("_bucket", "_sum", "_count"):
        base = name.removesuffix(suffix)
        if base != name and metrics.get(base, ("", ()))[0] == "histogram":
            return base
    return name


class Alerts(unittest.TestCase):
    def test_rules_are_right(self):
        promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)

    def test_they_fire_when_they_must_and_only_then(self):
        promtool("test", "rules", *sorted(RULE_TESTS.glob("*.yml")))

    def test_each_is_tested_both_ways(self):
        fired, silent = set(), set()
        for path in RULE_TESTS.glob("*.yml"):
            for test in yaml.safe_load(path.read_text())["tests"]:
                for case in test["alert_rule_test"]:
                    if not case["exp_alerts"]:
                        silent.add(case["alertname"])
                    for alert in case["exp_alerts"]:
                        fired.add((case["alertname"], alert["exp_labels"]["severity"]))
        wanted = {(rule["alert"], rule["labels"]["severity"]) for rule in alerts()}
        self.assertEqual(fired, wanted)
        self.assertEqual(silent, {name for name, _ in wanted})

    def test_each_says_what_is_wrong_and_where_help_is(self):
        for rule in alerts():
            with self.subTest(rule["alert"]):
                said = rule["annotations"]
                self.assertEqual(set(said), {"summary", "description", "runbook_url"})
                self.assertIn(rule["labels"]["severity"], {"critical", "warning"})
                self.assertEqual(said["runbook_url"], f"docs/runbooks/{page_of(rule['alert'])}.md")
                if not rule["expr"].startswith("absent("):
                    self.assertIn("{{", said["description"], "a description has the value")


class Runbooks(unittest.TestCase):
    HEADINGS = ["What it means", "What users notice", "Look here first", "Mend", "Prevent"]

    def test_each_alert_has_a_page_and_each_page_an_alert(self):
        self.assertEqual(set(runbooks()), {page_of(rule["alert"]) for rule in alerts()})

    def test_pages_have_the_same_parts(self):
        names = {page_of(rule["alert"]): rule["alert"] for rule in alerts()}
        for name, text in runbooks().items():
            with self.subTest(name):
                self.assertTrue(text.startswith(f"# {names[name]}\n"), "the title is the alert's name")
                self.assertEqual(re.findall(r"^## (.*)$", text, re.MULTILINE), self.HEADINGS)

    def test_they_are_listed(self):
        index = (ROOT / "docs" / "monitoring.md").read_text()
        for rule in alerts():
            line = f"[{rule['alert']}](runbooks/{page_of(rule['alert'])}.md)"
            self.assertIn(line, index, "docs/monitoring.md lists all alerts")

    def test_commands_exist(self):
        for name, text in self.pages():
            for verb, following in re.findall(r"\bflowmill ([a-z]+)(?: ([a-z]+))?", self.code(text)):
                with self.subTest(f"{name}: flowmill {verb} {following}"):
                    source = self.source_of(verb)
                    verbs = re.findall(r"^    ([A-Z]\w+)(?:\(.*\)| \{)", source.split("enum Verb", 1)[-1], re.MULTILINE)
                    if "enum Verb" in source:
                        self.assertIn(following, {found.lower() for found in verbs})

    def test_settings_exist(self):
        known, sections = self.settings()
        for name, text in self.pages():
            for section, key in re.findall(r"`([a-z]+)\.([a-z_]+)`", text):
                if section in sections:
                    self.assertIn((section, key), known, f"{name}: {section}.{key} is no setting")

    def test_the_programs_say_what_their_logs_are_said_to_say(self):
        sources = [path for crate in ("scheduler", "worker", "common") for path in (ROOT / crate).rglob("src/**/*.rs")]
        said = "\n".join(path.read_text() for path in sources)
        for name, text in runbooks().items():
            prose = re.sub(r"^    .*$", "", re.sub(r"(?s)```.*?```", "", text), flags=re.MULTILINE)
            for quoted in re.findall(r'"([^"]+)"', prose):
                self.assertIn(" ".join(quoted.split()), said, f"{name}: no program says so")

    @staticmethod
    def pages():
        return [*runbooks().items(), ("monitoring", (ROOT / "docs" / "monitoring.md").read_text())]

    @staticmethod
    def code(text):
        """What stands in blocks and between backticks: in prose, flowmill is a name."""
        blocks = re.findall(r"^    .*$", text, re.MULTILINE)
        return "\n".join(blocks + re.findall(r"`([^`\n]+)`", text))

    @staticmethod
    def source_of(verb):
        for path in (COMMANDS / f"{verb}.rs", COMMANDS / verb / "mod.rs"):
            if path.exists():
                return path.read_text()
        raise AssertionError(f"there is no `flowmill {verb}`")

    @staticmethod
    def settings():
        known = set()
        for program in ("scheduler", "worker"):
            section = ""
            for line in (ROOT / program / "src" / "config.default.toml").read_text().splitlines():
                if heading := re.match(r"\[(\w+)\]", line):
                    section = heading[1]
                elif key := re.match(r"(\w+) =", line):
                    known.add((section, key[1]))
        return known, {section for section, _ in known if section}


class Dashboards(unittest.TestCase):
    def test_they_are_as_they_are_written(self):
        done = subprocess.run([sys.executable, MONITORING / "dashboards.py", "--check"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_all_are_there(self):
        wanted = {"overview", "runs", "nodes", "workers", "queues", "providers", "webhooks"}
        self.assertEqual(set(dashboards()), wanted)

    def test_grafana_can_show_them(self):
        for name, board in dashboards().items():
            with self.subTest(name):
                self.assertEqual(board["uid"], f"flowmill-{name}")
                self.assertEqual({said["name"] for said in board["templating"]["list"]}, {"datasource", "namespace"})
                numbers = [panel["id"] for panel in board["panels"]]
                self.assertEqual(len(numbers), len(set(numbers)))
                self.assert_apart([panel["gridPos"] for panel in board["panels"]])

    def assert_apart(self, places):
        taken = set()
        for place in places:
            self.assertLessEqual(place["x"] + place["w"], 24)
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(taken & cells, f"two panels lie on each other at {place}")
            taken |= cells

    def test_panels_say_what_they_show(self):
        for name, board in dashboards().items():
            for panel in board["panels"]:
                if panel["type"] == "row":
                    continue
                with self.subTest(f"{name}: {panel['title']}"):
                    self.assertTrue(panel["description"])
                    self.assertIn("unit", panel["fieldConfig"]["defaults"])
                    self.assertTrue(panel["targets"])
                    for link in panel["links"]:
                        self.assertTrue((ROOT / link["url"]).exists(), link["url"])

    def test_queries_keep_to_the_chosen_installation(self):
        for name, board in dashboards().items():
            for panel in board["panels"]:
                for target in panel.get("targets", []):
                    for metric, matchers in taken_apart(target["expr"])[0]:
                        with self.subTest(f"{name}: {panel['title']}: {metric}"):
                            self.assertIn(("namespace", "=~", "$namespace"), matchers)

    def test_legends_name_labels_that_are_left(self):
        for name, board in dashboards().items():
            for panel in board["panels"]:
                for target in panel.get("targets", []):
                    wanted = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                    grouped = taken_apart(target["expr"])[1]
                    with self.subTest(f"{name}: {panel['title']}"):
                        self.assertLessEqual(wanted, grouped)


class Queries(unittest.TestCase):
    def test_all_can_be_read(self):
        made = [{"record": f"query:{at}", "expr": query} for at, (_, query) in enumerate(queries())]
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "queries.yml"
            path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": made}]}))
            promtool("check", "rules", "--lint=none", path)

    def test_what_is_recorded_is_there(self):
        recorded = {rule["record"] for rule in rules() if "record" in rule}
        used = set()
        for where, query in queries():
            for metric, _ in taken_apart(query)[0]:
                if ":" in metric:
                    self.assertIn(metric, recorded, where)
                    used.add(metric)
        self.assertEqual(used, recorded, "what nobody asks for need not be recorded")

    def test_metrics_and_labels_exist(self):
        metrics, values = known_metrics()
        self.assertGreater(len(metrics), 40, "docs/metrics.md has another form than this test reads")
        for where, query in queries():
            found, grouped = taken_apart(query)
            of_all = set(COMMON_LABELS)
            for name, matchers in found:
                with self.subTest(f"{where}: {name}"):
                    if name in OF_PROMETHEUS or ":" in name:
                        of_all |= {"lane"}
                        continue
                    name = metric_of(name, metrics)
                    self.assertTrue(name in metrics, "docs/metrics.md has no such metric")
                    labels = metrics[name][1]
                    of_all |= labels
                    for label, operator, value in matchers:
                        self.assertIn(label, labels | COMMON_LABELS)
                        self.assert_can_match(label, operator, value, values)
            with self.subTest(where):
                self.assertLessEqual(grouped, of_all)

    def assert_can_match(self, label, operator, value, values):
        if label not in values:
            return
        for said in value.split("|") if operator in ("=~", "!~") else [value]:
            fits = any(re.fullmatch(said, known) for known in values[label])
            self.assertTrue(fits, f"no {label} is {said!r}")

    def test_queries_are_taken_apart(self):
        query = 'sum by (a, le) (rate(flowmill_x_bucket{b="c{d}", e=~"f|g"}[5m])) / on (h) flowmill:y:ratio_1h > 14.4 * 0.001 and up == 0'
        metrics, labels = taken_apart(query)
        self.assertEqual(labels, {"a", "le", "h"})
        self.assertEqual(
            metrics,
            [("flowmill_x_bucket", [("b", "=", "c{d}"), ("e", "=~", "f|g")]), ("flowmill:y:ratio_1h", []), ("up", [])],
        )


class Setup(unittest.TestCase):
    def test_prometheus_reads_its_settings(self):
        promtool("check", "config", "--syntax-only", MONITORING / "prometheus.yml")

    def test_prometheus_has_the_rules(self):
        settings = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
        self.assertEqual([pathlib.Path(path).name for path in settings["rule_files"]], [RULES.name])

    def test_grafana_finds_prometheus_and_the_dashboards(self):
        folder = MONITORING / "grafana" / "provisioning"
        files = sorted((folder / "datasources").glob("*.yml"))
        sources = {source["type"]: source for path in files for source in yaml.safe_load(path.read_text())["datasources"]}
        self.assertEqual(set(sources), {"prometheus", "jaeger"})
        self.assertEqual([kind for kind, source in sources.items() if source.get("isDefault")], ["prometheus"])
        providers = yaml.safe_load((folder / "dashboards" / "flowmill.yml").read_text())["providers"]
        self.assertEqual([provider["type"] for provider in providers], ["file"])


if __name__ == "__main__":
    unittest.main()
