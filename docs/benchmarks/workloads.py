#!/usr/bin/env python3
"""Writes the workflows that docs/benchmarks.md measures: workloads.py FOLDER

Each becomes NAME.yml and NAME.json (its inputs). Documents are written as JSON, which is YAML.
"""

import json
import sys
from pathlib import Path


class Flow:
    def __init__(self, **inputs):
        self.nodes, self.edges = [], []
        self.node("start", "start", variables=[
            {"variable": name, "label": name, "type": kind, "required": False} for name, kind in inputs.items()])

    def node(self, node_id, kind, parent=None, **data):
        entry = {"id": node_id, "type": "custom", "data": {"type": kind, "title": node_id, **data}}
        if parent:
            entry["parentId"] = parent
        self.nodes.append(entry)

    def template(self, node_id, source, parent=None):
        self.node(node_id, "template-transform", parent, template="{{ v }}",
                  variables=[{"variable": "v", "value_selector": source.split(".")}])

    def end(self, source):
        self.node("end", "end", outputs=[{"variable": "r", "value_selector": source.split(".")}])

    def edge(self, source, target, handle="source"):
        self.edges.append({"id": f"{source}-{target}", "source": source, "sourceHandle": handle, "target": target})

    def write(self, folder, name, inputs):
        graph = {"nodes": self.nodes, "edges": self.edges}
        document = {"kind": "app", "version": "0.3.0", "app": {"name": name, "mode": "workflow"},
                    "workflow": {"graph": graph, "features": {}, "environment_variables": [],
                                 "conversation_variables": []}}
        (folder / f"{name}.yml").write_text(json.dumps(document))
        (folder / f"{name}.json").write_text(json.dumps(inputs))


def chain(folder):
    flow, source = Flow(x="text-input"), "start"
    for number in range(10):
        flow.template(f"t{number}", "start.x" if number == 0 else f"{source}.output")
        flow.edge(source, f"t{number}")
        source = f"t{number}"
    flow.end(f"{source}.output")
    flow.edge(source, "end")
    flow.write(folder, "chain", {"x": "hello"})


def branches(folder):
    flow, source = Flow(x="number"), "start"
    for number in range(10):
        condition = {"variable_selector": ["start", "x"], "comparison_operator": ">", "value": str(number)}
        flow.node(f"if{number}", "if-else", cases=[
            {"case_id": "true", "logical_operator": "and", "conditions": [condition]}])
        flow.edge(source, f"if{number}", "source" if number == 0 else "true")
        source = f"if{number}"
    flow.end("start.x")
    flow.edge(source, "end", "true")
    flow.write(folder, "branches", {"x": 50})


def fan(folder):
    flow = Flow(x="text-input")
    flow.node("all", "variable-aggregator", output_type="string",
              variables=[[f"t{number}", "output"] for number in range(100)])
    for number in range(100):
        flow.template(f"t{number}", "start.x")
        flow.edge("start", f"t{number}")
        flow.edge(f"t{number}", "all")
    flow.end("all.output")
    flow.edge("all", "end")
    flow.write(folder, "fan", {"x": "hello"})


def iteration(folder, items):
    flow = Flow(o="json_object")
    flow.node("it", "iteration", start_node_id="first", iterator_selector=["start", "o", "xs"],
              output_selector=["t", "output"], is_parallel=True, parallel_nums=10,
              error_handle_mode="continue-on-error", flatten_output=True)
    flow.node("first", "iteration-start", "it")
    flow.template("t", "it.item", "it")
    flow.edge("first", "t")
    flow.end("it.output")
    flow.edge("start", "it")
    flow.edge("it", "end")
    flow.write(folder, f"iteration-{items}", {"o": {"xs": [str(number) for number in range(items)]}})


def code(folder, items):
    flow = Flow(o="json_object")
    flow.node("it", "iteration", start_node_id="first", iterator_selector=["start", "o", "xs"],
              output_selector=["c", "r"], is_parallel=True, parallel_nums=10,
              error_handle_mode="continue-on-error", flatten_output=True)
    flow.node("first", "iteration-start", "it")
    flow.node("c", "code", "it", code_language="javascript",
              code="function main({v}) { return {r: v + '!'} }",
              variables=[{"variable": "v", "value_selector": ["it", "item"]}],
              outputs={"r": {"type": "string", "children": None}})
    flow.edge("first", "c")
    flow.end("it.output")
    flow.edge("start", "it")
    flow.edge("it", "end")
    flow.write(folder, f"code-{items}", {"o": {"xs": [str(number) for number in range(items)]}})


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    chain(folder)
    branches(folder)
    fan(folder)
    for items in (1_000, 10_000, 100_000):
        iteration(folder, items)
    code(folder, 10_000)


main()
