"""values.yaml with its comments: what README.md and values.schema.json are made of."""

import json
import re
from dataclasses import dataclass, field

import yaml

import settings
from repository import CHART


@dataclass
class Value:
    """A key of values.yaml."""

    path: tuple[str, ...]
    default: object
    comment: str
    children: list["Value"] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its dotted path."""
        return ".".join(self.path)

    @property
    def is_section(self) -> bool:
        """Whether its keys are described one by one."""
        return any(child.comment for child in self.children)


KEY = re.compile(r"^( *)([\w-]+):(?: |$)")


def read() -> list[Value]:
    """All keys, in order, with the comments above them."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    whole = yaml.safe_load(text)
    top: list[Value] = []
    open_keys: list[Value] = []
    comment: list[str] = []
    # what is deeper than this belongs to an item of a list
    inside = None
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        stripped = line.strip()
        if not stripped:
            comment = []
            continue
        if inside is not None and indent > inside:
            continue
        inside = None
        if stripped.startswith("#"):
            comment.append(stripped[1:].strip())
            continue
        if stripped.startswith("- "):
            inside = indent
            continue
        found = KEY.match(line)
        if not found:
            continue
        del open_keys[indent // 2 :]
        path = (*(open_keys[-1].path if open_keys else ()), found[2])
        default = whole
        for part in path:
            default = default[part]
        value = Value(path, default, " ".join(comment))
        (open_keys[-1].children if open_keys else top).append(value)
        open_keys.append(value)
        comment = []
    return top


def undescribed(values: list[Value]) -> list[str]:
    """Keys that no comment describes, neither their own nor that of what they lie in."""
    found = []
    for value in values:
        if value.is_section:
            found += undescribed(value.children)
        if not value.comment:
            found.append(value.name)
    return found


MARK = "<!-- made of values.yaml: ./dev deploy --write -->\n"


def page() -> str:
    """README.md: what people wrote, then the values."""
    written = (CHART / "README.md").read_text(encoding="utf-8").split(MARK)
    if len(written) != 2:
        raise ValueError(f"helm/flowmill/README.md lacks the line {MARK.strip()}")
    return written[0] + MARK + "\n" + table()


def table() -> str:
    """The values as a page: a section for each part, and a table of its keys."""
    top = read()
    plain = [value for value in top if not value.is_section]
    lines = ["| value | default | what it is |", "|---|---|---|", *rows(plain)]
    for part in (value for value in top if value.is_section):
        lines += ["", f"### {part.name}", "", part.comment, ""]
        lines += ["| value | default | what it is |", "|---|---|---|", *rows(part.children)]
    return "\n".join(lines) + "\n"


def rows(values: list[Value]) -> list[str]:
    found = []
    for value in values:
        comment = value.comment.replace("|", "\\|")
        if value.is_section:
            found.append(f"| `{value.name}` | | {comment} |")
            found += rows(value.children)
        else:
            default = json.dumps(value.default, ensure_ascii=False).replace("|", "\\|")
            found.append(f"| `{value.name}` | `{default}` | {comment} |")
    return found


# --- the schema ---------------------------------------------------------------------------------

TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
OBJECTS = {"type": "array", "items": {"type": "object"}}
NAMES = {"type": "array", "items": {"type": "string", "minLength": 1}}
ANYTHING = {"type": "object"}
PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
COUNT = {"type": "integer", "minimum": 0}
NEEDED = {"type": "integer", "minimum": 1}
AVAILABLE = {"type": ["integer", "string"], "minimum": 1, "pattern": "^[1-9][0-9]?%$"}
CLASSES = ("light", "code", "http", "llm")
# What is secret is held to its length alone: a message about a pattern would show it.
KEY_OF_64 = {"type": "string", "anyOf": [{"maxLength": 0}, {"minLength": 64, "maxLength": 64}]}
KEY_OF_16 = {"type": "string", "anyOf": [{"maxLength": 0}, {"minLength": 16}]}

# What a default cannot say about a value.
RULES: dict[str, dict] = {
    "image.repository": {"type": "string", "minLength": 1},
    "image.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "image.pullPolicy": {"enum": ["IfNotPresent", "Always", "Never"]},
    "image.pullSecrets": OBJECTS,
    "api.key": KEY_OF_16,
    "secrets.key": KEY_OF_64,
    "settings": {"$ref": "#/$defs/settings"},
    "scheduler.settings": {"$ref": "#/$defs/schedulerSettings"},
    "webhooks.separate.settings": {"$ref": "#/$defs/schedulerSettings"},
    "workerDefaults.settings": {"$ref": "#/$defs/workerSettings"},
    "scheduler.pod": {"$ref": "#/$defs/pod"},
    "webhooks.separate.pod": {"$ref": "#/$defs/pod"},
    "scheduler.replicas": NEEDED,
    "scheduler.maxUnavailable": AVAILABLE,
    "webhooks.separate.replicas": NEEDED,
    "webhooks.separate.maxUnavailable": AVAILABLE,
    "service.type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    "service.port": PORT,
    "service.annotations": TEXTS,
    "workerDefaults.maxUnavailable": AVAILABLE,
    "workerDefaults.replicas": COUNT,
    "workerDefaults.drainSeconds": {"type": "integer", "minimum": 1, "maximum": 86400},
    "workerDefaults.autoscaling.by": {"enum": ["none", "hpa", "keda"]},
    "workerDefaults.autoscaling.max": NEEDED,
    "workerDefaults.pod.annotations": TEXTS,
    "workerDefaults.pod.labels": TEXTS,
    "workerDefaults.pod.env": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string", "minLength": 1}},
        },
    },
    "workerDefaults.pod.envFrom": OBJECTS,
    "workerDefaults.pod.volumes": OBJECTS,
    "workerDefaults.pod.volumeMounts": OBJECTS,
    "workerDefaults.pod.nodeSelector": TEXTS,
    "workerDefaults.pod.tolerations": OBJECTS,
    "workerDefaults.pod.affinity": ANYTHING,
    "workerDefaults.pod.topologySpread": OBJECTS,
    "workers": {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": "^[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?$"},
        "additionalProperties": {"$ref": "#/$defs/pool"},
    },
    "services.fileFrom": {
        "type": "object",
        "additionalProperties": False,
        "maxProperties": 1,
        "properties": {"configMap": {"type": "string"}, "secret": {"type": "string"}},
    },
    "otlp.endpoint": {"type": "string", "pattern": "^(https?://.+)?$"},
    "otlp.sample": {"type": "number", "minimum": 0, "maximum": 1},
    "migration.shards": {"type": "integer", "minimum": 1, "maximum": 1024},
    "migration.deadlineSeconds": NEEDED,
    "migration.volumes": OBJECTS,
    "migration.volumeMounts": OBJECTS,
    "serviceAccount.annotations": TEXTS,
    "security.runAsUser": {"type": ["integer", "null"], "minimum": 1},
    "security.runAsGroup": {"type": ["integer", "null"], "minimum": 1},
    "networkPolicy.outboundPorts": {"type": "array", "items": PORT},
    "ingress.annotations": TEXTS,
    "httpRoute.parentRefs": OBJECTS,
    "httpRoute.hostnames": NAMES,
    "httpRoute.annotations": TEXTS,
    "monitoring.scrape.labels": TEXTS,
    "monitoring.scrape.interval": {"type": "string", "pattern": "^[0-9]+(ms|s|m)$"},
    "monitoring.rules.labels": TEXTS,
    "monitoring.dashboards.labels": TEXTS,
    "monitoring.dashboards.annotations": TEXTS,
    "test.deadline": {"type": "string", "pattern": settings.PERIOD.pattern},
    # it becomes a part of addresses
    "dev.password": {"type": "string", "pattern": "^[A-Za-z0-9_.~-]{16,}$"},
}
RULES |= {
    f"networkPolicy.{name}": OBJECTS
    for name in (
        "apiFrom", "metricsFrom", "dnsTo", "postgresTo", "rabbitmqTo", "redisTo", "otlpTo",
        "outbound", "workersTo",
    )
}
RULES |= {
    f"networkPolicy.{name}": PORT
    for name in ("postgresPort", "rabbitmqPort", "redisPort", "otlpPort")
}


