"""An MCP server that knows orders. It reads requests from its standard input, a line each, and answers
on its standard output; it needs nothing but Python."""

import json
import sys

ORDERS = {
    "4711": {"item": "a desk", "state": "on its way"},
    "4712": {"item": "two chairs", "state": "being packed"},
}

FIND_ORDER = {
    "name": "find_order",
    "description": "What is known of an order.",
    "inputSchema": {
        "type": "object",
        "properties": {"number": {"type": "string", "description": "the order's number"}},
        "required": ["number"],
    },
}


def answer(method, parameters):
    """The result of a request; None when there is no such method."""
    if method == "initialize":
        return {
            "protocolVersion": parameters["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "orders", "version": "1"},
        }
    if method == "ping":
        return {}
    if method == "tools/list":
        return {"tools": [FIND_ORDER]}
    if method == "tools/call":
        number = parameters.get("arguments", {}).get("number")
        order = ORDERS.get(number)
        text = json.dumps(order) if order else f"There is no order {number}."
        return {"content": [{"type": "text", "text": text}], "isError": order is None}
    return None


for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue  # a notification wants no answer
    response = {"jsonrpc": "2.0", "id": request["id"]}
    result = answer(request["method"], request.get("params", {}))
    if result is None:
        response["error"] = {"code": -32601, "message": "no such method"}
    else:
        response["result"] = result
    print(json.dumps(response), flush=True)
