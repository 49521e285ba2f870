"""Whether a text is JSON of a given shape."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from stopping_core.completeness.json_text import Parsed, parse
from stopping_core.errors import MissingPackage
from stopping_core.results import Draft, Verdict
from stopping_core.types import Request

if TYPE_CHECKING:
    from pydantic import BaseModel

_Validate: TypeAlias = Callable[[Parsed], str]
_LONGEST = 200  # characters of a message


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """Incomplete unless the text is one JSON text that fits a schema.

    The text is parsed as strictly as by :class:`JsonText`, then validated: a JSON Schema by the
    jsonschema library, a pydantic model by ``model_validate_json``, so that what passes here also
    parses in the user's own code, with the model's own idea of strictness. The reason names the
    first thing that does not fit. References are resolved inside the schema only; nothing is
    fetched.

    Args:
        schema: A JSON Schema (Draft 2020-12) as a dict, or a pydantic model class.

    Raises:
        ValueError: If the schema is neither, is not valid, or refers to what it does not hold.
        MissingPackage: If jsonschema or pydantic is not installed.

    Examples:
        >>> check = JsonSchema({"properties": {"year": {"type": "integer"}}, "required": ["year"]})
        >>> check(Request(), Draft('{"year": "1969"}')).reason
        "JSON does not fit the schema: $.year: '1969' is not of type 'integer'"
    """

    schema: Mapping[str, Any] | type[BaseModel]
    _validate: _Validate = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.schema, Mapping):
            validate = _from_schema(self.schema)
        else:
            validate = _from_model(self.schema)
        object.__setattr__(self, "_validate", validate)

    def __call__(self, request: Request, draft: Draft, /) -> Verdict:
        """Parse the text and validate it."""
        parsed = parse(draft.text)
        if parsed.reason:
            return Verdict(False, parsed.reason)
        misfit = self._validate(parsed)
        if not misfit:
            return Verdict(True)
        if len(misfit) > _LONGEST:
            misfit = f"{misfit[: _LONGEST - 1]}…"
        return Verdict(False, f"JSON does not fit the schema: {misfit}")


def _from_schema(schema: Mapping[str, Any]) -> _Validate:
    jsonschema = _load("jsonschema")
    referencing = importlib.import_module("referencing")
    draft = importlib.import_module("referencing.jsonschema").DRAFT202012
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ValueError(
            f"schema must be valid JSON Schema (Draft 2020-12), got {error.message} "
            f"at {error.json_path}"
        ) from error
    resource = draft.create_resource(schema)
    registry = referencing.Registry().with_resource(resource.id() or "", resource)
    _check_references(resource, registry.resolver_with_root(resource), referencing)
    validator = jsonschema.Draft202012Validator(schema, registry=registry)

    def validate(parsed: Parsed) -> str:
        try:
            error = jsonschema.exceptions.best_match(validator.iter_errors(parsed.value))
        except RecursionError:
            return "it is nested too deeply to be checked"
        except OverflowError:
            return "a number is too large to be checked"
        return "" if error is None else f"{error.json_path}: {error.message}"

    return validate


def _check_references(resource: Any, resolver: Any, referencing: Any) -> None:
    """Resolve every reference now, rather than when a text happens to need it."""
    if isinstance(resource.contents, Mapping):
        for keyword in ("$ref", "$dynamicRef"):
            reference = resource.contents.get(keyword)
            if isinstance(reference, str):
                try:
                    resolver.lookup(reference)
                except referencing.exceptions.Unresolvable as error:
                    raise ValueError(
                        f"schema must hold what it refers to, got {keyword} {reference!r}"
                    ) from error
    for part in resource.subresources():
        _check_references(part, resolver.in_subresource(part), referencing)


def _from_model(schema: object) -> _Validate:
    pydantic = _load("pydantic")
    if not (isinstance(schema, type) and issubclass(schema, pydantic.BaseModel)):
        raise ValueError(f"schema must be a dict or a pydantic model class, got {schema!r}")
    model: Any = schema

    def validate(parsed: Parsed) -> str:
        try:
            model.model_validate_json(parsed.text)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            return f"{'.'.join(['$', *map(str, first['loc'])])}: {first['msg']}"
        except Exception as error:  # a validator of the user's that fails on the model's text
            return f"{model.__name__} raised {type(error).__name__}: {error}"
        return ""

    return validate


def _load(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingPackage(package, "schema") from error
