"""The programs' settings, as their config.default.toml have them."""

import re

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

from repository import ROOT

PROGRAMS = ("scheduler", "worker")

# What other values of the chart say, or what its probes and monitors rely on, so `settings` may not:
# whole sections, or single keys.
MANAGED = {
    "name",
    "roles",
    "drain",
    "http.listen",
    "listener.certificate",
    "listener.key",
    "listener.client_ca",
    "metrics.listen",
    "api.key",
    "api.pepper",
    "webhooks.url_secret",
    "postgres.url",
    "rabbitmq.url",
    "redis.url",
    "secrets",
    "slots",
    "services.file",
    "services.knowledge",
    "code.sandbox_key",
    "otlp",
}

# Settings that take one of a few words.
WORDS = {
    "log.format": ["text", "json"],
    "rabbitmq.queues": ["quorum", "classic"],
}

PERIOD = re.compile(r"^([0-9]+(ms|s|m|h|d))+$")


def defaults(program: str) -> dict:
    """A program's settings with their defaults."""
    path = ROOT / program / "src" / "config.default.toml"
    return read(path.read_text(encoding="utf-8"))


def read(text: str) -> dict:
    """Settings in TOML."""
    return tomllib.loads(text)


def keys(settings: dict, before: str = "") -> dict:
    """Settings by their dotted keys."""
    found = {}
    for name, value in settings.items():
        key = f"{before}{name}"
        if isinstance(value, dict):
            found |= keys(value, f"{key}.")
        else:
            found[key] = value
    return found


def variable(key: str) -> str:
    """The variable of the environment that sets a key."""
    return "FLOWMILL_" + key.upper().replace(".", "__")


def variables(program: str) -> set[str]:
    """All variables that set something of a program."""
    known = keys(defaults(program))
    return {variable(key) for key in known} | {"FLOWMILL_CONFIG"}


def schema(*programs: str) -> dict:
    """A JSON Schema of the settings of programs, without those that the chart sets itself."""
    settings: dict = {}
    for program in programs:
        merge(settings, defaults(program))
    return section(settings, "")


def merge(into: dict, other: dict) -> None:
    for name, value in other.items():
        if isinstance(value, dict):
            merge(into.setdefault(name, {}), value)
        else:
            into[name] = value


def section(settings: dict, before: str) -> dict:
    properties = {}
    for name, value in settings.items():
        key = f"{before}{name}"
        if key in MANAGED:
            continue
        if isinstance(value, dict):
            below = section(value, f"{key}.")
            if below["properties"]:
                properties[name] = below
        else:
            properties[name] = kind(key, value)
    return {"type": "object", "additionalProperties": False, "properties": properties}


def kind(key: str, value: object) -> dict:
    """The schema of values like a default."""
    if key in WORDS:
        return {"enum": WORDS[key]}
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, int):
        return {"type": "integer", "minimum": 0}
    if isinstance(value, float):
        return {"type": "number"}
    if isinstance(value, list):
        return {"type": "array", "items": {"type": "string"}}
    if PERIOD.match(value):
        return {"type": "string", "pattern": PERIOD.pattern}
    return {"type": "string"}
