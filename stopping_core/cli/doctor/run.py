"""Examine an endpoint from the first answer to the last hang-up, and print what came of it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from typing import Any

from rich.console import Console

from stopping_core.cli.doctor import report
from stopping_core.cli.doctor.endpoint import Endpoint, Stalled
from stopping_core.cli.doctor.findings import UNMEASURED, Finding
from stopping_core.cli.doctor.hang_up import examine
from stopping_core.cli.doctor.probes import budgets, logprobs, prefill, reach, streaming
from stopping_core.cli.doctor.report import Diagnosis
from stopping_core.providers import find_provider

_CLIENT = ("ChatOpenAI",)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line was told; see ``stopping doctor --help``."""

    base_url: str
    model: str
    api_key: str = field(repr=False)
    as_json: bool
    within: int
    timeout: float


def run(settings: Settings) -> None:
    """Examine the endpoint and print the diagnosis.

    Raises:
        ValueError: An argument is not what it should be.
        Unreachable: The endpoint cannot be reached, refuses the key or does not know the model.
    """
    endpoint = Endpoint(settings.base_url, settings.model, settings.api_key, settings.timeout)
    console = Console()
    if settings.as_json:
        diagnosis = asyncio.run(_diagnose(endpoint, settings.within))
        print(json.dumps(report.as_json(diagnosis), indent=2))
        return
    with console.status(f"Asking {settings.base_url}"):
        diagnosis = asyncio.run(_diagnose(endpoint, settings.within))
    report.show(console, diagnosis)


async def _diagnose(endpoint: Endpoint, within: int) -> Diagnosis:
    table = find_provider(_CLIENT, endpoint.base_url)
    findings: list[Finding] = []
    obeyed: tuple[str, ...] = ()
    usage_refused = False
    async with endpoint:
        findings.append(await reach(endpoint))
        try:
            found, obeyed = await budgets(endpoint)
            findings += found
            found, usage_refused = await streaming(endpoint)
            findings += found
            findings.append(await logprobs(endpoint))
            findings.append(await prefill(endpoint))
            findings += await examine(endpoint, table, within)
        except Stalled:
            findings.append(Finding("all else", UNMEASURED, "two calls stalled"))
    measured: dict[str, Any] = {}
    for finding in findings:
        measured |= finding.row
    return Diagnosis(
        base_url=endpoint.base_url,
        model=endpoint.model,
        findings=tuple(findings),
        row=replace(table, **measured),
        measured=frozenset(measured),
        obeyed=obeyed,
        streams=endpoint.streams,
        usage_refused=usage_refused,
    )
