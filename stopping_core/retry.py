"""Drive a session over a model: tenacity decides whether to call again, sync and async alike."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception,
    retry_if_result,
    wait_random_exponential,
)

from stopping_core.answer import Emission
from stopping_core.errors import BudgetExhausted, TransportFailed
from stopping_core.protocols import AsyncBackend, Backend
from stopping_core.session import Session
from stopping_core.types import Call, Completion, Step

logger = logging.getLogger(__name__)

_TRANSIENT_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_TRANSIENT_NAMES = frozenset(
    {
        "APIConnectionError",  # openai, anthropic
        "ClientConnectionError",  # aiohttp
        "ClientPayloadError",
        "ConnectionError",  # requests
        "Timeout",
        "TransportError",  # httpx
    }
)


def is_transient(error: BaseException) -> bool:
    """Whether a transport error may pass: a broken connection, a time-out, HTTP 429 or 5xx.

    Client libraries are told by the shape of their errors, so that none has to be imported: a
    ``status_code``, their own or their response's, or a base class with one of their names.
    """
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", getattr(response, "status_code", None))
    if isinstance(status, int):
        return status in _TRANSIENT_STATUS
    return any(base.__name__ in _TRANSIENT_NAMES for base in type(error).__mro__)


def stream(
    session: Session,
    backend: Backend,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Generator[Emission, None, Completion]:
    """Run a session, yielding what each step settles.

    Args:
        session: The request. A session runs once.
        backend: Makes one call and yields its steps; closing it must hang up.
        clock: Seconds, monotonic.
        sleep: Waits between calls after a transport error.

    Returns:
        The completion, as the generator's value; ``session.completion`` has it as well.

    Raises:
        BudgetExhausted: No complete answer, and ``on_exhausted="raise"``.
        TransportFailed: A call failed for good in the middle of the only answer there is, or
            ``on_exhausted="raise"``. Both carry what came until then.
        Exception: The provider's own, where it failed before anything was generated.
    """
    for attempt in Retrying(sleep=sleep, **_rules(session)):
        wire = _Wire()
        call = session.next_call(clock())
        try:
            with closing(_received(backend, call, wire)) as steps:
                for step in steps:
                    emission = session.feed(step, clock())
                    if emission.text or emission.reasoning:
                        yield emission
                    if emission.stop:
                        break
        except BaseException as error:
            session.abandon(error, clock())
            raise
        emission = _ended(session, wire, clock())
        if emission.text or emission.reasoning:
            yield emission
        _settle(session, wire, attempt.retry_state)
    return _finished(session)


async def astream(
    session: Session,
    backend: AsyncBackend,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncGenerator[Emission, None]:
    """Run a session as :func:`stream` does; ``session.completion`` has what came of it."""
    async for attempt in AsyncRetrying(sleep=sleep, **_rules(session)):
        wire = _Wire()
        call = session.next_call(clock())
        try:
            async with aclosing(_areceived(backend, call, wire)) as steps:
                async for step in steps:
                    emission = session.feed(step, clock())
                    if emission.text or emission.reasoning:
                        yield emission
                    if emission.stop:
                        break
        except BaseException as error:
            session.abandon(error, clock())
            raise
        emission = _ended(session, wire, clock())
        if emission.text or emission.reasoning:
            yield emission
        _settle(session, wire, attempt.retry_state)
    _finished(session)


def run(
    session: Session,
    backend: Backend,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Completion:
    """Run a session to its end; arguments and errors as in :func:`stream`."""
    for _ in stream(session, backend, clock=clock, sleep=sleep):
        pass
    return session.completion


async def arun(
    session: Session,
    backend: AsyncBackend,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Completion:
    """Run a session to its end; arguments and errors as in :func:`stream`."""
    async for _ in astream(session, backend, clock=clock, sleep=sleep):
        pass
    return session.completion


@dataclass(slots=True)
class _Wire:
    """What went wrong on the model's side of a call."""

    error: Exception | None = None


def _received(backend: Backend, call: Call, wire: _Wire) -> Generator[Step, None, None]:
    """Yield the steps of a call; note an error of the model's side, and no other's, as its end."""
    try:
        with closing(backend(call)) as steps:
            yield from steps
    except Exception as error:
        wire.error = error


async def _areceived(backend: AsyncBackend, call: Call, wire: _Wire) -> AsyncGenerator[Step, None]:
    try:
        async with aclosing(backend(call)) as steps:
            async for step in steps:
                yield step
    except Exception as error:
        wire.error = error


def _rules(session: Session) -> dict[str, Any]:
    """The retry, as tenacity takes it: on an unfinished result or a transient error, bounded."""
    first, largest = session.stopping.backoff
    backoff = wait_random_exponential(multiplier=first, max=largest)

    def wait(state: RetryCallState) -> float:
        failed = state.outcome is not None and state.outcome.failed
        return float(backoff(state)) if failed else 0.0

    def stop(state: RetryCallState) -> bool:
        limit = session.stopping.max_seconds
        late = limit is not None and session.ledger.seconds + state.upcoming_sleep >= limit
        return late or session.exhausted

    return {
        "retry": retry_if_result(lambda done: not done) | retry_if_exception(is_transient),
        "stop": stop,
        "wait": wait,
        "retry_error_callback": lambda state: None,
    }


def _ended(session: Session, wire: _Wire, now: float) -> Emission:
    return session.end(now) if wire.error is None else session.fail(wire.error, now)


def _settle(session: Session, wire: _Wire, state: RetryCallState) -> None:
    """Tell tenacity how a call went. After an error that will not pass there is no other call."""
    error = wire.error
    if error is None or session.error is not error:  # none, or one after the answer had ended
        state.set_result(session.done)
        return
    if is_transient(error):
        state.set_exception((type(error), error, error.__traceback__))
        return
    session.done = True
    state.set_result(True)


def _finished(session: Session) -> Completion:
    completion = session.completion
    _tell(session, completion)
    attempts = completion.attempts
    answered = any(attempt.finish_reason is not None for attempt in attempts)
    lenient = session.stopping.on_exhausted == "return"
    if attempts[-1].error and session.error is not None and not (answered and lenient):
        if not completion.usage.generated:
            raise session.error  # nothing is lost, and the caller may know what to do about it
        raise TransportFailed(
            f"call {len(attempts)} failed for good, after {len(completion.text)} characters: "
            f"{attempts[-1].error}",
            completion,
        ) from session.error
    if not completion.complete and not lenient:
        raise BudgetExhausted(
            f"no complete answer after {len(completion.attempts)} attempts and "
            f"{completion.usage.generated} tokens: {completion.verdict.reason}",
            completion,
        )
    return completion


def _tell(session: Session, completion: Completion) -> None:
    """Call the hooks. An answer that was paid for is not lost to a hook that fails."""
    for hook in session.stopping.hooks:
        try:
            hook(session.request, completion)
        except Exception:
            logger.exception("a hook failed: %r", hook)
