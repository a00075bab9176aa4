#!/usr/bin/env python3
"""Runs a workflow in Dify's own engine (graphon 0.8.0 from PyPI): reference.py FILE.yml INPUTS.json RUNS

Prints one line with its node throughput. Loading is part of a run there, as it is in Dify.
"""

import json
import logging
import sys
import time
from pathlib import Path

from graphon.dsl import loads

logging.disable(logging.CRITICAL)


def main():
    text, inputs = Path(sys.argv[1]).read_text(), json.loads(Path(sys.argv[2]).read_text())
    nodes, began = 0, time.perf_counter()
    for _ in range(int(sys.argv[3])):
        for event in loads(text, start_inputs=inputs).run():
            nodes += type(event).__name__ == "NodeRunSucceededEvent"
    wall = time.perf_counter() - began
    print(json.dumps({"runs": int(sys.argv[3]), "nodes": nodes, "wall_s": round(wall, 3),
                      "nodes_per_s": round(nodes / wall, 1)}))


main()
