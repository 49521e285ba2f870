"""The instrumentation event that tells of a stop."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from pydantic import Field

from stopping_core.protocols import Hook
from stopping_core.report import report
from stopping_core.types import Completion, Request

StopKind: TypeAlias = Literal["cut", "continued", "given up", "would cut"]

dispatcher = get_dispatcher(__name__)


class GenerationStopEvent(BaseEvent):
    """What an adaptive LLM did with a request. None comes where it left the request as it was.

    There is one for each request, when it is over: it was cut; or it took more than one call; or it
    ended incomplete, whether it then raises or not; or, in ``shadow`` mode, it would have been cut.
    A reader who leaves a stream early makes no event. It holds neither the prompt nor the answer.
    Its span is that of the LLM's method.

    Args:
        kind: ``given up`` where the answer is not complete; else ``cut``, also after several calls;
            ``continued`` where it was completed by further calls; ``would cut`` in shadow mode.
        reason: The policy's reason for a cut; what ends at the place, ``sentence`` or ``json``, for
            one in shadow mode; else what was missing.
        complete: Whether the completeness check passed.
        tokens: Output tokens of all calls.
        attempts: Calls.
        model: The inner LLM's name of its model.
        report: What the response has under ``"stopping"``, see :func:`stopping_core.report.report`.
    """

    kind: StopKind = Field(description="What was done.")
    reason: str = Field(description="Why.")
    complete: bool = Field(description="Whether the completeness check passed.")
    tokens: int = Field(description="Output tokens of all calls.")
    attempts: int = Field(description="Calls.")
    model: str = Field(description="The inner LLM's name of its model.")
    report: dict[str, Any] = Field(description="The whole account, as plain values.")

    @classmethod
    def class_name(cls) -> str:
        return "GenerationStopEvent"


def telling(model: str, span_id: str | None) -> Hook:
    """Make the hook that dispatches the event of a request.

    Args:
        model: The inner LLM's name of its model.
        span_id: The span in which the LLM was asked; a stream is often read in another.
    """

    def tell(request: Request, completion: Completion) -> None:
        kind = _kind(completion)
        if kind is None:
            return
        event = GenerationStopEvent(
            kind=kind,
            reason=_reason(completion),
            complete=completion.complete,
            tokens=completion.usage.generated,
            attempts=len(completion.attempts),
            model=model,
            report=report(completion),
            span_id=span_id,
        )
        dispatcher.event(event)

    return tell


def _kind(completion: Completion) -> StopKind | None:
    if completion.attempts and completion.attempts[-1].error.startswith("abandoned"):
        return None
    if not completion.complete:
        return "given up"
    if completion.reason:
        return "cut"
    if len(completion.attempts) > 1:
        return "continued"
    return None if completion.would_stop is None else "would cut"


def _reason(completion: Completion) -> str:
    if completion.reason:
        return completion.reason
    if completion.complete and (place := completion.would_stop) is not None:
        return (place.boundary.name or "").lower()
    verdicts = [attempt.verdict for attempt in completion.attempts if attempt.verdict is not None]
    lacking = [verdict.reason for verdict in verdicts if not verdict.complete]
    return lacking[-1] if lacking else ""
