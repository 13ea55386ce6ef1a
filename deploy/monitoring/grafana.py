"""A board as the JSON that Grafana reads; the panels of a row stand beside each other."""

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.monitoring.panels import Board, Colour, Kind, Panel, Query, Row, Variable

Json = dict[str, Any]

SCHEMA_VERSION = 39
"""Of Grafana 10.4 and later; newer ones migrate it when they load it."""
COLUMNS = 24
ROW_HEIGHT = 1
HEIGHTS: Mapping[Kind, int] = {"stat": 4, "timeseries": 8, "bargauge": 8}
DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}


def board_json(board: Board) -> Json:
    """Return what Grafana imports, or finds in a folder of provisioned dashboards."""
    return {
        "uid": board.uid,
        "title": board.title,
        "tags": ["webhook-worker"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_datasource(), *map(_variable, board.variables)]},
        "panels": _laid_out(board.rows),
    }


def _datasource() -> Json:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data"}


def _variable(variable: Variable) -> Json:
    return {
        "name": variable.name,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "refresh": 2,
        "sort": 1,
    }


def _laid_out(rows: Sequence[Row]) -> list[Json]:
    laid: list[Json] = []
    top = 0
    for row in rows:
        laid.append(
            {
                "id": len(laid) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": ROW_HEIGHT},
                "panels": [],
            }
        )
        top += ROW_HEIGHT
        left = height = 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, height = top + height, 0, 0
            place = {"x": left, "y": top, "w": panel.width, "h": HEIGHTS[panel.kind]}
            laid.append({"id": len(laid) + 1, "gridPos": place, **_panel(panel)})
            left += panel.width
            height = max(height, HEIGHTS[panel.kind])
        top += height
    return laid


def _panel(panel: Panel) -> Json:
    defaults: Json = {"unit": panel.unit, "thresholds": _thresholds(panel)}
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    if panel.words:
        defaults["mappings"] = [_mapping(panel.words)]
    if panel.kind == "timeseries":
        stacking = {"mode": "normal" if panel.stacked else "none"}
        fill = 30 if panel.stacked else 0
        defaults["custom"] = {"fillOpacity": fill, "stacking": stacking, "showPoints": "never"}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "targets": [_target(number, panel, query) for number, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _options(panel),
    }


def _target(number: int, panel: Panel, query: Query) -> Json:
    return {
        "refId": chr(ord("A") + number),
        "datasource": DATASOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        # A figure of now is asked for now alone.
        "instant": panel.kind != "timeseries",
        "range": panel.kind == "timeseries",
    }


def _thresholds(panel: Panel) -> Json:
    first: Json = {"color": "green", "value": None}
    return {
        "mode": "absolute",
        "steps": [first, *({"color": colour, "value": start} for start, colour in panel.limits)],
    }


def _mapping(words: Mapping[int, tuple[str, Colour]]) -> Json:
    shown = {str(value): {"text": text, "color": colour} for value, (text, colour) in words.items()}
    return {"type": "value", "options": shown}


def _options(panel: Panel) -> Json:
    reduced = {"calcs": ["lastNotNull"], "values": False}
    match panel.kind:
        case "timeseries":
            legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
            return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
        case "bargauge":
            return {"displayMode": "basic", "orientation": "horizontal", "reduceOptions": reduced}
        case "stat":
            colour = "background" if panel.limits or panel.words else "none"
            return {
                "colorMode": colour,
                "graphMode": "none",
                "textMode": panel.text,
                "reduceOptions": reduced,
            }
