"""What the release is made of, as deploy/sbom.py says it: whole, well-formed, and the same each time."""

import functools
import json
import re
import subprocess
import sys
import unittest

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from repository import ROOT

TARGET = "x86_64-unknown-linux-gnu"


def printed() -> str:
    """What the script prints."""
    script = [sys.executable, "-B", ROOT / "deploy" / "sbom.py", "--target", TARGET]
    done = subprocess.run(script, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise AssertionError(f"deploy/sbom.py: {done.stderr}")
    return done.stdout


@functools.cache
def bom() -> dict:
    return json.loads(printed())


def crates() -> dict:
    """The components that are crates, by name and version."""
    found = [part for part in bom()["components"] if part["purl"].startswith("pkg:cargo/")]
    return {(part["name"], part["version"]): part for part in found}


@functools.cache
def metadata() -> dict:
    asked = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET]
    return json.loads(subprocess.run(asked, cwd=ROOT, capture_output=True, check=True).stdout)


def reached(follows) -> set:
    """The crates that the programs lead to by the dependencies that `follows` takes."""
    packages = {package["id"]: package for package in metadata()["packages"]}
    nodes = {node["id"]: node for node in metadata()["resolve"]["nodes"]}
    programs = {"flowmill-cli", "flowmill-scheduler", "flowmill-worker"}
    waiting = [key for key, package in packages.items() if package["name"] in programs]
    seen = set()
    while waiting:
        key = waiting.pop()
        if key in seen:
            continue
        seen.add(key)
        for used in nodes[key]["deps"]:
            kinds = [target["kind"] for target in packages[used["pkg"]]["targets"]]
            is_linked = any(kind["kind"] is None for kind in used["dep_kinds"])
            if is_linked and ["proc-macro"] not in kinds and follows(packages[key], packages[used["pkg"]]):
                waiting.append(used["pkg"])
    return {(packages[key]["name"], packages[key]["version"]) for key in seen}


def is_needed(package: dict, used: dict) -> bool:
    """Whether a crate needs another whatever its features are, on all machines."""
    return any(
        dependency["name"] == used["name"] and dependency["kind"] is None
        and not dependency["optional"] and dependency["target"] is None
        for dependency in package["dependencies"]
    )


class Bom(unittest.TestCase):
    def test_it_is_what_the_published_schema_asks_for(self):
        validator = JsonStrictValidator(SchemaVersion.V1_5)
        self.assertIsNone(validator.validate_str(printed()))
        wrong = json.loads(printed())
        wrong["components"][0]["type"] = "crate"
        self.assertIsNotNone(validator.validate_str(json.dumps(wrong)))

    def test_it_has_what_the_format_asks_for(self):
        self.assertEqual((bom()["bomFormat"], bom()["specVersion"], bom()["version"]), ("CycloneDX", "1.5", 1))
        self.assertRegex(bom()["serialNumber"], r"^urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
        for part in [bom()["metadata"]["component"], *bom()["components"]]:
            with self.subTest(part=part["bom-ref"]):
                self.assertIn(part["type"], {"application", "library", "operating-system"})
                self.assertRegex(part["purl"], r"^pkg:(cargo|deb|docker|generic)/\S+$")
                for digest in part.get("hashes", []):
                    self.assertEqual(digest["alg"], "SHA-256")
                    self.assertRegex(digest["content"], r"^[0-9a-f]{64}$")
                for licence in part.get("licenses", []):
                    self.assertNotIn("/", licence["expression"])

    def test_parts_are_named_once_and_lead_to_parts(self):
        names = [bom()["metadata"]["component"]["bom-ref"], *(part["bom-ref"] for part in bom()["components"])]
        self.assertEqual(len(names), len(set(names)))
        for depends in bom()["dependencies"]:
            self.assertLessEqual({depends["ref"], *depends["dependsOn"]}, set(names))
        used = {name for depends in bom()["dependencies"] for name in depends["dependsOn"]}
        self.assertEqual(set(names) - used, {names[0]}, "a part that nothing uses")

    def test_all_that_is_linked_is_there_and_nothing_else(self):
        # which features are on is between the two
        self.assertEqual(reached(is_needed) - set(crates()), set())
        self.assertEqual(set(crates()) - reached(lambda package, used: True), set())
        names = {name for name, _ in crates()}
        self.assertLessEqual({"ring", "lapin", "redis", "sqlx-postgres", "tikv-jemalloc-sys"}, names)
        self.assertEqual(names & {"cc", "proptest", "rcgen", "serde_derive", "tempfile"}, set())

    def test_crates_have_the_digests_of_the_lock_and_a_licence(self):
        blocks = (ROOT / "Cargo.lock").read_text(encoding="utf-8").split("[[package]]")
        for (name, version), part in crates().items():
            with self.subTest(crate=name):
                head = f'\nname = "{name}"\nversion = "{version}"\n'
                [block] = [block for block in blocks if block.startswith(head)]
                wanted = re.findall(r'^checksum = "(.*)"$', block, re.MULTILINE)
                self.assertEqual([digest["content"] for digest in part.get("hashes", [])], wanted)
                self.assertTrue(wanted or name.startswith("flowmill-"), "neither ours nor known to the lock")
                self.assertTrue(part["licenses"][0]["expression"])

    def test_what_the_image_installs_is_there(self):
        names = {part["name"] for part in bom()["components"]}
        self.assertLessEqual({"debian", "python3", "python3-jinja2", "ca-certificates", "tini"}, names)

    def test_it_is_the_same_each_time(self):
        self.assertEqual(printed(), printed())


if __name__ == "__main__":
    unittest.main()
