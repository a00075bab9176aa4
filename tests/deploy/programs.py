"""The programs as they were built here, asked whether they can use settings."""

import os
import subprocess
from pathlib import Path

from repository import ROOT

# What may stand where something secret is to be filled in.
SAMPLES = {
    "FLOWMILL_POSTGRES__URL": "postgres://user:word@database/flowmill",
    "FLOWMILL_RABBITMQ__URL": "amqp://user:word@broker/%2f",
    "FLOWMILL_REDIS__URL": "redis://cache/0",
    "FLOWMILL_API__KEY": "0123456789abcdef0123",
    "FLOWMILL_API__PEPPER": "0123456789abcdef0123",
    "FLOWMILL_SECRETS__KEY": "0123456789abcdef" * 4,
    "FLOWMILL_SECRETS__OLD_KEYS": "fedcba9876543210" * 4,
    "FLOWMILL_WEBHOOKS__URL_SECRET": "whsec_c2VjcmV0LXRoYXQtaXMtbG9uZy1lbm91Z2g=",
    "FLOWMILL_SERVICES__KNOWLEDGE": "postgres://user:word@database/knowledge",
    "FLOWMILL_CODE__SANDBOX_KEY": "word",
}


def path_of(name: str) -> Path:
    """Where a program was built."""
    path = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / name
    if not path.exists():
        raise AssertionError(f"build {name}: cargo build --workspace --bins --tests")
    return path


def check(program: str, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess:
    """Asks a program whether its settings can be used: exit code 0, or 2 and why not."""
    return subprocess.run(
        [path_of(program), "--check-config", *arguments],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )
