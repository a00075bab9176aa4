#!/usr/bin/env python3
"""Records what graphon 0.8.0 answers for single nodes, as fixtures for the tests of this crate.

    record_fixtures.py                     writes src/*/fixtures/recorded.json
    record_fixtures.py random SEED COUNT   prints random cases, one a line, for
                                           FLOWMILL_NODE_CASES=FILE cargo test -p flowmill-nodes

A case is {type, data, variables: [{selector, kind, value}], expect}. Values are written as the
engine writes them in facts ($int, $float, $file).
"""

import json
import logging
import random
import sys
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)

from graphon.engine_events import NodeRunFailedEvent, NodeRunSucceededEvent, NodeRunVariableUpdatedEvent
from graphon.file.models import File
from graphon.file.runtime import use_workflow_file_runtime
from graphon.nodes.answer.answer_node import AnswerNode
from graphon.nodes.end.end_node import EndNode
from graphon.nodes.if_else.if_else_node import IfElseNode
from graphon.nodes.list_operator.node import ListOperatorNode
from graphon.nodes.start import StartNode
from graphon.nodes.variable_aggregator.variable_aggregator_node import VariableAggregatorNode
from graphon.nodes.variable_assigner.v1.node import VariableAssignerNode as V1
from graphon.nodes.variable_assigner.v2.node import VariableAssignerNode as V2
from graphon.runtime.init_params import InitParams
from graphon.runtime.runtime_state import RuntimeState
from graphon.runtime.variable_pool import VariablePool
from graphon.variables.factory import build_segment, build_segment_with_type, segment_to_variable
from graphon.variables.segments import Segment
from graphon.variables.types import SegmentType
from graphon.variables.variables import SecretVariable

ID = "node"
CLASSES = {"start": StartNode, "end": EndNode, "answer": AnswerNode, "if-else": IfElseNode,
           "variable-aggregator": VariableAggregatorNode, "list-operator": ListOperatorNode}


class Files:
    """Gives every file an address."""

    def resolve_file_url(self, *, file, for_external=True):
        return file.remote_url or f"https://files.example/{file.related_id}"


# ------------------------------------------------------------------ values as facts write them


def enc(value):
    if isinstance(value, Segment):
        return enc(value.value)
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return value if -2**63 <= value < 2**63 else {"$int": str(value)}
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            return {"$float": "NaN" if value != value else "inf" if value > 0 else "-inf"}
        return value
    if isinstance(value, File):
        return {"$file": {"kind": value.type.value, "transfer_method": value.transfer_method.value, "id": value.id,
                          "remote_url": value.remote_url, "related_id": value.related_id, "filename": value.filename,
                          "extension": value.extension, "mime_type": value.mime_type, "size_bytes": value.size,
                          "url": value.generate_url()}}
    if isinstance(value, dict):
        return {"$" * key.startswith("$") + key: enc(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [enc(item) for item in value]
    raise TypeError(type(value))


# ------------------------------------------------------------------ running one node


def variable(selector, value, kind=None):
    if kind == "secret":
        made = SecretVariable(name=selector[1], value=value, selector=selector)
    else:
        segment = build_segment(value) if kind is None else build_segment_with_type(SegmentType(kind), value)
        made = segment_to_variable(segment=segment, selector=selector)
    return made


def answer(kind, data, variables):
    pool = VariablePool()
    for one in variables:
        pool.add(one.selector, one)
    kind_class = CLASSES.get(kind) or (V2 if data.get("version") == "2" else V1)
    params = InitParams(workflow_id="w", graph_config={}, run_context={}, call_depth=0)
    state = RuntimeState(variable_pool=pool, start_at=time.time(), workflow_id="w")
    try:
        parsed = kind_class.validate_node_data({"type": kind, "title": "t", **data})
    except Exception:
        return {"status": "invalid"}
    node = kind_class(node_id=ID, data=parsed, init_params=params, runtime_state=state)
    node.bind_execution_id("e")
    writes = []
    for event in node.run():
        if isinstance(event, NodeRunVariableUpdatedEvent):
            one = event.variable
            writes.append([list(one.selector), one.value_type.value, enc(one.value)])
        elif isinstance(event, NodeRunFailedEvent):
            return {"status": "failed", "error": event.error, "error_type": event.node_run_result.error_type}
        elif isinstance(event, NodeRunSucceededEvent):
            outputs = []
            for name, value in event.node_run_result.outputs.items():
                if kind == "variable-aggregator" and isinstance(value, dict):
                    value = {key: item.value for key, item in value.items()}
                pool.add((ID, name), value)
                stored = pool.get([ID, name])
                outputs.append([name, stored.value_type.value, enc(stored.value)])
            handle = event.node_run_result.edge_source_handle
            return {"status": "succeeded", "outputs": outputs, "handle": handle, "writes": writes}
    raise RuntimeError("no end")


def case(kind, data, variables):
    shown = [{"selector": list(one.selector), "kind": one.value_type.value, "value": enc(one.value)}
             for one in variables]
    return {"type": kind, "data": enc(data), "variables": shown, "expect": answer(kind, data, variables)}


# ------------------------------------------------------------------ random material

NAMES = ["x", "y", "z"]
TEXTS = ["", "a", "abc", "b", "5", "5.0", "-3", " 7 ", "1_0", "٣", "true", "True", "false", "1", "0", "null", "nan", "inf",
         "1e3", "9007199254740993", "é", "日本", "x.y", "n.x", "n.x.k", '"a"', "[1]", "{}", "{\"k\": 1}", "None", "it's",
         "{{#n.x#}}", "{{#n.y#}}", "p{{#n.x#}}q", "{{#n.zz#}}", "{{#n.x.k#}}", "{{#sys.q#}}", "-0", "+4", "0x1", "1e400"]


LEFT = {"integer": [True, 2.5, None], "float": [None, 3, False], "string": [5, None, ["a"], True],
        "boolean": [1, None, "true", 0], "object": [None, 5, "a"], "array[string]": [[], None], "array[number]": [[], None],
        "array[file]": [[], None], "array[boolean]": [None], "array[any]": [None]}


class Material:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def number(self):
        r = self.r
        return r.choice([0, 1, -1, 5, 7, 3, 10, 2**53 + 1, 2**63, -10**25, 0.0, -0.0, 1.0, 2.5, 5.0, -3.5, 1e20, 1e-7,
                         float("nan"), float("inf"), r.randint(-20, 20), r.random(), 10**400])

    def text(self):
        return self.r.choice(TEXTS)

    def file(self):
        r = self.r
        method = r.choice(["remote_url", "local_file", "tool_file"])
        name, extension, mime = r.choice([("a.png", ".png", "image/png"), ("b.PDF", ".PDF", "application/pdf"),
                                          ("c", None, None), (None, "txt", "text/plain"), ("é.md", "", "")])
        where = {"remote_url": "http://h/" + r.choice("abc")} if method == "remote_url" else {"related_id": r.choice("rst")}
        return File(file_type=r.choice(["image", "document", "custom", "audio"]), transfer_method=method, filename=name,
                    extension=extension, mime_type=mime, size=r.choice([-1, 0, 5, 10, 10**6]), **where)

    def value(self, depth=0):
        r = self.r
        pick = r.randrange(14 if depth < 2 else 6)
        if pick == 0:
            return None
        if pick == 1:
            return r.choice([True, False])
        if pick <= 3:
            return self.number()
        if pick <= 5:
            return self.text()
        if pick == 6:
            return {r.choice(["k", "l", "a b", "$int"]): self.value(depth + 1) for _ in range(r.randrange(3))}
        if pick == 7:
            return self.file()
        return self.items()

    def items(self):
        r = self.r
        size = r.choice([0, 1, 2, 3, 3, 5, 8])
        return self.r.choice([
            lambda: [self.text() for _ in range(size)], lambda: [self.text() for _ in range(size)],
            lambda: [self.number() for _ in range(size)], lambda: [r.randint(-5, 5) for _ in range(size)],
            lambda: [r.choice([True, False]) for _ in range(size)], lambda: [self.file() for _ in range(size)],
            lambda: [self.value(2) for _ in range(size)], lambda: [{"k": self.value(2)} for _ in range(size)],
        ])()

    def variables(self):
        r = self.r
        made = []
        for name in NAMES:
            if r.random() < 0.12:
                continue
            if r.random() < 0.06:
                made.append(variable(["n", name], self.text(), "secret"))
                continue
            one = variable(["n", name], self.value())
            if r.random() < 0.08 and one.value_type.value in LEFT:
                # what an assigner of version 1 may leave under a type
                one = one.model_copy(update={"value": r.choice(LEFT[one.value_type.value])})
            made.append(one)
        made.append(variable(["sys", "q"], r.choice(["a", "abc", 5, True, None])))
        made.append(variable(["c", "m"], self.value()))
        return made

    def selector(self):
        r = self.r
        return r.choice([["n", r.choice(NAMES)]] * 8 + [["n", "x", "k"], ["n", r.choice(NAMES), "name"], ["c", "m"],
                        ["n", "y", "size"], ["n", "zz"], ["n"], [], ["c", "m", "k", "l"], ["n", "x", "url"]])

    def expected(self):
        r = self.r
        return r.choice([self.text()] * 6 + [True, False, None, [], ["a"], [self.text(), self.text()], ["true", "false"],
                                             1, 0, 1.0, 5, ["a", 1], {}])

    def condition(self):
        r = self.r
        made = {"variable_selector": self.selector(), "comparison_operator": r.choice(OPERATORS), "value": self.expected()}
        if r.random() < 0.05:
            del made["value"]
        if r.random() < 0.3:
            made["sub_variable_condition"] = {"logical_operator": r.choice(["and", "or"]),
                                              "conditions": [self.sub_condition() for _ in range(r.randrange(3))]}
        return made

    def sub_condition(self):
        r = self.r
        return {"key": r.choice(["name", "extension", "size", "type", "mime_type", "url", "transfer_method", "related_id",
                                 "what"] + ["extension", "size"]),
                "comparison_operator": r.choice(OPERATORS),
                "value": r.choice(["a", "png", ".png", "5", "image", "", ["image"], ["a.png", "png"], None, "http", "local_file"])}

    def if_else(self):
        r = self.r
        if r.random() < 0.1:
            return {"logical_operator": r.choice(["and", "or", None]), "conditions": [self.condition() for _ in range(r.randrange(3))]}
        return {"cases": [{"case_id": r.choice(["true", "two", "3", ""]), "logical_operator": r.choice(["and", "or"]),
                           "conditions": [self.condition() for _ in range(r.choice([0, 1, 1, 1, 1, 2, 3]))]}
                          for _ in range(r.choice([1, 1, 1, 2]))]}

    def list_operator(self):
        r = self.r
        conditions = [{"key": r.choice(["", "name", "extension", "mime_type", "url", "related_id", "type", "transfer_method",
                                        "size", "what"]),
                       "comparison_operator": r.choice(FILTERS),
                       "value": r.choice([self.text()] * 8 + [True, False, ["a"], ["image", "document"], ["local_file"], [], 1,
                                                              "image", "png", "5", "2.5"])}
                      for _ in range(r.choice([0, 1, 1, 1, 2]))]
        data = {"variable": r.choice([["n", r.choice(NAMES)]] * 9 + [self.selector()]),
                "filter_by": {"enabled": r.random() < 0.6, "conditions": conditions},
                "order_by": {"enabled": r.random() < 0.5, "key": r.choice(["", "name", "size", "type", "url", "extension", "what"]),
                             "value": r.choice(["asc", "desc"])},
                "limit": {"enabled": r.random() < 0.4, "size": r.choice([0, 1, 2, 3, 100, -1, -2, -100])}}
        if r.random() < 0.4:
            data["extract_by"] = {"enabled": r.random() < 0.7, "serial": r.choice(["1", "2", "0", "-1", "9", "x", " 1 ", "", "{{#n.y#}}",
                                                                                   "1.0", "1" * 30])}
        return data

    def assigner_1(self):
        return {"version": "1", "assigned_variable_selector": self.selector(),
                "write_mode": self.r.choice(["over-write", "append", "clear"]), "input_variable_selector": self.selector()}

    def assigner_2(self):
        r = self.r
        items = []
        for _ in range(r.choice([1, 1, 1, 2, 3])):
            kind = r.choice(["variable", "constant"])
            value = self.selector() if kind == "variable" else r.choice([self.value(2), self.number(), self.text(), {"k": 1}, [], ["a"]])
            if isinstance(value, File):
                value = "f"
            if r.random() < 0.1:
                value = r.choice([None, 5, "n.x", True, [1], {}])
            if kind == "variable" and isinstance(value, (int, dict)) and not isinstance(value, bool) and value != {}:
                value = "n.x"
            if kind == "variable" and value is True:
                value = None
            items.append({"variable_selector": self.selector(), "input_type": kind, "operation": r.choice(OPERATIONS), "value": value})
        return {"version": "2", "items": items}

    def aggregator(self):
        r = self.r
        data = {"output_type": "any", "variables": [self.selector() for _ in range(r.randrange(4))]}
        if r.random() < 0.5:
            data["advanced_settings"] = {"group_enabled": r.random() < 0.8, "groups": [
                {"group_name": r.choice(["g", "h", "output"]), "output_type": "string",
                 "variables": [self.selector() for _ in range(r.randrange(4))]} for _ in range(r.randrange(3))]}
        return data

    def end(self):
        return {"outputs": [{"variable": self.r.choice(["a", "b", "c"]), "value_selector": self.selector()}
                            for _ in range(self.r.randrange(4))]}

    def answer(self):
        return {"answer": "".join(self.r.choice([self.text(), "{{#n.x#}}", "{{#n.y#}}", "{{#c.m#}}", " and "])
                                  for _ in range(self.r.randrange(5)))}

    # cases in which operators and values fit the variables

    def fitting(self):
        made = self.variables()
        n = [one for one in made if one.selector[0] == "n"]
        if not n:
            return self.fitting()
        one = self.r.choice(n)
        return self.r.choice([self.fitting_condition, self.fitting_list, self.fitting_items])(made, one, n)

    def like(self, one):
        """A text that has to do with the variable."""
        value = one.value
        if isinstance(value, list) and value:
            value = self.r.choice(value)
        if isinstance(value, File):
            value = self.r.choice([value.filename or "", value.type.value, str(value.size), value.extension or "", "a", "5"])
        text = str(value)
        return self.r.choice([text, text, text[:2], text[-2:], text.lower(), self.text(), "true", "5", str(self.number())])

    def fitting_condition(self, made, one, n):
        r = self.r
        groups = {"string": TEXT_OPS, "secret": TEXT_OPS, "integer": NUMBER_OPS, "float": NUMBER_OPS, "boolean": BOOL_OPS}
        conditions = []
        for _ in range(r.choice([1, 1, 2])):
            kind = one.value_type.value
            value = self.like(one)
            operator = r.choice(groups.get(kind, LIST_OPS))
            if operator in ("in", "not in", "all of"):
                value = [self.like(one) for _ in range(r.randrange(4))]
            if kind in ("boolean", "array[boolean]"):
                value = r.choice(["true", "false", "1", "0", True, False, None, value, ["true", "0"], "2", "-1"])
            condition = {"variable_selector": list(one.selector), "comparison_operator": operator, "value": value}
            if kind == "array[file]":
                condition["sub_variable_condition"] = {"logical_operator": r.choice(["and", "or"]), "conditions": [
                    self.sub_condition() for _ in range(r.randrange(1, 3))]}
            conditions.append(condition)
            one = r.choice(n)
        data = {"cases": [{"case_id": "c", "logical_operator": r.choice(["and", "or"]), "conditions": conditions}]}
        return case("if-else", data, made)

    def fitting_list(self, made, one, n):
        r = self.r
        lists = [one for one in n if one.value_type.value in FILTER_OPS]
        if not lists:
            return self.fitting()
        one = r.choice(lists)
        kind = one.value_type.value
        data = self.list_operator()
        data["variable"] = list(one.selector)
        data["filter_by"] = {"enabled": r.random() < 0.8, "conditions": []}
        for _ in range(r.choice([1, 1, 2])):
            value = self.like(one)
            if kind == "array[number]":
                value = str(self.number()) if r.random() < 0.5 or not one.value else str(r.choice(one.value))
            if kind == "array[boolean]":
                value = r.choice([True, False])
            key = r.choice(["name", "extension", "mime_type", "url", "related_id", "type", "transfer_method", "size"])
            operator = r.choice(FILTER_OPS[kind])
            if key in ("type", "transfer_method") and kind == "array[file]":
                operator, value = r.choice(["in", "not in"]), r.choice([["image"], ["document", "local_file"], "image,custom", []])
            if key == "size" and kind == "array[file]":
                operator, value = r.choice(["=", "≠", "<", ">", "≥", "≤"]), r.choice(["5", "0", "10.0", "-1", "x"])
            data["filter_by"]["conditions"].append({"key": key, "comparison_operator": operator, "value": value})
        if kind == "array[file]":
            data["order_by"]["key"] = r.choice(["name", "size", "type", "url", "extension", "mime_type", "related_id"])
        return case("list-operator", data, made)

    def fitting_items(self, made, one, n):
        r = self.r
        element = {"array[string]": self.text, "array[number]": self.number, "array[boolean]": lambda: r.random() < 0.5,
                   "array[object]": lambda: {"k": self.number()},
                   "array[any]": lambda: r.choice([self.text(), self.number(), {}, True])}
        items = []
        for index in range(r.choice([1, 2, 3, 4])):
            one = r.choice(n)
            kind = one.value_type.value
            item = {"variable_selector": list(one.selector), "input_type": "constant"}
            if kind in ("integer", "float"):
                item.update(operation=r.choice(["+=", "-=", "*=", "/=", "set", "over-write"]), value=r.choice([self.number(), True, 3, 2.5]))
            elif kind in ("string", "boolean", "object"):
                value = {"string": self.text(), "boolean": r.random() < 0.5, "object": r.choice([{"k": 1}, '{"a": [1, 2.0]}', "[1]", "{"])}
                item.update(operation=r.choice(["set", "over-write"]), value=value[kind])
            elif kind in element:
                operation = r.choice(["append", "extend", "over-write", "clear", "remove-first", "remove-last"])
                value = element[kind]() if operation == "append" else [element[kind]() for _ in range(r.randrange(3))]
                made.append(variable(["v", f"i{index}"], value))
                item.update(input_type="variable", operation=operation, value=["v", f"i{index}"])
            else:
                item.update(input_type="variable", operation="clear")
            items.append(item)
        return case("assigner", {"version": "2", "items": items}, made)

    def random_case(self):
        r = self.r
        if r.random() < 0.5:
            return self.fitting()
        kind, make = r.choice([("if-else", self.if_else)] * 4 + [("list-operator", self.list_operator)] * 4
                              + [("assigner", self.assigner_1)] + [("assigner", self.assigner_2)] * 4
                              + [("variable-aggregator", self.aggregator), ("end", self.end), ("answer", self.answer)])
        return case(kind, make(), self.variables())


OPERATORS = ["contains", "not contains", "start with", "end with", "is", "is not", "empty", "not empty", "in", "not in",
             "all of", "=", "≠", ">", "<", "≥", "≤", "null", "not null", "exists", "not exists"]
TEXT_OPS = ["contains", "not contains", "start with", "end with", "is", "is not", "empty", "not empty", "in", "not in",
            "all of", "null", "not null"]
NUMBER_OPS = ["=", "≠", ">", "<", "≥", "≤", "empty", "not empty", "null", "exists", "in"]
BOOL_OPS = ["is", "is not", "=", "≠", ">", "empty", "not empty", "in", "not in", "null"]
LIST_OPS = ["contains", "not contains", "all of", "empty", "not empty", "null", "not null", "exists", "not exists"]
STRING_FILTERS = ["contains", "start with", "end with", "is", "in", "empty", "not contains", "is not", "not in", "not empty"]
FILTER_OPS = {"array[string]": STRING_FILTERS, "array[number]": ["=", "≠", "<", ">", "≥", "≤"], "array[boolean]": ["is", "is not"],
              "array[file]": STRING_FILTERS}
FILTERS = ["contains", "start with", "end with", "is", "in", "empty", "not contains", "is not", "not in", "not empty",
           "=", "≠", "<", ">", "≥", "≤"]
OPERATIONS = ["over-write", "clear", "append", "extend", "set", "+=", "-=", "*=", "/=", "remove-first", "remove-last"]


# ------------------------------------------------------------------ the recorded ones


def some(seed, kind, make, count):
    """Random cases in which every status is well represented."""
    found, failed, tries = [], 0, 0
    while len(found) < count:
        tries += 1
        material = Material(seed * 100_003 + tries)
        made = material.fitting() if tries % 2 else case(kind, getattr(material, make)(), material.variables())
        if made["type"] != kind:
            continue
        if made["expect"]["status"] != "succeeded":
            failed += 1
            if failed > count * 0.45:
                continue
        found.append(made)
    return found


def starts():
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
    declared = lambda **more: {"variable": "j", "label": "J", "type": "json_object", **more}
    for more in ({}, {"required": True}, {"json_schema": schema}, {"json_schema": json.dumps(schema), "required": True},
                 {"json_schema": "  "}, {"json_schema": "[1]"}, {"json_schema": "{"}, {"json_schema": {"type": "what"}},
                 {"json_schema": {}}, {"description": None, "options": None}, {"type": "file-list", "max_length": None},
                 {"allowed_file_types": ["what"]}, {"label": None}, {"type": "what"}, {"max_length": "x"}):
        for value in ("absent", None, {}, {"a": 1}, {"a": "x"}, [1], "t", 0):
            given = [] if value == "absent" else [variable([ID, "j"], value)]
            given.append(variable([ID, "other"], [1, 2.5]))
            given.append(variable(["sys", "q"], "hello"))
            made = case("start", {"variables": [declared(**more)]}, given)
            if made["expect"]["status"] == "invalid" and value != "absent":
                continue
            yield made


def write(folder, cases):
    path = Path(__file__).parent / "src" / folder / "fixtures" / "recorded.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(one, ensure_ascii=False) for one in cases)
    path.write_text(f"[\n{lines}\n]\n")
    print(folder, len(cases))


def main():
    if sys.argv[1:2] == ["random"]:
        material = Material(int(sys.argv[2]))
        for _ in range(int(sys.argv[3])):
            print(json.dumps(material.random_case()))
        return
    write("start", list(starts()))
    write("end", some(1, "end", "end", 20))
    write("answer", some(2, "answer", "answer", 40))
    write("if_else", some(3, "if-else", "if_else", 250))
    write("variable_aggregator", some(4, "variable-aggregator", "aggregator", 30))
    write("assigner/v1", some(5, "assigner", "assigner_1", 60))
    write("assigner/v2", some(6, "assigner", "assigner_2", 200))
    write("list_operator", some(7, "list-operator", "list_operator", 250))


with use_workflow_file_runtime(Files()):
    main()
