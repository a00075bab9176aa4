"""Where things lie in the repository, and how files that are made of others are kept current."""

import os
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "flowmill"
HERE = Path(__file__).resolve().parent

# `./dev deploy --write` sets it.
WRITE = "FLOWMILL_WRITE_GOLDEN"


def current(test: unittest.TestCase, path: Path, wanted: str) -> None:
    """Fails unless the file holds the text; writes it instead where that is asked for."""
    if os.environ.get(WRITE):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted, encoding="utf-8")
        return
    there = path.read_text(encoding="utf-8") if path.exists() else ""
    name = path.relative_to(ROOT)
    test.assertEqual(there, wanted, f"{name} is not what it is made of: ./dev deploy --write")
