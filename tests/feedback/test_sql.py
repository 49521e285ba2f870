"""Whatever a text holds is data to the store: in every field and filter, in both databases."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import stopping_core
from stopping_core.feedback import Feedback, Outcome, OutcomeStore
from stopping_core.feedback.tables import METADATA, VERSION_TABLE

START = datetime(2025, 3, 1, 12, tzinfo=UTC)
PLAIN = Outcome("plain", time=START, tenant="acme", user="ann", use_case="faq", model="m")

HOSTILE = {
    "drop": "'); DROP TABLE outcomes; --",
    "drop in double quotes": '"; DROP TABLE feedback; --',
    "always true": "' OR '1'='1",
    "union": "x' UNION SELECT request_id, prompt FROM outcomes --",
    "quotes": """ '"`$1 %s %(name)s :name ? \\ \n\r\t""",
    "patterns": "%_*[a-z]",
    "nul": "a\x00b",
    "surrogate": "a\ud800b",
    "wide": "\U0001f600 \u202e \u0301",
    "long": "x" * 1_000_000,
    "long and wide": "\U0001f600" * 250_000,
}
_NAMES = ("user", "tenant", "use_case", "model", "model_fingerprint", "template", "certificate")
_WORDS = ("reason", "finish_reason", "uncertified", "prompt", "text")
_FILTERS = ("tenant", "user", "use_case", "model")


@pytest.fixture
def store(url: str) -> Iterator[OutcomeStore]:
    with OutcomeStore(url) as opened:
        opened.add([PLAIN], [Feedback("plain", "thumbs", 1.0)])
        yield opened


def known(text: str) -> str:
    """What no database can hold is replaced."""
    return text.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")


@pytest.mark.parametrize("name", HOSTILE)
def test_every_field_takes_it_as_data(store: OutcomeStore, name: str) -> None:
    """Nothing in a text is run, refused or lost, but for what no database can hold."""
    text = HOSTILE[name]
    every: dict[str, Any] = dict.fromkeys((*_NAMES, *_WORDS), text)
    store.add(
        [Outcome(text, time=START, features={text: 1.0}, **every)],
        [Feedback(text, "edited", 0.0, note=text, feedback_id=text)],
    )
    found = store.find(text)
    assert found is not None
    assert {field: known(text) for field in _WORDS} == {
        field: getattr(found, field) for field in _WORDS
    }
    assert {known(text)[:100]} == {getattr(found, field)[:100] for field in _NAMES}
    assert {known(text): 1.0} == found.features
    (said,) = store.feedback_of(text)
    assert (known(text), found.request_id) == (said.note, said.request_id)
    every_one = {one.request_id: one for one in store.outcomes()}
    assert {"plain": PLAIN, found.request_id: found} == every_one
    assert 2 == len(store.feedback())
    assert {*METADATA.tables, VERSION_TABLE} == set(sa.inspect(store._engine).get_table_names())


@pytest.mark.parametrize("name", HOSTILE)
def test_every_filter_takes_it_as_data(store: OutcomeStore, name: str) -> None:
    """It finds what has exactly this name, and nothing else."""
    text = HOSTILE[name]
    filters: dict[str, dict[str, Any]] = {field: {field: text} for field in _FILTERS}
    for wanted in filters.values():
        assert [] == store.outcomes(**wanted)
    assert (None, []) == (store.find(text), store.feedback_of(text))
    for field, wanted in filters.items():
        store.add([Outcome(field, time=START, **wanted)])
        assert [field] == [one.request_id for one in store.outcomes(**wanted)]
    assert 5 == sum(segment.outcomes for segment in store.segments())
    assert PLAIN == store.find("plain")


_RUN = {"exec_driver_sql", "execute", "executemany", "executescript", "literal_column", "scalar",
        "scalars", "text"}  # fmt: skip
"""Calls that take SQL."""

_BEGINNINGS = ("alter ", "begin", "create ", "delete ", "drop ", "insert ", "pragma ", "select ",
               "update ", "with ")  # fmt: skip

FILES = sorted(
    path
    for folder in ("feedback", "cli/dashboard")
    for path in (Path(stopping_core.__file__).parent / folder).rglob("*.py")
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_sql_is_put_together_from_texts(path: Path) -> None:
    """What is run is a whole constant, or built by SQLAlchemy, which binds every value."""
    tree = ast.parse(path.read_text("utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    given = [node.args[0] for node in calls if _runs(node.func)]
    assert [] == [ast.unparse(node) for node in given if _is_put_together(node)]
    texts = [node for node in ast.walk(tree) if _is_put_together(node)]
    assert [] == [ast.unparse(node) for node in texts if _beginning(node).startswith(_BEGINNINGS)]


def test_it_is_seen_where_sql_is_put_together() -> None:
    """The test above is none that always holds."""
    for code in ("f'SELECT {x}'", "'DELETE FROM ' + x", "'PRAGMA %s' % x", "'DROP {}'.format(x)"):
        (node,) = (node for node in ast.walk(ast.parse(code)) if _is_put_together(node))
        assert _beginning(node).startswith(_BEGINNINGS)


def _runs(node: ast.expr) -> bool:
    """Whether a call takes SQL; ``text`` is a name that others have as well."""
    name = _name(node)
    of = _name(node.value) if isinstance(node, ast.Attribute) else ""
    return name in _RUN and (name != "text" or of == "sa")


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _is_put_together(node: ast.AST) -> bool:
    """Whether a text is made of parts: an f-string, ``+``, ``%`` or ``format``."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Add | ast.Mod) and isinstance(_first(node), str)
    formats = isinstance(node, ast.Call) and _name(node.func) in ("format", "join")
    return isinstance(node, ast.JoinedStr) or (formats and isinstance(_first(node), str))


def _beginning(node: ast.AST) -> str:
    return str(_first(node)).lower()


def _first(node: ast.AST) -> object:
    """The constant that a text begins with, None where it begins otherwise."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.JoinedStr(values=[first, *_]):
            return _first(first)
        case ast.BinOp(left=first) | ast.Call(func=ast.Attribute(value=first)):
            return _first(first)
    return None
