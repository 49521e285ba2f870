"""What a hang-up does: how many tokens the server generates after it, and how long it all takes."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from statistics import median

from stopping_core.cli.doctor.counters import Counters, find_counters
from stopping_core.cli.doctor.endpoint import Endpoint, Reply
from stopping_core.cli.doctor.findings import (
    NO,
    REPETITIONS,
    STORY,
    UNMEASURED,
    YES,
    Finding,
    milliseconds,
)
from stopping_core.providers import Provider

STOPS = "stops after a hang-up"
LATENCY = "latency of a cut"

_SEEN = 12
_BUDGET = 128
_LEAST_BUDGET = 48
_LEFT_UNSTOPPED = 0.5  # of the tokens that were left: from there on the hang-up stopped nothing


@dataclass(slots=True)
class _Cuts:
    """What a few cuts came to.

    Args:
        left: Tokens of its budget that each call had left.
        after: Tokens that the server generated after the decision, cut by cut.
        control: Seconds from the decision until the caller had control again.
        idle: Seconds from the decision until the server was idle.
        problem: Why it could not be measured.
    """

    left: int
    after: list[float] = field(default_factory=list)
    control: list[float] = field(default_factory=list)
    idle: list[float] = field(default_factory=list)
    problem: str = ""

    def took(self, reply: Reply) -> bool:
        """Note a call. False, and why, if it was not cut."""
        if reply.cut is None or self.left <= 0:
            self.problem = reply.error or f"nothing was left to cut after {reply.chunks} chunks"
            return False
        self.control.append(reply.cut)
        return True


async def examine(endpoint: Endpoint, table: Provider, within: int) -> list[Finding]:
    """Hang up in the middle of a few answers.

    Whether the server stops is read from its own counters. A server that has none but answers one
    call at a time is measured by how long it keeps a next call waiting. Of others nothing can be
    known from outside; for those, what the provider table says is told.

    Args:
        endpoint: The endpoint.
        table: What the provider table says of its host.
        within: Tokens after the hang-up within which the server must stop.
    """
    if not endpoint.streams:
        why = "it does not stream: there is nothing to hang up on"
        return [Finding(STOPS, UNMEASURED, why)]
    counters = None if endpoint.headroom else await find_counters(endpoint)
    if endpoint.headroom:
        cuts, source = await _unwatched(endpoint), ""
        cuts.problem = cuts.problem or "it thinks in silence: its tokens cannot be told apart"
    elif counters is not None:
        cuts, source = await _by_counter(endpoint, counters), counters.source
    elif table.hosts:
        cuts, source = await _unwatched(endpoint), ""
        cuts.problem = cuts.problem or "a hosted service shows no counters"
    else:
        cuts, source = await _by_queue(endpoint), "the time that it kept a next call waiting"
    findings = [_stops(cuts, source, within, table)]
    if cuts.control:
        findings.append(_latency(cuts))
    return findings


def _stops(cuts: _Cuts, source: str, within: int, table: Provider) -> Finding:
    if cuts.problem:
        says = "stops" if table.hang_up_ends_bill else "does not stop"
        evidence = f"{cuts.problem}; the provider table says that {table.name} {says}"
        return Finding(STOPS, UNMEASURED, evidence)
    after, left = median(cuts.after), cuts.left
    ends = after < _LEFT_UNSTOPPED * left
    each = ", ".join(f"{tokens:.0f}" for tokens in cuts.after)
    evidence = f"{each} tokens after the decision, {left} were left; by {source}"
    if ends and after > within:
        evidence += f"; it stops, but not within {within}"
    return Finding(
        STOPS,
        YES if after <= within else NO,
        evidence,
        {"hang_up_ends_bill": ends},
        {"tokens_after_hang_up": round(after, 1), "tokens_left": left},
    )


def _latency(cuts: _Cuts) -> Finding:
    control = median(cuts.control)
    evidence = f"the caller has control after {milliseconds(control)}"
    figures = {"seconds_to_control": control}
    if cuts.idle:
        figures["seconds_to_idle"] = median(cuts.idle)
        evidence += f", the server is idle after {milliseconds(figures['seconds_to_idle'])}"
    evidence += f"; medians of {len(cuts.control)}"
    return Finding(LATENCY, milliseconds(control), evidence, figures=figures)


def _chunks(endpoint: Endpoint) -> int:
    """After how many chunks to hang up."""
    return max(1, round(_SEEN / endpoint.chunk_tokens))


def _left(endpoint: Endpoint, budget: int) -> int:
    return budget - _chunks(endpoint) * endpoint.chunk_tokens


async def _cut(endpoint: Endpoint, budget: int) -> Reply:
    return await endpoint.ask(STORY, budget, cut_after=_chunks(endpoint))


async def _unwatched(endpoint: Endpoint) -> _Cuts:
    """Cut without knowing what the server does."""
    cuts = _Cuts(_left(endpoint, _BUDGET))
    for _ in range(REPETITIONS):
        if not cuts.took(await _cut(endpoint, _BUDGET + endpoint.headroom)):
            break
    return cuts


async def _by_counter(endpoint: Endpoint, counters: Counters) -> _Cuts:
    cuts = _Cuts(_left(endpoint, _BUDGET))
    patience = min(endpoint.timeout, 2.0 + 1.5 * _BUDGET * endpoint.token_seconds)
    settled = await counters.settle(patience=patience)
    if settled.seconds is None:
        cuts.problem = f"other calls are running, by {counters.source}"
        return cuts
    for _ in range(REPETITIONS):
        reply = await _cut(endpoint, _BUDGET)
        if not cuts.took(reply):
            break
        floor = (settled.reading.generated or 0) + reply.counted
        settled = await counters.settle(floor=floor, patience=patience)
        generated = settled.reading.generated
        if generated is not None and generated < floor:
            cuts.problem = (
                f"{counters.source} counted {generated - floor + reply.counted} of the "
                f"{reply.counted} tokens seen: it leaves calls out that are hung up on"
            )
            break
        if settled.seconds is None:
            cuts.problem = f"the server did not come to rest within {patience:.0f} s"
            break
        cuts.idle.append((reply.cut or 0.0) + settled.seconds)
        if generated is None or endpoint.chunk_tokens > 1:  # what was seen is not known exactly
            cuts.after.append(math.ceil(settled.seconds / endpoint.token_seconds))
        else:
            cuts.after.append(generated - floor)
    return cuts


async def _by_queue(endpoint: Endpoint) -> _Cuts:
    """Measure by a next call, where the server answers one call at a time."""
    probes = [await _one_token(endpoint) for _ in range(REPETITIONS)]
    alone = median(seconds for _, seconds in probes)
    least = max(_LEAST_BUDGET, 4 * endpoint.chunk_tokens)
    budget = min(_BUDGET, max(least, math.ceil(4 * alone / endpoint.token_seconds)))
    problem = next((_failed(reply) for reply, _ in probes if reply.error), "")
    if problem := problem or await _unfit(endpoint, budget, alone):
        cuts = await _unwatched(endpoint)
        cuts.problem = cuts.problem or problem
        return cuts
    cuts = _Cuts(_left(endpoint, budget))
    for _ in range(REPETITIONS):
        if not cuts.took(await _cut(endpoint, budget)):
            break
        reply, seconds = await _one_token(endpoint)
        if reply.error:
            cuts.problem = _failed(reply)
            break
        waited = max(0.0, seconds - alone)
        cuts.idle.append(waited)
        cuts.after.append(round(waited / endpoint.token_seconds))
    return cuts


async def _one_token(endpoint: Endpoint) -> tuple[Reply, float]:
    """Make a short call; return what came, and the seconds until all of it had."""
    start = time.perf_counter()
    reply = await endpoint.ask(STORY, 1)
    return reply, time.perf_counter() - start


def _failed(reply: Reply) -> str:
    return f"it has no counters, and a short call failed: {reply.error}"


async def _unfit(endpoint: Endpoint, budget: int, alone: float) -> str:
    """Why a next call cannot tell; empty where one that comes during a long one has to wait for it.

    A long one that is over too soon cannot tell either.
    """
    start = time.perf_counter()
    long = asyncio.create_task(endpoint.ask(STORY, budget))
    await asyncio.sleep(alone)
    short, _ = await _one_token(endpoint)
    answered = time.perf_counter() - start
    reply = await long
    if short.error:
        return _failed(short)
    if not reply.error and 2 * alone < reply.last <= answered:
        return ""
    return "it has no counters, and does not answer one call at a time"
