"""Drive a session over a model: tenacity decides whether to call again, sync and async alike."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing, closing, suppress
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
from stopping_core.faults import is_transient, retry_after, unquoted
from stopping_core.protocols import AsyncBackend, Backend
from stopping_core.results import Call, Completion
from stopping_core.session import Session
from stopping_core.types import Step

logger = logging.getLogger(__name__)

LONGEST_WAIT = 60.0
"""Seconds that a server may ask us to wait (``Retry-After``). Longer than that is another day."""


def stream(
    session: Session,
    backend: Backend,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    on_retry: Callable[[RetryCallState], None] | None = None,
) -> Generator[Emission, None, Completion]:
    """Run a session, yielding what each step settles.

    Args:
        session: The request. A session runs once.
        backend: Makes one call and yields its steps; closing it must hang up.
        clock: Seconds, monotonic.
        sleep: Waits between calls after a transport error.
        on_retry: Called before every further call with tenacity's state: its outcome is False after
            an incomplete answer, and the error after a failed call. What it raises is logged.

    Returns:
        The completion, as the generator's value; ``session.completion`` has it as well.

    Raises:
        BudgetExhausted: No complete answer, and ``on_exhausted="raise"``.
        TransportFailed: A call failed for good in the middle of the only answer there is, or
            ``on_exhausted="raise"``. Both carry what came until then.
        Exception: The provider's own, where it failed before anything was generated. What the
            user's own check, budget or signal raises goes up as it is; ``session.completion`` and
            the hooks then have what came until there, as they have when the consumer goes away.
    """
    told = None if on_retry is None else _teller(on_retry)
    try:
        for attempt in Retrying(sleep=sleep, before_sleep=told, **_rules(session)):
            wire = _Wire()
            call = session.next_call(clock())
            with closing(_received(backend, call, wire)) as steps:
                for step in steps:
                    emission = session.feed(step, clock())
                    if emission.text or emission.reasoning:
                        yield emission
                    if emission.stop:
                        break
            emission = _ended(session, wire, clock())
            if emission.text or emission.reasoning:
                yield emission
            _settle(session, wire, attempt.retry_state)
        if not session.done and (emission := session.give_up()).text:
            yield emission
    except BaseException as error:
        _abandon(session, error, clock())
        raise
    return _finished(session)


async def astream(
    session: Session,
    backend: AsyncBackend,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    on_retry: Callable[[RetryCallState], Awaitable[None]] | None = None,
) -> AsyncGenerator[Emission, None]:
    """Run a session as :func:`stream` does; ``session.completion`` has what came of it.

    A call that brings no step for as long as ``call.timeout`` says is cancelled, and counts as
    broken; a sync driver has to leave that to the backend. ``on_retry`` is a coroutine function.
    """
    told = None if on_retry is None else _ateller(on_retry)

    def patience() -> float | None:
        return session.patience(clock())

    try:
        async for attempt in AsyncRetrying(sleep=sleep, before_sleep=told, **_rules(session)):
            wire = _Wire()
            call = session.next_call(clock())
            async with aclosing(_areceived(backend, call, wire, patience)) as steps:
                async for step in steps:
                    emission = session.feed(step, clock())
                    if emission.text or emission.reasoning:
                        yield emission
                    if emission.stop:
                        break
            emission = _ended(session, wire, clock())
            if emission.text or emission.reasoning:
                yield emission
            _settle(session, wire, attempt.retry_state)
        if not session.done and (emission := session.give_up()).text:
            yield emission
    except BaseException as error:
        _abandon(session, error, clock())
        raise
    _finished(session)


def run(
    session: Session,
    backend: Backend,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    on_retry: Callable[[RetryCallState], None] | None = None,
) -> Completion:
    """Run a session to its end; arguments and errors as in :func:`stream`."""
    for _ in stream(session, backend, clock=clock, sleep=sleep, on_retry=on_retry):
        pass
    return session.completion


async def arun(
    session: Session,
    backend: AsyncBackend,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    on_retry: Callable[[RetryCallState], Awaitable[None]] | None = None,
) -> Completion:
    """Run a session to its end; arguments and errors as in :func:`stream`."""
    async for _ in astream(session, backend, clock=clock, sleep=sleep, on_retry=on_retry):
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


async def _areceived(
    backend: AsyncBackend, call: Call, wire: _Wire, patience: Callable[[], float | None]
) -> AsyncGenerator[Step, None]:
    waiting = asyncio.timeout(None)
    try:
        async with aclosing(backend(call)) as steps:
            while True:
                cancelled, step = _cancellations(), None
                with suppress(StopAsyncIteration):
                    async with (waiting := asyncio.timeout(patience())):
                        step = await anext(steps)
                if _cancellations() > cancelled:
                    # ``asyncio.wait_for`` loses one that comes with its result, before Python 3.12.
                    raise asyncio.CancelledError("lost by what makes the call")
                if step is None:
                    break
                yield step
    except Exception as error:
        wire.error = error
    if waiting.expired() and not isinstance(wire.error, TimeoutError):
        # The backend has made an error of its own, or an end, of the cancellation.
        late = TimeoutError("no step came for too long")
        late.__cause__ = wire.error
        wire.error = late


def _cancellations() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _rules(session: Session) -> dict[str, Any]:
    """The retry, as tenacity takes it: on an unfinished result or a transient error, bounded."""
    first, largest = session.stopping.backoff
    backoff = wait_random_exponential(multiplier=first, max=largest)

    def wait(state: RetryCallState) -> float:
        error = _error(state)
        return max(float(backoff(state)), retry_after(error) or 0.0) if error is not None else 0.0

    def stop(state: RetryCallState) -> bool:
        limit = session.stopping.max_seconds
        late = limit is not None and session.ledger.seconds + state.upcoming_sleep >= limit
        return late or session.exhausted or (retry_after(_error(state)) or 0.0) > LONGEST_WAIT

    return {
        "retry": retry_if_result(lambda done: not done) | retry_if_exception(is_transient),
        "stop": stop,
        "wait": wait,
        "retry_error_callback": lambda state: None,
    }


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None


def _teller(on_retry: Callable[[RetryCallState], None]) -> Callable[[RetryCallState], None]:
    """Call what watches the retries. An answer is not lost to a watcher that fails."""

    def tell(state: RetryCallState) -> None:
        try:
            on_retry(state)
        except Exception as error:
            logger.error("on_retry failed: %r: %s", on_retry, unquoted(error))

    return tell


def _ateller(
    on_retry: Callable[[RetryCallState], Awaitable[None]],
) -> Callable[[RetryCallState], Awaitable[None]]:
    async def tell(state: RetryCallState) -> None:
        try:
            await on_retry(state)
        except Exception as error:
            logger.error("on_retry failed: %r: %s", on_retry, unquoted(error))

    return tell


def _abandon(session: Session, error: BaseException, now: float) -> None:
    session.abandon(error, now)
    if session.completion.attempts:
        tell_hooks(session, session.completion)


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
    tell_hooks(session, completion)
    attempts = completion.attempts
    answered = any(attempt.finish_reason is not None for attempt in attempts)
    lenient = session.stopping.on_exhausted == "return"
    if attempts[-1].error and session.error is not None and not (answered and lenient):
        if not (completion.text or completion.reasoning or completion.usage.generated):
            raise session.error  # nothing is lost, and the caller may know what to do about it
        raise TransportFailed(
            f"call {len(attempts)} failed for good, after {len(completion.text)} characters, by "
            f"{type(session.error).__name__}",
            completion,
        ) from session.error
    check_complete(session, completion)
    return completion


def check_complete(session: Session, completion: Completion) -> None:
    """Refuse an answer that is not complete, where the settings want that.

    Raises:
        BudgetExhausted: It is not, and ``on_exhausted`` is ``"raise"``.
    """
    if not completion.complete and session.stopping.on_exhausted == "raise":
        raise BudgetExhausted(
            f"no complete answer after {len(completion.attempts)} attempts and "
            f"{completion.usage.generated} tokens; completion.verdict says what it lacks",
            completion,
        )


def tell_hooks(session: Session, completion: Completion) -> None:
    """Call the hooks. An answer that was paid for is not lost to a hook that fails."""
    for hook in session.stopping.hooks:
        try:
            hook(session.request, completion)
        except Exception as error:
            logger.error("a hook failed: %r: %s", hook, unquoted(error))
