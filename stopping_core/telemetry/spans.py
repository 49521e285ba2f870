"""Show every request as a span, with one span below it for each call."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from stopping_core.errors import MissingPackage
from stopping_core.results import Attempt, Completion
from stopping_core.telemetry import conventions as names
from stopping_core.telemetry.attributes import billed, error_type, finish_reason, last_error
from stopping_core.types import Request

try:
    from opentelemetry import trace
    from opentelemetry.trace import SpanKind, Status, StatusCode
except ImportError as error:
    raise MissingPackage("opentelemetry-api", "telemetry") from error

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer
    from opentelemetry.util.types import AttributeValue

_TOKENS: Final = ("avoided", "retried", "discarded", "unseen", "probed", "reread")
_SECOND: Final = 1_000_000_000  # nanoseconds


def record_span(
    tracer: Tracer,
    request: Request,
    completion: Completion,
    shared: Mapping[str, str],
    *,
    bounded: Callable[[str, object], str],
    keep_texts: bool = False,
) -> None:
    """Record the span of a request that has ended just now, below the span that is current.

    It is made after the fact, so what the model's client does during the request does not come to
    stand below it. When each call began is reckoned from their lengths: time between calls is put
    behind the calls that failed, in equal parts, as that is where a driver waits.

    A transport error, or one of the user's own check, sets the status, with the class of the error
    and no message. A consumer that went away is no error. Of a verdict only is told whether it was
    complete: its reason may quote the answer or an error.

    Args:
        tracer: Records it.
        request: What was asked.
        completion: What came of it.
        shared: Attributes of the request that the metrics have as well.
        bounded: Says how the value of an attribute may be shown, by the attribute's name.
        keep_texts: Whether the prompt, as far as it is known, reasoning and answer are put on it,
            as the conventions' messages.
    """
    operation, model = shared[names.OPERATION], shared.get(names.MODEL)
    end = time.time_ns()
    start = end - int(completion.seconds * _SECOND)
    span = tracer.start_span(
        f"{operation} {model}" if model else operation,
        kind=SpanKind.CLIENT,
        attributes=dict(shared),
        start_time=start,
    )
    try:
        if not span.is_recording():
            return
        span.set_attributes(_described(request, completion, bounded))
        if keep_texts:
            span.set_attributes(_messages(request, completion))
        _set_error(span, last_error(completion), bounded)
        below = trace.set_span_in_context(span)
        for attempt, began, ended in _placed(completion, start):
            child = tracer.start_span(
                f"attempt {attempt.kind}",
                context=below,
                attributes=_described_attempt(attempt, bounded),
                start_time=began,
            )
            _set_error(child, error_type(attempt.error), bounded)
            child.end(ended)
    finally:
        span.end(end)


def _described(
    request: Request, completion: Completion, bounded: Callable[[str, object], str]
) -> dict[str, AttributeValue]:
    usage, tokens = completion.usage, billed(completion)
    why = finish_reason(
        completion.finish_reason, completion.attempts[-1].error if completion.attempts else ""
    )
    described: dict[str, AttributeValue] = {
        names.OUTPUT_TOKENS: tokens["output"],
        names.REASONING_TOKENS: sum(attempt.reasoning for attempt in completion.attempts),
        names.FINISH_REASONS: [bounded("stopping.finish_reason", why)],
        "stopping.reason": bounded("stopping.reason", completion.reason or "none"),
        "stopping.complete": completion.complete,
        "stopping.audited": completion.audit is not None,
        "stopping.uncertified": bool(completion.uncertified),
        "stopping.estimated": usage.estimated,
        "stopping.attempts": len(completion.attempts),
    }
    if "input" in tokens:
        described[names.INPUT_TOKENS] = tokens["input"]
    if request.max_tokens is not None:
        described[names.MAX_TOKENS] = request.max_tokens
    if request.expects in ("text", "json"):
        described[names.OUTPUT_TYPE] = request.expects
    if completion.risk is not None:
        described["stopping.level"] = completion.risk
    if completion.would_stop is not None:
        described["stopping.would_stop.tokens"] = completion.would_stop.tokens
    return described | {f"stopping.tokens.{name}": getattr(usage, name) for name in _TOKENS}


def _described_attempt(
    attempt: Attempt, bounded: Callable[[str, object], str]
) -> dict[str, AttributeValue]:
    why = finish_reason(attempt.finish_reason, attempt.error)
    described: dict[str, AttributeValue] = {
        "stopping.attempt.kind": attempt.kind,
        "stopping.attempt.generated": attempt.generated,
        "stopping.attempt.discarded": attempt.discarded,
        "stopping.attempt.reason": bounded("stopping.reason", attempt.reason or "none"),
        "stopping.attempt.finish_reason": bounded("stopping.finish_reason", why),
    }
    if attempt.budget is not None:
        described["stopping.attempt.budget"] = attempt.budget
    if attempt.verdict is not None:
        described["stopping.attempt.complete"] = attempt.verdict.complete
    return described


def _set_error(span: Span, error: str, bounded: Callable[[str, object], str]) -> None:
    if not error:
        return
    kind = bounded(names.ERROR_TYPE, error)
    span.set_attribute(names.ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR, kind))


def _messages(request: Request, completion: Completion) -> dict[str, AttributeValue]:
    """Prompt and answer as JSON, which is ASCII here: half a surrogate breaks no exporter."""
    kept: dict[str, AttributeValue] = {}
    if request.prompt:
        asked = {"role": "user", "parts": [_part("text", request.prompt)]}
        kept[names.INPUT_MESSAGES] = json.dumps([asked])
    said = {
        "role": "assistant",
        "parts": [
            _part(kind, text)
            for kind, text in (("reasoning", completion.reasoning), ("text", completion.text))
            if text
        ],
        "finish_reason": completion.finish_reason or "error",
    }
    kept[names.OUTPUT_MESSAGES] = json.dumps([said])
    return kept


def _part(kind: str, content: str) -> dict[str, Any]:
    return {"type": kind, "content": content}


def _placed(completion: Completion, start: int) -> Iterator[tuple[Attempt, int, int]]:
    """The calls with when they began and ended, nanoseconds."""
    attempts = completion.attempts
    between = attempts[:-1]
    waiting = max(0.0, completion.seconds - sum(attempt.seconds for attempt in attempts))
    failed = sum(bool(attempt.error) for attempt in between)
    wait = waiting / (failed or len(between) or 1)
    at = 0.0
    for attempt in attempts:
        until = at + attempt.seconds
        yield attempt, start + int(at * _SECOND), start + int(until * _SECOND)
        at = until + (wait if attempt.error or not failed else 0.0)
