#!/usr/bin/env python3
"""Writes the dashboards for Grafana, helm/flowmill/files/dashboards/NAME.json, from what stands in
dashboards/NAME.yml beside this file. Needs PyYAML.

    python3 deploy/monitoring/dashboards.py            # writes them
    python3 deploy/monitoring/dashboards.py --check    # fails when one is not as it would be written

A dashboard has a `title`, a `text`, and `rows`, each with a `row` (its heading) and `panels`. A panel has

    title, about    what it shows, and what to make of it
    kind            timeseries (when missing), stat, gauge or table
    unit            as Grafana calls it: s, percentunit, ops, short, ...
    width           of 24; 8 when missing
    queries         legend: PromQL; {$in} keeps a query to the chosen installation
    limit           a line that should not be crossed; `limit_is: least` when more is better
    stack           whether lines are laid on each other
    runbook         the page under docs/runbooks that helps
"""

import json
import pathlib
import sys

import yaml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SOURCES = HERE / "dashboards"
TARGET = ROOT / "helm" / "flowmill" / "files" / "dashboards"

# Grafana 11; later ones bring it up to date themselves.
SCHEMA = 39
WIDTH = 24
HEIGHTS = {"timeseries": 8, "stat": 4, "gauge": 6, "table": 7}
IN = 'namespace=~"$namespace"'
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
PANEL_KEYS = {"title", "about", "kind", "unit", "width", "queries", "limit", "limit_is", "stack", "runbook"}


def thresholds(panel):
    if "limit" not in panel:
        return {"mode": "absolute", "steps": [{"color": "green", "value": None}]}
    below, above = ("red", "green") if panel.get("limit_is") == "least" else ("green", "red")
    steps = [{"color": below, "value": None}, {"color": above, "value": panel["limit"]}]
    return {"mode": "absolute", "steps": steps}


def target(ref, legend, expr, kind):
    is_instant = kind == "table"
    return {
        "refId": ref,
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": expr.strip().replace("$in", IN),
        "legendFormat": legend,
        "instant": is_instant,
        "range": not is_instant,
        "format": "table" if is_instant else "time_series",
    }


def looks(panel, kind):
    """What only one kind of panel has: how lines are drawn, what options there are."""
    if kind == "timeseries":
        custom = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 20 if panel.get("stack") else 0,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.get("stack") else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if "limit" in panel else "off"},
        }
        options = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
        return custom, options
    reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    if kind == "stat":
        return {}, {"reduceOptions": reduce, "colorMode": "value", "graphMode": "area", "textMode": "auto"}
    if kind == "gauge":
        return {}, {"reduceOptions": reduce, "showThresholdLabels": False, "showThresholdMarkers": True}
    return {}, {"showHeader": True, "cellHeight": "sm"}


def panel_of(panel, number, place):
    unknown = set(panel) - PANEL_KEYS
    if unknown:
        raise SystemExit(f"panel {panel.get('title')!r}: unknown {', '.join(sorted(unknown))}")
    kind = panel.get("kind", "timeseries")
    custom, options = looks(panel, kind)
    refs = "ABCDEFGHIJKL"
    queries = panel["queries"].items()
    defaults = {"unit": panel.get("unit", "short"), "min": 0, "thresholds": thresholds(panel), "custom": custom}
    if kind == "gauge":
        defaults["max"] = 1
    links = []
    if "runbook" in panel:
        url = f"docs/runbooks/{panel['runbook']}.md"
        links.append({"title": "What to do", "url": url, "targetBlank": True})
    made = {
        "id": number,
        "type": kind,
        "title": panel["title"],
        "description": panel["about"].strip(),
        "gridPos": place,
        "datasource": SOURCE,
        "targets": [target(ref, legend, expr, kind) for ref, (legend, expr) in zip(refs, queries)],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "links": links,
    }
    if kind == "table":
        made["transformations"] = [{"id": "organize", "options": {"excludeByName": {"Time": True, "__name__": True}}}]
    return made


def panels_of(rows):
    """All panels below each other, with their places: from left to right, then the next line."""
    made, top, number = [], 0, 0
    for row in rows:
        number += 1
        place = {"x": 0, "y": top, "w": WIDTH, "h": 1}
        made.append({"id": number, "type": "row", "title": row["row"], "gridPos": place, "collapsed": False, "panels": []})
        top, left, tallest = top + 1, 0, 0
        for panel in row["panels"]:
            number += 1
            width, height = panel.get("width", 8), HEIGHTS[panel.get("kind", "timeseries")]
            if left + width > WIDTH:
                top, left, tallest = top + tallest, 0, 0
            made.append(panel_of(panel, number, {"x": left, "y": top, "w": width, "h": height}))
            left, tallest = left + width, max(tallest, height)
        top += tallest
    return made


def variables():
    return [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}, "hide": 0},
        {
            "name": "namespace",
            "label": "Installation",
            "description": "The namespace in Kubernetes; where there is none, leave it at All.",
            "type": "query",
            "datasource": SOURCE,
            "definition": "label_values(flowmill_build_info, namespace)",
            "query": {"query": "label_values(flowmill_build_info, namespace)", "refId": "namespaces"},
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]},
            "hide": 0,
        },
    ]


def dashboard(name, said):
    return {
        "uid": f"flowmill-{name}",
        "title": said["title"],
        "description": said["text"].strip(),
        "tags": ["flowmill"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": variables()},
        "annotations": {"list": []},
        "links": [
            {
                "title": "Flowmill",
                "type": "dashboards",
                "tags": ["flowmill"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "panels": panels_of(said["rows"]),
    }


def written():
    """Each dashboard's file with the text that belongs into it."""
    for source in sorted(SOURCES.glob("*.yml")):
        made = dashboard(source.stem, yaml.safe_load(source.read_text()))
        yield TARGET / f"{source.stem}.json", json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def main():
    is_check = sys.argv[1:] == ["--check"]
    stale = []
    for path, text in written():
        if is_check:
            if not path.exists() or path.read_text() != text:
                stale.append(str(path.relative_to(ROOT)))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if stale:
        raise SystemExit(f"out of date: {', '.join(stale)}. Run: python3 deploy/monitoring/dashboards.py")


if __name__ == "__main__":
    main()
