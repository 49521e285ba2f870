"""The places of a run at which a policy may be asked, and what signals read there."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from stopping_core.policies.learned.evidence import Evidence
from stopping_core.protocols import Signal
from stopping_core.segmenter import Segmenter
from stopping_core.traces.run import Run
from stopping_core.traces.stream import Tags, stream, thinking_tokens
from stopping_core.types import Channel, Probe, Step


def walk(run: Run, channel: Channel, tags: Tags) -> NDArray[np.int64]:
    """List the places of a run, in order: each mark of the segmenter and each token.

    Returns:
        Tokens of the channel, characters of the channel, boundary, raw tokens up to the place, raw
        tokens that had come.  # (rows, 5)
    """
    rows: list[tuple[int, int, int, int, int]] = []
    tokens = offset = 0
    for fed, other, piece in pieces(run, channel, tags):
        tokens += piece.tokens
        offset += len(piece.text)
        if _is_place(piece):
            rows.append((tokens, offset, int(piece.boundary), min(fed, tokens + other), fed))
    return np.array(rows, dtype=np.int64).reshape(-1, 5)


def read(
    runs: Sequence[Run], signals: Sequence[Signal], channel: Channel, tags: Tags
) -> list[NDArray[np.float64]]:
    """Feed the runs to copies of some signals, and take their readings at the places of `walk`.

    Returns:
        A column a signal, NaN where it has no reading.  # (rows,) each
    """
    copies = [copy.deepcopy(signal) for signal in signals]
    columns: list[list[float]] = [[] for _ in signals]
    pairs = list(zip(copies, columns, strict=True))
    for run in runs:
        request = run.request()
        for signal in copies:
            signal.reset(request)
        for _, _, piece in pieces(run, channel, tags):
            place = _is_place(piece)
            for signal, column in pairs:
                signal.update(piece)
                if place:
                    value = signal.value
                    column.append(math.nan if value is None else value)
    return [np.array(column, dtype=np.float64) for column in columns]


def read_rows(
    runs: Sequence[Run],
    evidence: Evidence,
    channel: Channel,
    tags: Tags,
    wanted: Sequence[NDArray[np.bool_]],
    probes: Sequence[Probe] | None = None,
) -> NDArray[np.float64]:
    """Feed the runs to a copy of some evidence, and take its features at places of `walk`.

    Args:
        runs: The runs.
        evidence: What is read.
        channel: As of `walk`.
        tags: Likewise.
        wanted: Which of the places of each run.  # (places,) each
        probes: One a wanted place, for their features beside the others.

    Returns:
        A row a wanted place.  # (k, d)
    """
    reader = copy.deepcopy(evidence)
    rows: list[tuple[float, ...]] = []
    width = len(evidence.names) + (0 if probes is None else len(evidence.probe_names))
    for run, where in zip(runs, wanted, strict=True):
        left = iter(where.tolist())
        reader.reset(run.request())
        for _, _, piece in pieces(run, channel, tags):
            reader.update(piece)
            if _is_place(piece) and next(left):
                more = () if probes is None else reader.of_probe(probes[len(rows)])
                rows.append((*reader.row(), *more))
    return np.array(rows, dtype=np.float64).reshape(-1, width)


def pieces(run: Run, channel: Channel, tags: Tags) -> Iterator[tuple[int, int, Step]]:
    """Yield what the engine of a channel is fed, as the segmenter cuts it.

    Yields:
        Raw tokens that had come, tokens of the other channel by then, and the piece.
    """
    segmenter, other = Segmenter(), 0
    over = thinking_tokens(run, tags) if channel == "reasoning" else math.inf
    for fed, step in stream(run, tags):
        if fed >= over:
            return
        if step.channel == channel:
            for piece in segmenter.feed(step):
                yield fed, other, piece
        else:
            other += step.tokens


def _is_place(piece: Step) -> bool:
    """Whether a policy may be asked after a piece: at a mark, and where a count may fall due."""
    return bool(piece.boundary) or piece.tokens > 0
