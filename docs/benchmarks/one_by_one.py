"""How long a run takes from its submission until its end is told, one run after the other.

python3 docs/benchmarks/one_by_one.py URL RUNS WORKFLOW INPUTS
"""

import http.client
import json
import sys
import time
from urllib.parse import urlsplit

url, runs, workflow, inputs = sys.argv[1], int(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
server = http.client.HTTPConnection(urlsplit(url).netloc)


def ask(method, path, body=None):
    server.request(method, f"/api/v1/{path}", body and json.dumps(body))
    return json.loads(server.getresponse().read())


taken = []
for _ in range(runs):
    began = time.perf_counter()
    run = ask("POST", "runs", {"workflow": workflow, "inputs": inputs})
    end = ask("GET", f"runs/{run['id']}?wait=30s")
    taken.append((time.perf_counter() - began) * 1000)
    assert end["status"] == "succeeded", end
taken.sort()
print(f"median {taken[runs // 2]:.1f} ms, p90 {taken[runs * 9 // 10]:.1f} ms, max {taken[-1]:.1f} ms")
