"""What differs from provider to provider: one table, kept as data in ``providers.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from importlib.resources import files
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

LIMITS = (
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_new_tokens",
    "max_tokens_to_sample",
    "num_predict",
    "maxTokens",
)
"""Keywords by which callers limit the output of one call, whoever the provider is."""

_OPENAI = ("openai", "openai-compatible")
_LISTS = ("classes", "hosts", "truncation_marks")
_KINDS: Mapping[str, type] = {
    "prefill": bool,
    "prefill_kwargs": dict,
    "logprobs": bool,
    "hang_up_ends_bill": bool,
}


@dataclass(frozen=True, slots=True)
class Provider:
    """What a provider takes and gives, as seen through one kind of client.

    Args:
        name: ``openai``, ``anthropic``, ...; ``openai-compatible`` for a host that is not known
            here, ``unknown`` for a client that is not.
        classes: Names of the LangChain and LlamaIndex classes that are such a client.
        hosts: Where OpenAI's protocol leads to this provider; subdomains are included, and ``*``
            stands for any part.
        budget_keyword: The call's keyword for the limit on output tokens; dots go into
            dictionaries. For a client that takes none with a call, its setting of that name.
        timeout_keyword: The call's keyword for a read time-out in seconds, or None.
        truncation_marks: Finish reasons that mean a limit on tokens was reached.
        prefill: Whether a last assistant message is continued as the model's own text.
        prefill_kwargs: Keywords that such a call needs.
        logprobs: Whether log-probabilities can be had. For the reader: nothing here asks for them;
            ``stopping doctor`` measures it.
        hang_up_ends_bill: Whether closing the stream stops generation and billing. Of a host that
            is not listed it is an assumption, which ``stopping doctor`` measures.
        source: Where this is documented.
    """

    name: str
    classes: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    budget_keyword: str = "max_tokens"
    timeout_keyword: str | None = None
    truncation_marks: tuple[str, ...] = ("length",)
    prefill: bool = False
    prefill_kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    logprobs: bool = False
    hang_up_ends_bill: bool = True
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefill_kwargs", MappingProxyType(dict(self.prefill_kwargs)))

    def __reduce__(self) -> tuple[type[Provider], tuple[Any, ...]]:
        """Take the kwargs apart: a mapping proxy cannot be pickled."""
        values = (getattr(self, f.name) for f in fields(self))
        return Provider, tuple(dict(v) if isinstance(v, Mapping) else v for v in values)


def find_provider(classes: Iterable[str], base_url: str | None = None) -> Provider:
    """Find the row for a client.

    Args:
        classes: Names of the client's class and its bases, the nearest first.
        base_url: Where a client that speaks OpenAI's protocol sends its calls. None for its
            default.

    Returns:
        The row of the nearest class that is known, ``unknown`` where none is. For the general
        clients of OpenAI's protocol the row of the host, with the keywords of the client.

    Examples:
        >>> find_provider(["ChatOpenAI", "BaseChatOpenAI"], "https://api.groq.com/openai/v1").name
        'groq'
        >>> find_provider(["MyOwnModel"]).name
        'unknown'
    """
    known = {name: row for row in PROVIDERS for name in row.classes}
    row = next((known[name] for name in classes if name in known), _row("unknown"))
    if row.name not in _OPENAI or base_url is None:
        return row
    host = _host(base_url)
    there = next((p for p in PROVIDERS if _serves(p, host)), _row("openai-compatible"))
    return replace(
        there,
        classes=row.classes,
        budget_keyword=row.budget_keyword,
        timeout_keyword=row.timeout_keyword,
    )


def _row(name: str) -> Provider:
    return next(row for row in PROVIDERS if row.name == name)


def _serves(row: Provider, host: str) -> bool:
    return any(fnmatchcase(host, one) or fnmatchcase(host, f"*.{one}") for one in row.hosts)


def _host(base_url: str) -> str:
    """The host of a URL, with or without its scheme; ``""`` where there is none."""
    try:
        return urlsplit(base_url if "//" in base_url else f"//{base_url}").hostname or ""
    except ValueError:
        return ""


def read_providers(text: str) -> tuple[Provider, ...]:
    """Read the table from TOML: one ``[[provider]]`` a provider.

    Its ``clients`` are its kinds of client, each with what differs from the provider's own entries;
    each becomes a row.

    Raises:
        ValueError: An entry is missing, unknown, of the wrong kind or there twice.
    """
    rows: list[Provider] = []
    for number, entry in enumerate(tomllib.loads(text).get("provider", []), 1):
        name = entry.get("name")
        if not isinstance(name, str) or not name:
            raise ValueError(f"provider {number}: name must be a non-empty string, got {name!r}")
        if any(row.name == name for row in rows):
            raise ValueError(f"provider {number}: the name {name!r} is there twice")
        facts = {key: value for key, value in entry.items() if key != "clients"}
        for client in entry.get("clients", [{}]):
            rows.append(_checked(name, {**facts, **client}))
    seen: dict[str, str] = {}
    for row in rows:
        for one in row.classes:
            if one in seen:
                raise ValueError(f"{row.name}: the class {one!r} is {seen[one]}'s already")
            seen[one] = row.name
    for name in (*_OPENAI, "unknown"):
        if all(row.name != name for row in rows):
            raise ValueError(f"there must be a row {name!r}")
    return tuple(rows)


def _checked(name: str, entry: Mapping[str, Any]) -> Provider:
    """One row, each entry of the kind that its field has."""
    if unknown := sorted(set(entry) - {f.name for f in fields(Provider)}):
        raise ValueError(f"{name}: no such entry: {unknown}")
    made: dict[str, Any] = {}
    for key, value in entry.items():
        if key in _LISTS:
            if not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
                raise ValueError(f"{name}: {key} must be a list of strings, got {value!r}")
            made[key] = tuple(value)
            continue
        kind = _KINDS.get(key, str)
        if not isinstance(value, kind):
            raise ValueError(f"{name}: {key} must be a {kind.__name__}, got {value!r}")
        made[key] = value
    return Provider(**made)


PROVIDERS = read_providers(files("stopping_core").joinpath("providers.toml").read_text("utf-8"))
