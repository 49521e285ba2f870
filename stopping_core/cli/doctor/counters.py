"""A server's own counters: what it has generated, and whether it is still at work."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

from stopping_core.cli.doctor.endpoint import Endpoint

_POLL = 0.01
_QUIET = 0.3
_QUIET_TOKENS = 20


class Family(NamedTuple):
    """A kind of server, and the names of its two metrics."""

    server: str
    generated: str
    running: str


FAMILIES = (
    Family("llama.cpp", "llamacpp:tokens_predicted_total", "llamacpp:requests_processing"),
    Family("vLLM", "vllm:generation_tokens_total", "vllm:num_requests_running"),
)


class Reading(NamedTuple):
    """Tokens generated since the server's start, and requests at work; None where it says none."""

    generated: int | None
    running: int | None


class Settled(NamedTuple):
    """A reading that stands still, and the seconds until it did. None: it did not in time."""

    reading: Reading
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Counters:
    """Reads ``/metrics``, or ``/slots`` of a llama.cpp server that was started without metrics.

    Args:
        endpoint: Whose server it is.
        source: Where the figures come from, in words.
        family: The names of the metrics. None reads ``/slots``, which tells no total.
    """

    endpoint: Endpoint
    source: str
    family: Family | None

    async def read(self) -> Reading:
        """Read once. What cannot be read is None."""
        if self.family is None:
            return Reading(None, _busy_slots(await self.endpoint.page("/slots")))
        page = await self.endpoint.page("/metrics")
        return Reading(_metric(page, self.family.generated), _metric(page, self.family.running))

    async def settle(self, *, floor: int = 0, patience: float) -> Settled:
        """Read until nothing moves any more.

        Some servers count a call when it ends (llama.cpp), some while it runs; some leave the
        number of running calls as it was when the last one is aborted (vLLM issue 22545). So the
        count has to reach what the client saw and to stand still, for longer where calls are said
        to run.

        Args:
            floor: Tokens that the count has to reach.
            patience: Seconds to wait at most.
        """
        start = time.perf_counter()
        last = await self.read()
        changed = time.perf_counter()
        while True:
            now = time.perf_counter()
            counts = last.generated is not None
            idle = last.running == 0 or (last.running is None and counts)
            long_quiet = max(_QUIET, _QUIET_TOKENS * self.endpoint.token_seconds)
            reached = last.generated is None or last.generated >= floor
            quiet = now - changed >= (_QUIET if idle else long_quiet)
            if reached and quiet and (idle or counts):
                return Settled(last, changed - start)
            if now - start >= patience:
                return Settled(last, None)
            await asyncio.sleep(_POLL)
            if (reading := await self.read()) != last:
                last, changed = reading, time.perf_counter()


async def find_counters(endpoint: Endpoint) -> Counters | None:
    """Find the counters of the server behind an endpoint. None where it shows none."""
    page = await endpoint.page("/metrics")
    for family in FAMILIES:
        if _metric(page, family.generated) is not None:
            return Counters(endpoint, f"{family.server}'s own counter", family)
    if _busy_slots(await endpoint.page("/slots")) is not None:
        return Counters(endpoint, "llama.cpp's /slots", None)
    return None


def _metric(page: str | None, name: str) -> int | None:
    r"""The sum of a metric over its labels, from a page in Prometheus' text format.

    Examples:
        >>> _metric('a{n="x y"} 3.0\na{n="}"} 1.5e+01 1700000000\nab 7', "a")
        18
        >>> _metric("a none", "a") is None
        True
    """
    values = []
    for line in (page or "").splitlines():
        if line.startswith((f"{name} ", f"{name}{{")):
            try:
                values.append(int(float(line[len(name) :].rpartition("}")[2].split()[0])))
            except (ValueError, IndexError, OverflowError):
                continue
    return sum(values) if values else None


def _busy_slots(page: str | None) -> int | None:
    try:
        slots: Any = json.loads(page or "")
    except ValueError:
        return None
    if not (isinstance(slots, list) and slots and all(isinstance(slot, dict) for slot in slots)):
        return None
    if not all("is_processing" in slot for slot in slots):
        return None
    return sum(bool(slot["is_processing"]) for slot in slots)
