"""The chart, rendered by Helm's own engine."""

from dataclasses import dataclass
from functools import cache

import helm_python
import yaml

from repository import CHART

RELEASE, NAMESPACE = "mill", "flows"


@dataclass(frozen=True)
class Rendered:
    """What one set of values gives."""

    objects: list[dict]
    notes: str

    def of_kind(self, kind: str) -> list[dict]:
        """All objects of a kind."""
        return [item for item in self.objects if item["kind"] == kind]

    def one(self, kind: str, name: str) -> dict:
        """The object with a name."""
        found = [item for item in self.of_kind(kind) if item["metadata"]["name"] == name]
        if len(found) != 1:
            raise AssertionError(f"{kind}/{name}: there are {len(found)}")
        return found[0]

    def pods(self) -> list[tuple[str, dict]]:
        """The name, metadata and spec of whatever becomes pods."""
        found = []
        for item in self.objects:
            name = f"{item['kind']}/{item['metadata']['name']}"
            if item["kind"] == "Pod":
                found.append((name, item))
            elif item["kind"] in ("Deployment", "Job"):
                found.append((name, item["spec"]["template"]))
        return found

    def text(self) -> str:
        """All of it as YAML, in a fixed order."""
        order = sorted(self.objects, key=lambda item: (item["kind"], item["metadata"]["name"]))
        return yaml.safe_dump_all(order, sort_keys=True, width=120)


@cache
def loaded() -> helm_python.Chart:
    return helm_python.Chart.load(CHART)


def render(values: dict) -> Rendered:
    """Renders the chart as an installation would. Raises helm_python.HelmError."""
    files = loaded().render(values, name=RELEASE, namespace=NAMESPACE, is_install=True)
    objects, notes = [], ""
    for path in sorted(files):
        if path.endswith("NOTES.txt"):
            notes = files[path]
        else:
            objects += [item for item in yaml.safe_load_all(files[path]) if item]
    return Rendered(objects, notes)


@cache
def matrix() -> dict[str, Rendered]:
    """Every set of values in the chart's folder ci, rendered."""
    return {path.stem: render(values_of(path.stem)) for path in sorted((CHART / "ci").glob("*.yaml"))}


def values_of(name: str) -> dict:
    """One of these sets."""
    return yaml.safe_load((CHART / "ci" / f"{name}.yaml").read_text(encoding="utf-8"))