def schema() -> str:
    """values.schema.json."""
    top = read()
    defaults = next(value for value in top if value.name == "workerDefaults")
    parts = {value.path[-1]: value for value in defaults.children}
    slots = {"type": "integer", "minimum": 0, "maximum": 65535}
    pool = parts_of(defaults.children)
    pool["properties"]["slots"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: slots for name in CLASSES},
    }
    whole = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart flowmill. Made of values.yaml and the programs' settings: ./dev deploy --write",
        **parts_of(top),
        "$defs": {
            "reference": {
                "description": "A key of a Secret that is there.",
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "name": {"type": "string", "minLength": 1},
                    "key": {"type": "string", "minLength": 1},
                },
                "dependencies": {"name": ["key"], "key": ["name"]},
            },
            "resources": {
                "type": "object",
                "additionalProperties": False,
                "properties": {"requests": ANYTHING, "limits": ANYTHING},
            },
            "pod": parts_of(parts["pod"].children),
            "pool": pool,
            "settings": settings.schema("scheduler", "worker"),
            "schedulerSettings": settings.schema("scheduler"),
            "workerSettings": settings.schema("worker"),
        },
    }
    # every chart may be part of another, which hands it `global`
    whole["properties"]["global"] = ANYTHING
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def parts_of(values: list[Value]) -> dict:
    properties = {value.path[-1]: one(value) for value in values}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def one(value: Value) -> dict:
    described = {"description": value.comment} if value.comment else {}
    return described | rule(value)


def rule(value: Value) -> dict:
    if value.name in RULES:
        return RULES[value.name]
    if value.path[-1] == "resources":
        return {"$ref": "#/$defs/resources"}
    if value.path[-1].endswith("From") and value.default == {}:
        return {"$ref": "#/$defs/reference"}
    if value.is_section:
        return parts_of(value.children)
    kinds = {bool: "boolean", int: "integer", str: "string"}
    kind = kinds.get(type(value.default))
    if kind is None:
        raise ValueError(f"{value.name}: say in RULES what it may be")
    return {"type": kind} | ({"minimum": 0} if kind == "integer" else {})



if __name__ == "__main__":
    # before the chart is loaded: what it refuses follows from these files
    (CHART / "values.schema.json").write_text(schema(), encoding="utf-8")
    (CHART / "README.md").write_text(page(), encoding="utf-8")
