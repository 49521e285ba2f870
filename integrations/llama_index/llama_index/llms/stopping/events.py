"""The instrumentation event that tells of a stop."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from pydantic import Field

from stopping_core.completeness import broke_off, is_blocked
from stopping_core.protocols import CompletenessCheck, Hook
from stopping_core.report import report
from stopping_core.results import Attempt, Completion
from stopping_core.types import Request

StopKind: TypeAlias = Literal["cut", "continued", "given up", "would cut"]

dispatcher = get_dispatcher(__name__)


class GenerationStopEvent(BaseEvent):
    """What an adaptive LLM did with a request. None comes where it left the request as it was.

    There is one for each request, when it is over: it was cut; or it took more than one call; or it
    ended incomplete, whether it then raises or not; or, in ``shadow`` mode, it would have been cut.
    A reader who leaves a stream early makes no event. It holds neither the prompt nor the answer:
    of a check it tells the name and of an error the type, for their words may quote from them. Its
    span is that of the LLM's method.

    Args:
        kind: ``given up`` where the answer is not complete; else ``cut``, also after several calls;
            ``continued`` where it was completed by further calls; ``would cut`` in shadow mode.
        reason: The policy's reason for a cut; what ends at the place, ``sentence`` or ``json``, for
            one in shadow mode; else the type of the last error, the finish reason of a call that
            broke off, or the name of the completeness check.
        complete: Whether the completeness check passed.
        tokens: Output tokens of all calls.
        attempts: Calls.
        model: The inner LLM's name of its model.
        report: What the response has under ``"stopping"``, see :func:`stopping_core.report.report`,
            with such reasons in place of verdicts' and errors' words.
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


def telling(model: str, check: CompletenessCheck, span_id: str | None) -> Hook:
    """Make the hook that dispatches the event of a request.

    Args:
        model: The inner LLM's name of its model.
        check: The completeness check.
        span_id: The span in which the LLM was asked; a stream is often read in another.
    """
    name = str(getattr(check, "__name__", type(check).__name__)).lstrip("_")

    def tell(request: Request, completion: Completion) -> None:
        kind = _kind(completion)
        if kind is None:
            return
        event = GenerationStopEvent(
            kind=kind,
            reason=_reason(completion, name),
            complete=completion.complete,
            tokens=completion.usage.generated,
            attempts=len(completion.attempts),
            model=model,
            report=_report(completion, name),
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


def _reason(completion: Completion, check: str) -> str:
    if completion.reason:
        return completion.reason
    if completion.complete and (place := completion.would_stop) is not None:
        return (place.boundary.name or "").lower()
    lacking = [one for one in completion.attempts if one.verdict and not one.verdict.complete]
    return _cause(lacking[-1], check) if lacking else ""


def _cause(attempt: Attempt, check: str) -> str:
    """What ended an attempt, or judged it, in words that hold nothing of prompt or answer."""
    if attempt.error:
        return attempt.error.partition(":")[0]
    if attempt.reason:
        return attempt.reason
    finish = attempt.finish_reason
    return (finish or "broken off") if broke_off(finish) or is_blocked(finish) else check


def _report(completion: Completion, check: str) -> dict[str, Any]:
    told, cause = report(completion), ""
    for attempt, line in zip(completion.attempts, told["attempts"], strict=True):
        cause = _cause(attempt, check)
        line["error"] = cause if attempt.error else ""
        if line["verdict"] and line["verdict"]["reason"]:
            line["verdict"]["reason"] = cause
    told["verdict"] = cause if told["verdict"] else ""
    return told
