"""Drive a session over a model: tenacity decides whether to call again, sync and async alike."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing, closing
from typing import Any

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception,
    retry_if_result,
    wait_random_exponential,
)

from stopping_core.errors import BudgetExhausted, TransportFailed
from stopping_core.protocols import AsyncBackend, Backend
from stopping_core.session import Emission, Session
from stopping_core.types import Completion

_TRANSIENT_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_TRANSIENT_NAMES = frozenset({"TransportError", "APIConnectionError"})


def is_transient(error: BaseException) -> bool:
    """Whether a transport error may pass: a broken connection, a time-out, HTTP 429 or 5xx.

    Client libraries are told by the shape of their errors, so that none has to be imported: a
    ``status_code``, or a base class named as httpx and openai name theirs.
    """
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    status = getattr(error, "status_code", None)
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
        TransportFailed: The connection failed for good. Both carry what came until then.
    """
    for attempt in Retrying(sleep=sleep, **_rules(session)):
        state = attempt.retry_state
        try:
            with closing(backend(session.next_call(clock()))) as steps:
                for step in steps:
                    emission = session.feed(step, clock())
                    if emission.text or emission.reasoning:
                        yield emission
                    if emission.stop:
                        break
            if (emission := session.end(clock())).text:
                yield emission
            state.set_result(session.done)
        except Exception as error:
            if (emission := _failed(session, state, error, clock())).text:
                yield emission
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
        state = attempt.retry_state
        try:
            async with aclosing(backend(session.next_call(clock()))) as steps:
                async for step in steps:
                    emission = session.feed(step, clock())
                    if emission.text or emission.reasoning:
                        yield emission
                    if emission.stop:
                        break
            if (emission := session.end(clock())).text:
                yield emission
            state.set_result(session.done)
        except Exception as error:
            if (emission := _failed(session, state, error, clock())).text:
                yield emission
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


def _rules(session: Session) -> dict[str, Any]:
    """The retry, as tenacity takes it: on an unfinished result or a transient error, bounded."""
    first, largest = session.stopping.backoff
    backoff = wait_random_exponential(multiplier=first, max=largest)

    def wait(state: RetryCallState) -> float:
        failed = state.outcome is not None and state.outcome.failed
        return float(backoff(state)) if failed else 0.0

    return {
        "retry": retry_if_result(lambda done: not done) | retry_if_exception(is_transient),
        "stop": lambda state: session.exhausted,
        "wait": wait,
        "retry_error_callback": lambda state: None,
    }


def _failed(session: Session, state: RetryCallState, error: Exception, now: float) -> Emission:
    """Book an error of a call. What will not pass goes up at once, with the partial text if any."""
    if isinstance(error, BudgetExhausted):
        raise error
    emission = session.fail(error, now)
    if not is_transient(error):
        if not session.completion.text:
            raise error
        raise TransportFailed(
            f"the call failed after {len(session.completion.text)} characters: {error!r}",
            session.completion,
        ) from error
    state.set_exception((type(error), error, error.__traceback__))
    return emission


def _finished(session: Session) -> Completion:
    completion = session.completion
    for hook in session.stopping.hooks:
        hook(session.request, completion)
    last = completion.attempts[-1]
    if last.error:
        raise TransportFailed(
            f"the transport failed {len(completion.attempts)} times, last with {last.error}",
            completion,
        ) from session.error
    if not completion.complete and session.stopping.on_exhausted == "raise":
        raise BudgetExhausted(
            f"no complete answer after {len(completion.attempts)} attempts and "
            f"{completion.usage.generated} tokens: {completion.verdict.reason}",
            completion,
        )
    return completion
