"""JSON checks: strict parsing, and schemas."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, field_validator

from stopping_core.completeness import ClosedJson, JsonSchema, JsonText
from stopping_core.errors import MissingPackage
from stopping_core.protocols import CompletenessCheck
from stopping_core.results import Draft, Verdict
from stopping_core.types import Request

SHAPE = {
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/name"}, "people": {"type": "integer"}},
    "required": ["city"],
    "$defs": {"name": {"type": "string", "minLength": 1}},
}
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
containers = values.filter(lambda value: isinstance(value, list | dict))


class City(BaseModel):
    city: str
    people: int = 0

    @field_validator("city")
    @classmethod
    def _known(cls, city: str) -> str:
        return {"broken": lambda: city[99]}.get(city, lambda: city)()


def ask(check: CompletenessCheck, text: str) -> Verdict:
    return check(Request(), Draft(text, finish_reason="stop"))


@given(st.one_of(st.text(max_size=80), st.builds(json.dumps, values)))
def test_models_give_every_text_a_verdict(text: str) -> None:
    """No text raises from a pydantic model, lone surrogates and wrong types included."""
    verdict = ask(JsonSchema(City), text)
    assert verdict.complete or verdict.reason


@given(containers, st.sampled_from([None, 2]), st.booleans())
def test_every_proper_prefix_of_json_is_incomplete(
    value: object, indent: int | None, ascii_only: bool
) -> None:
    """An object or an array is complete with its last character and not before."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    for check in (JsonText(), JsonText(prefix_ok=True)):
        assert ask(check, text) == Verdict(True)
        assert not any(ask(check, text[:n]).complete for n in range(len(text)))
    fenced = f"```json\n{text}\n```"
    assert ask(JsonText(), fenced) == Verdict(True)
    assert not any(ask(JsonText(), fenced[:n]).complete for n in range(len(fenced)))


@given(st.dictionaries(st.text(), values, max_size=4), st.booleans())
def test_closed_json_sees_every_proper_prefix(value: dict[str, object], many: bool) -> None:
    """An object, or an array of them, that a text begins with is certainly not closed before."""
    text = json.dumps([value, value] if many else value)
    assert ask(ClosedJson(), f"{text} Hope this helps!") == Verdict(True)
    assert not any(ask(ClosedJson(), text[:n]).complete for n in range(1, len(text)))


@pytest.mark.parametrize("text", ["", "Paris", "[1] says so", "{name} is", "{x | x > 0}", "[a](b)"])
def test_closed_json_holds_back_no_prose(text: str) -> None:
    """A text that only looks like JSON from afar is left alone."""
    assert ask(ClosedJson(), text) == Verdict(True)


@pytest.mark.parametrize("text", ["12", "-0.5e3", '"a"', "true", "null", " [1]\n", "9" * 5000])
def test_any_json_value_is_complete(text: str) -> None:
    """Numbers of any length, strings and constants are JSON texts too."""
    assert ask(JsonText(), text) == Verdict(True)


@pytest.mark.parametrize(
    "text",
    ["", "NaN", "-Infinity", '{"a": NaN}', "{'a': 1}", "[1,]", "01", "1 2", "Sure! {}", "{} Done.",
     "```json\n{}\n```\nDone.", "```json\n{}", "```py\n{}\n```", "\u00a0{}", "\ufeff{}", '"a\nb"',
     "```\n{}\n```\n```\n{}\n```"],
)  # fmt: skip
def test_other_texts_are_not_json(text: str) -> None:
    """What RFC 8259 does not allow is refused, with prose around it too."""
    verdict = ask(JsonText(), text)
    assert not verdict.complete
    assert verdict.reason


def test_prefix_ok_lets_prose_follow() -> None:
    """With prefix_ok a value may be followed by anything, but not preceded."""
    check = JsonText(prefix_ok=True)
    assert ask(check, "```json\n{}\n```\nDone.").complete
    assert ask(check, "[1] Done.").complete
    assert not ask(check, "Sure! [1]").complete


@pytest.mark.parametrize("schema", [City, SHAPE])
def test_schemas_name_what_does_not_fit(schema: Any) -> None:
    """What fits passes; else the reason gives the path, and is short."""
    check = JsonSchema(schema)
    assert ask(check, '{"city": "Paris", "people": 2000000}') == Verdict(True)
    assert ask(check, '```json\n{"city": "Paris"}\n```') == Verdict(True)
    assert "$.people: " in ask(check, '{"city": "Paris", "people": "many"}').reason
    assert "city" in ask(check, "{}").reason
    assert "not finished" in ask(check, '{"city": "Paris"').reason
    assert len(ask(check, json.dumps({"city": ["x" * 9999]})).reason) < 300
    assert not ask(check, '{"city": "Paris", "people": NaN}').complete


def test_validators_that_fail_do_not_raise() -> None:
    """A bug in the user's own validator, met on the model's text, is a reason and no crash."""
    verdict = ask(JsonSchema(City), '{"city": "broken"}')
    assert verdict.reason.endswith("City raised IndexError: string index out of range")


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "objekt"}, "schema must be valid JSON Schema"),
        ({"pattern": "("}, "schema must be valid JSON Schema"),
        ({"items": {"$ref": "#/$defs/none"}}, "schema must hold what it refers to"),
        ({"$ref": "https://example.com/s.json"}, "schema must hold what it refers to"),
        (int, "schema must be a dict or a pydantic model class"),
        ("{}", "schema must be a dict or a pydantic model class"),
    ],
)
def test_schemas_are_validated(schema: Any, message: str) -> None:
    """A schema that is wrong is refused when the check is made, and nothing is fetched."""
    with pytest.raises(ValueError, match=message):
        JsonSchema(schema)


def test_hard_schemas_get_a_verdict() -> None:
    """A schema that never ends, and a number beyond floats, are reasons and no crash."""
    assert "too deeply" in ask(JsonSchema({"$ref": "#"}), "1").reason
    huge = JsonSchema({"multipleOf": 0.5})
    assert "too large" in ask(huge, "1e999").reason


@pytest.mark.parametrize(("package", "schema"), [("jsonschema", {}), ("pydantic", City)])
def test_missing_packages_are_named(
    monkeypatch: pytest.MonkeyPatch, package: str, schema: Any
) -> None:
    """Without its library the check says what to install."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackage, match=rf"{package} is needed .*stopping-core\[schema\]"):
        JsonSchema(schema)
