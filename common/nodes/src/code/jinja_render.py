# Whatever else a template prints, its result follows a line that nobody knows beforehand.
def main(payload):
    import base64, json, sys
    line, *rest = json.loads(base64.b64decode(payload))
    out = sys.stdout
    kind, text = render(*rest)
    text = text.encode("utf-8", "backslashreplace").decode()
    out.write(f"{line} {kind}\n")
    out.write(text)
    out.flush()


def render(template, context, problem, most):
    import json, jinja2
    try:
        compiled = jinja2.Template(template)
        if problem is not None:
            return "error", problem
        text = compiled.render(**json.loads(context))
        if len(text) > most:
            return "long", ""
        text.encode()
        return "text", text
    except BaseException as error:
        return "error", f"{type(error).__name__}: {error}"


