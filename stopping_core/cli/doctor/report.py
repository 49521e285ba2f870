"""The diagnosis as a table, as a row of the provider table and as settings to copy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stopping_core.cli.doctor.findings import NO, UNCLEAR, UNMEASURED, YES, Finding
from stopping_core.cli.terminal import as_text
from stopping_core.providers import Provider

_COLORS = {YES: "green", NO: "red", UNCLEAR: "yellow", UNMEASURED: "yellow"}
_PRIVATE = (".local", ".localhost", ".localdomain", ".internal", ".lan", ".home.arpa")
_ROW = ("truncation_marks", "prefill", "prefill_kwargs", "logprobs", "hang_up_ends_bill")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is known of an endpoint after the examination.

    Args:
        base_url: Where it is.
        model: The model that was asked.
        findings: What was found, in order.
        row: Its row of the provider table: what was measured, else what the table says.
        measured: The entries of the row that were measured.
        obeyed: The keywords for a limit on tokens that it obeys.
        streams: Whether it streams.
        usage_refused: Whether it refuses to be asked for usage in a stream.
    """

    base_url: str
    model: str
    findings: tuple[Finding, ...]
    row: Provider
    measured: frozenset[str]
    obeyed: tuple[str, ...]
    streams: bool
    usage_refused: bool


def show(console: Console, diagnosis: Diagnosis) -> None:
    """Print the findings, the row and the settings."""
    title = Text(as_text(f"{diagnosis.model} at {diagnosis.base_url}"), "table.title")
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("examined", no_wrap=True)
    table.add_column("verdict")
    table.add_column("evidence")
    for finding in diagnosis.findings:
        verdict = Text(as_text(finding.verdict), _COLORS.get(finding.verdict, ""))
        table.add_row(finding.name, verdict, Text(as_text(finding.evidence)))
    console.print(table)
    for heading, text in (
        ("The row for stopping_core/providers.toml", row_as_toml(diagnosis)),
        ("LangChain", langchain(diagnosis)),
        ("LlamaIndex", llama_index(diagnosis)),
    ):
        console.print(f"\n[bold]{heading}[/]")
        console.print(as_text(text), markup=False, emoji=False, highlight=False, soft_wrap=True)


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return the diagnosis as JSON's types."""
    return {
        "base_url": diagnosis.base_url,
        "model": diagnosis.model,
        "findings": [
            {
                "name": finding.name,
                "verdict": finding.verdict,
                "evidence": finding.evidence,
                "figures": dict(finding.figures),
            }
            for finding in diagnosis.findings
        ],
        "row": {name: _plain(getattr(diagnosis.row, name)) for name in _ROW},
        "measured": sorted(diagnosis.measured),
        "langchain": {"inner": _inner(diagnosis), "wrapper": _settings(diagnosis, "langchain")},
        "llama_index": {"wrapper": _settings(diagnosis, "llama_index")},
        "toml": row_as_toml(diagnosis),
    }


def row_as_toml(diagnosis: Diagnosis) -> str:
    """Write the row; what was not measured says so.

    An address of one's own network stands for any server there, so that its row names no host.
    """
    host = urlsplit(diagnosis.base_url).hostname or ""
    when = datetime.now(UTC).date()
    lines = ["[[provider]]", f"name = {_toml(host)}"]
    if _is_public(host):
        lines.append(f"hosts = {_toml([host])}")
    else:
        lines.insert(0, f"# No hosts: any server may be at {host}. Use the settings below.")
    for name in _ROW:
        value = _plain(getattr(diagnosis.row, name))
        if name == "prefill_kwargs" and not value:
            continue
        note = "" if name in {*diagnosis.measured, "prefill_kwargs"} else "  # not measured"
        lines.append(f"{name} = {_toml(value)}{note}")
    lines.append(f"source = {_toml(f'stopping doctor on {diagnosis.model}, {when}')}")
    return "\n".join(lines)


def _is_public(host: str) -> bool:
    """Whether a name or an address means the same server everywhere.

    Examples:
        >>> [_is_public(host) for host in ("api.groq.com", "10.0.0.7", "localhost", "gpu.lan")]
        [True, False, False, False]
    """
    try:
        return ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith(_PRIVATE)


_OURS = {"api_key": "KEY", "max_retries": 0}
"""The clients want a key even where the server wants none; the wrapper retries by itself."""


def langchain(diagnosis: Diagnosis) -> str:
    """Write the wrapper as it is to be set up in LangChain."""
    inner = _arguments({"base_url": diagnosis.base_url, "model": diagnosis.model, **_OURS})
    inner += _arguments(_inner(diagnosis))
    outer = _arguments(_settings(diagnosis, "langchain"))
    return _call("AdaptiveChatModel", [f"inner=ChatOpenAI({', '.join(inner)})", *outer])


def llama_index(diagnosis: Diagnosis) -> str:
    """Write the wrapper as it is to be set up in LlamaIndex."""
    inner = _arguments({"api_base": diagnosis.base_url, "model": diagnosis.model, **_OURS})
    inner.append("is_chat_model=True")
    outer = _arguments(_settings(diagnosis, "llama_index"))
    return _call("adaptive_llm", [f"OpenAILike({', '.join(inner)})", *outer], stopping="stopping")


def _call(name: str, arguments: list[str], *, stopping: str = "stopping=stopping") -> str:
    lines = "".join(f"    {one},\n" for one in (arguments[0], stopping, *arguments[1:]))
    return f"{name}(\n{lines})"


def _inner(diagnosis: Diagnosis) -> dict[str, Any]:
    """Settings of ChatOpenAI itself, where its defaults do not do."""
    settings: dict[str, Any] = {}
    if not diagnosis.streams:
        settings["disable_streaming"] = True
    elif diagnosis.usage_refused:
        settings["stream_usage"] = False
    return settings


def _settings(diagnosis: Diagnosis, framework: str) -> dict[str, Any]:
    """Settings of the wrapper, where what it would take by itself does not do."""
    row = diagnosis.row
    settings: dict[str, Any] = {"prefill": row.prefill}
    if row.prefill and row.prefill_kwargs:
        settings["prefill_kwargs"] = _plain(row.prefill_kwargs)
    # ChatOpenAI sends its max_tokens as max_completion_tokens; OpenAILike as it is.
    if framework == "langchain" and diagnosis.obeyed == ("max_tokens",):
        settings["budget_keyword"] = "extra_body.max_tokens"
    if framework == "llama_index" and diagnosis.obeyed == ("max_completion_tokens",):
        settings["budget_keyword"] = "max_completion_tokens"
    if not row.hang_up_ends_bill:
        settings["hang_up_ends_bill"] = False
    return settings


def _arguments(settings: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value!r}" for name, value in settings.items()]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _toml(value: Any) -> str:
    """Write a value as TOML, whose strings and arrays are JSON's.

    Examples:
        >>> _toml({"extra_body": {"continue": True}})
        '{ extra_body = { continue = true } }'
    """
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_toml(one)}' for key, one in value.items())} }}"
    return json.dumps(value)
