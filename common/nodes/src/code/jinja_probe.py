"""Says where this interpreter's Jinja2 lies, as a JSON list of folders, or what is wrong with it."""

import json
import os
import sys


def fail(problem):
    sys.exit(
        f"{problem}. Install it (Debian, Ubuntu: apt-get install python3-jinja2), "
        "or name a Python that has it: --jinja-python PATH"
    )


try:
    import jinja2
except ModuleNotFoundError as error:
    if error.name != "jinja2":
        fail(f"its Jinja2 lacks a module ({error}), and 3.1 or later is needed")
    fail("it has no Jinja2, and 3.1 or later is needed")
except Exception as error:
    fail(f"its Jinja2 cannot be imported ({type(error).__name__}: {error}), and 3.1 or later is needed")

version = str(jinja2.__version__)
if [int(part) if part.isdigit() else 0 for part in version.split(".")[:2]] < [3, 1]:
    fail(f"its Jinja2 is {version}, and 3.1 or later is needed")

import markupsafe

folders = [os.path.dirname(os.path.dirname(os.path.abspath(module.__file__))) for module in (jinja2, markupsafe)]
print(json.dumps(list(dict.fromkeys(folders))))
