"""What was done for an answer, as plain values that JSON can hold."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from stopping_core.types import Completion


def report(completion: Completion) -> dict[str, Any]:
    """Describe a completion without its text: what integrations put under ``"stopping"``.

    Returns:
        ``mode``, ``reason``, ``complete``, ``verdict``, ``finish_reason``, ``tokens`` (as in
        :class:`~stopping_core.types.Usage`), ``seconds``, ``attempts`` (the ledger) and
        ``would_stop`` (the checkpoint of a shadow stop, or None).
    """
    place = completion.would_stop
    return {
        "mode": completion.mode,
        "reason": completion.reason,
        "complete": completion.complete,
        "verdict": completion.verdict.reason,
        "finish_reason": completion.finish_reason,
        "tokens": asdict(completion.usage),
        "seconds": round(completion.seconds, 3),
        "attempts": [asdict(attempt) for attempt in completion.attempts],
        "would_stop": None if place is None else asdict(place) | {"boundary": int(place.boundary)},
    }
