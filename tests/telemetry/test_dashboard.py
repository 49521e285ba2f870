"""The dashboard asks for nothing that the endpoint does not show."""

from __future__ import annotations

import json
import re
import runpy
from importlib.resources import files
from typing import Any

import pytest

from stopping_core.telemetry import Telemetry, dashboard, serve
from tests.telemetry.asking import every_kind, samples, scrape

_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^}]*)\}")
_MATCHER = re.compile(r'([a-z_]+)(=~|!=|=)"([^"]*)"')
_BY = re.compile(r"by \(([^)]*)\)")
_LEGEND = re.compile(r"\{\{(\w+)\}\}")
_VALUES = re.compile(r"label_values\((\w+), (\w+)\)")
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")
_BUILT_IN = {"__range", "__rate_interval"}


@pytest.fixture(scope="module")
def board() -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    read: dict[str, Any] = json.loads(dashboard())
    return read


@pytest.fixture(scope="module")
def shown() -> dict[str, set[str]]:
    """The labels of every metric that a live endpoint shows after a few requests."""
    found: dict[str, set[str]] = {}
    with serve(port=0) as endpoint:
        telemetry = Telemetry(endpoint.meter_provider, loss=lambda request, audit: 0.0)
        every_kind(telemetry)
        for name, labels, _ in samples(scrape(endpoint.url)):
            found.setdefault(name, set()).update(labels)
    return found


def targets(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [target for panel in board["panels"] for target in panel["targets"]]


def test_every_metric_of_the_dashboard_is_exported(
    board: dict[str, Any], shown: dict[str, set[str]]
) -> None:
    """Panels and variables: spelt as a live endpoint spells it."""
    asked = {
        name for target in targets(board) for name, _ in _SELECTOR.findall(str(target["expr"]))
    }
    asked |= {
        name
        for variable in board["templating"]["list"]
        for name, _ in _VALUES.findall(str(variable.get("definition", "")))
    }
    assert set() == asked - set(shown)
    assert 15 == len(asked)


def test_every_metric_that_is_exported_is_on_the_dashboard(
    board: dict[str, Any], shown: dict[str, set[str]]
) -> None:
    """Nothing is measured that nobody sees."""
    asked = " ".join(str(target["expr"]) for target in targets(board))
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown} - {"target_info"}
    assert set() == {name for name in families if name not in asked}


def test_every_label_of_the_dashboard_is_exported(
    board: dict[str, Any], shown: dict[str, set[str]]
) -> None:
    """Of the metric that is asked by it: in selectors, groups, legends and variables."""
    missing = set()
    for target in targets(board):
        expression = str(target["expr"])
        for name, selector in _SELECTOR.findall(expression):
            used = {label for label, _, _ in _MATCHER.findall(selector)}
            used |= {label for group in _BY.findall(expression) for label in group.split(", ")}
            used |= set(_LEGEND.findall(str(target["legendFormat"])))
            missing |= {(name, label) for label in used - shown[name]}
    for variable in board["templating"]["list"]:
        for name, label in _VALUES.findall(str(variable.get("definition", ""))):
            missing |= {(name, label)} if label not in shown[name] else set()
    assert set() == missing


def test_every_variable_is_defined_and_used(board: dict[str, Any]) -> None:
    """None is left over on either side; every selector looks at model, tenant and use case."""
    defined = {variable["name"] for variable in board["templating"]["list"]}
    text = json.dumps(board["panels"])
    assert defined == set(_VARIABLE.findall(text)) - _BUILT_IN
    assert {"datasource", "mode", "model", "tenant", "use_case", "window"} == defined
    selectors = [s for t in targets(board) for _, s in _SELECTOR.findall(str(t["expr"]))]
    for variable in ("$mode", "$model", "$tenant", "$use_case"):
        assert [] == [selector for selector in selectors if f'=~"{variable}"' not in selector]


def test_all_finds_requests_without_a_label(board: dict[str, Any]) -> None:
    """A request of no tenant is one as well; a request of no mode is not ours."""
    whole = {
        variable["name"]: variable["allValue"]
        for variable in board["templating"]["list"]
        if "allValue" in variable
    }
    assert {"model": ".*", "tenant": ".*", "use_case": ".*", "mode": ".+"} == whole


def test_brackets_match(board: dict[str, Any]) -> None:
    """Every expression closes what it opens."""
    for target in targets(board):
        opened: list[str] = []
        for mark in str(target["expr"]):
            if mark in "([{":
                opened.append({"(": ")", "[": "]", "{": "}"}[mark])
            elif mark in ")]}":
                assert opened.pop() == mark, target["expr"]
        assert [] == opened


def test_it_is_a_dashboard_of_the_current_schema(board: dict[str, Any]) -> None:
    """Panels of different ids, each with a title, a place on the grid and what it means."""
    assert 42 == board["schemaVersion"]
    panels = board["panels"]
    assert len(panels) == len({panel["id"] for panel in panels})
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert set() == taken & cells
        taken |= cells
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs))


def test_it_is_packaged_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """``python -m stopping_core.telemetry`` prints the file, which stands in the package."""
    runpy.run_module("stopping_core.telemetry", run_name="__main__")
    assert dashboard() == capsys.readouterr().out
    assert dashboard() == files("stopping_core.telemetry").joinpath("grafana.json").read_text(
        encoding="utf-8"
    )
