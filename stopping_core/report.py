"""What was done for an answer, as plain values that JSON can hold."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from stopping_core.results import Completion


def report(completion: Completion) -> dict[str, Any]:
    """Describe a completion without its text: what integrations put under ``"stopping"``.

    Returns:
        ``request_id``, by which feedback names the request; ``mode``, ``reason``, ``complete``,
        ``verdict``, ``finish_reason``, ``tokens`` (as in :class:`~stopping_core.types.Usage`),
        ``seconds``, ``attempts`` (the ledger), ``would_stop`` (the checkpoint of a shadow stop, or
        None), ``audited`` (whether the call went on behind its stop, unseen) and ``note``: what the
        reader has to know beside the figures, or ``""``.
    """
    place = completion.would_stop
    return {
        "request_id": completion.request_id,
        "mode": completion.mode,
        "reason": completion.reason,
        "complete": completion.complete,
        "verdict": completion.verdict.reason,
        "finish_reason": completion.finish_reason,
        "tokens": asdict(completion.usage),
        "seconds": round(completion.seconds, 3),
        "attempts": [asdict(attempt) for attempt in completion.attempts],
        "would_stop": None if place is None else asdict(place) | {"boundary": int(place.boundary)},
        "audited": completion.audit is not None and completion.mode == "active",
        "note": _note(completion),
    }


def _note(completion: Completion) -> str:
    return "; ".join(filter(None, (_note_of_bill(completion), _note_of_certificate(completion))))


def _note_of_certificate(completion: Completion) -> str:
    if not completion.uncertified:
        return ""
    return f"not certified: {completion.uncertified}"


def _note_of_bill(completion: Completion) -> str:
    if completion.hang_up_ends_bill or not completion.usage.unseen:
        return ""
    return (
        "a hang-up does not end the bill with this provider, so the budget was set up front; up to "
        f"{completion.usage.unseen} tokens were billed unseen"
    )
