"""A callback that cuts a generation off when its answer is done."""

from __future__ import annotations

import inspect
import logging
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, LLMResult

from langchain_stopping.calls import has_own_form, take_limit
from langchain_stopping.messages import (
    LLM_TYPE,
    answer_text,
    is_closing_chunk,
    to_request,
    to_whole_chunk,
    trim,
)
from langchain_stopping.reply import Reply
from langchain_stopping.streams import Watched, aclose, close, find_streams, watch
from stopping_core import (
    AdaptiveStopping,
    Completion,
    GenerationStopped,
    Ledger,
    Request,
    Session,
    Step,
    report,
)

logger = logging.getLogger(__name__)

_NO_LIMIT = 1 << 20  # tokens; stands for "the provider's own", which is not known here


class _EitherWay:
    """Gives a coroutine the async method, and a plain function the plain one.

    LangChain awaits what is a coroutine function, and in its async code nothing else can close an
    async generator; in its sync code it swallows what a coroutine function raises.
    """

    def __init__(self, plain: str, coroutine: str) -> None:
        self._plain = plain
        self._coroutine = coroutine

    def __get__(self, instance: object, owner: type) -> Callable[..., Any]:
        target = owner if instance is None else instance
        asked_by = sys._getframe(1).f_code
        is_async = bool(asked_by.co_flags & inspect.CO_COROUTINE)
        method: Callable[..., Any] = getattr(target, self._coroutine if is_async else self._plain)
        return method


@dataclass(slots=True)
class _Run:
    """One generation: what the core knows of it, and the text that LangChain has of it.

    ``raw`` is that text, reasoning tags included; ``tail`` are its last chunks and where each
    begins. A decision may fall a few blanks behind the chunk that confirms it.
    """

    session: Session
    reply: Reply
    raw: str = ""
    tail: list[tuple[int, ChatGenerationChunk]] = field(default_factory=list)
    streams: Watched = field(default_factory=list)
    cut: Completion | None = None


class AdaptiveStopHandler(BaseCallbackHandler):
    """Cuts the chat models of a chain off when their answers are done: a callback, nothing to wrap.

    It makes ``invoke`` and ``batch`` stream from the model, watches each run by itself, and hangs
    up when the policy stops: the chain goes on with the text up to the cut. Hanging up from a
    callback needs CPython, and a provider that keeps the chunk it yields or the messages it was
    given, as those of OpenAI and Anthropic do. Where it fails, ``ungraceful`` says what to do:

    - ``"raise"`` ends the run with :class:`~stopping_core.GenerationStopped`, which carries the
      text. To LangChain that is an error like any other, though the answer is good: ``with_retry``
      asks the model again, and is cut again, and ``with_fallbacks`` asks the next model. Take it
      out of their exceptions (``retry_if_exception_type``, ``exceptions_to_handle``), or:
    - ``"finish"`` lets the model write on and takes away all text after the cut. The answer is
      right and no chain breaks, but nothing is saved.

    A callback cannot call the model again, nor set the budget: whether an answer is complete is
    only reported, in :attr:`completions` and in ``response_metadata["stopping"]``. To check and
    continue, wrap the model in :class:`~langchain_stopping.AdaptiveChatModel`. What ``stream`` has
    already yielded is not taken back: that may be a few blanks after the cut.

    Left alone are calls with tools or structured output, models wrapped in ``AdaptiveChatModel``,
    text completion models, and ``stream_events(version="v3")``. Answers that do not come as a
    stream (from a cache, or where streaming is disabled) are only checked.

    LangChain's cache does not know of callbacks: where one is set, an answer that was cut is kept
    there, and given to callers without this handler too. ``AdaptiveChatModel`` has its own keys.

    Args:
        stopping: When to cut, and what is complete. Attempts and budget have no effect here.
        keep: How many of the last completions to keep, >= 1, and at most how many runs to watch at
            a time: LangChain does not say when a run is cancelled, so the oldest are forgotten, and
            left alone if they still go on.
        ungraceful: What to do where the stream cannot be closed.

    Attributes:
        completions: What was done, by run id, oldest first.

    Raises:
        ValueError: ``keep`` is out of its interval, or ``ungraceful`` is neither word.
    """

    raise_error = True
    run_inline = True

    def __init__(
        self,
        stopping: AdaptiveStopping,
        *,
        keep: int = 1000,
        ungraceful: Literal["raise", "finish"] = "raise",
    ) -> None:
        if keep < 1:
            raise ValueError(f"keep must be >= 1, got {keep}")
        if ungraceful not in ("raise", "finish"):
            raise ValueError(f'ungraceful must be "raise" or "finish", got {ungraceful!r}')
        self.stopping = stopping
        self.completions: OrderedDict[UUID, Completion] = OrderedDict()
        self._single = stopping.replace(attempts=1, budget=_callers_budget)
        self._keep = keep
        self._ungraceful = ungraceful
        self._runs: OrderedDict[UUID, _Run] = OrderedDict()
        self._lock = threading.Lock()

    # -- what LangChain calls

    def tap_output_iter(self, run_id: UUID, output: Iterator[Any]) -> Iterator[Any]:
        """Leave a chain's output alone. A handler with this method makes ``invoke`` stream."""
        other = self._other_tap(sys._getframe(1).f_locals.get("run_manager"))
        return other.tap_output_iter(run_id, output) if other is not None else output

    def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """As :meth:`tap_output_iter`, for async chains."""
        other = self._other_tap(sys._getframe(1).f_locals.get("run_manager"))
        return other.tap_output_aiter(run_id, output) if other is not None else output

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        **kwargs: Any,
    ) -> None:
        """Begin to watch a run, unless it is one to leave alone."""
        params = kwargs.get("invocation_params") or {}
        alone = params.get("_type") == LLM_TYPE or has_own_form(params)
        if alone or self.stopping.mode == "off":
            return
        limit, _ = take_limit(params)
        request = to_request(messages[0], max_tokens=limit)
        session = Session(self._single, request, streaming=True)
        session.next_call(time.monotonic())
        with self._lock:
            self._runs[run_id] = _Run(session, Reply())
            while len(self._runs) > self._keep:
                self._runs.popitem(last=False)

    on_llm_new_token = _EitherWay("_new_token", "_anew_token")

    def _new_token(self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any) -> None:
        run = self._take(chunk, run_id)
        if run is not None:
            self._settle(run_id, run, chunk, closed=close(find_streams(chunk, run.streams)))

    async def _anew_token(
        self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any
    ) -> None:
        run = self._take(chunk, run_id)
        if run is not None:
            closed = await aclose(find_streams(chunk, run.streams))
            self._settle(run_id, run, chunk, closed=closed)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Check the answer of a run that ended by itself."""
        run = self._runs.pop(run_id, None)
        if run is None or run.cut is not None:
            return
        answer = response.generations[0][0] if response.generations[0] else None
        if not run.tail and isinstance(answer, ChatGeneration):  # it came as a whole
            watching = self._single.replace(mode="shadow")
            run.session = Session(watching, run.session.request, streaming=True)
            run.session.next_call(time.monotonic())
            self._feed(run, run.reply.take(to_whole_chunk(ChatResult(generations=[answer]))))
        self._feed(run, run.reply.end())
        run.session.end(time.monotonic())
        completion = _completion(run)
        self._record(run_id, run, completion)
        if isinstance(answer, ChatGeneration):
            _note(answer, completion)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Keep what came of a run that failed; forget one that its reader has left."""
        run = self._runs.pop(run_id, None)
        if run is not None and run.cut is None and isinstance(error, Exception):
            run.session.fail(error, time.monotonic())
            self._record(run_id, run, _completion(run))

    # -- one run

    def _take(self, chunk: Any, run_id: UUID) -> _Run | None:
        """Feed a chunk; where that stops the run, end the text at the cut and return the run."""
        run = self._runs.get(run_id)
        if run is None or not isinstance(chunk, ChatGenerationChunk) or is_closing_chunk(chunk):
            return None
        text = answer_text(chunk.message)
        if run.cut is not None:
            if not text:
                return None
            trim(chunk, 0)  # the stream was not closed, or something else goes on with it
            if self._ungraceful == "finish":
                return None
            raise _stopped(run.cut)
        if not run.tail and self.stopping.mode == "active":
            run.streams = watch(chunk)
        run.tail = [(start, c) for start, c in run.tail if start + _TAIL > len(run.raw)]
        run.tail.append((len(run.raw), chunk))
        run.raw += text
        if not self._feed(run, run.reply.take(chunk)):
            return None
        run.session.end(time.monotonic())
        run.cut = _completion(run)
        keep = self._length(run.raw, run.cut)
        for start, one in run.tail:
            if start + len(answer_text(one.message)) > keep:
                trim(one, max(0, keep - start))
        return run

    def _settle(self, run_id: UUID, run: _Run, chunk: Any, *, closed: bool) -> None:
        """Say what a cut has done, once it is known whether the model has stopped."""
        cut = run.cut if run.cut is not None else _completion(run)
        if not closed and self._ungraceful == "finish":
            cut = _without_avoided(cut)
        _note(chunk, cut)
        self._record(run_id, run, cut)
        if not closed and self._ungraceful == "raise":
            raise _stopped(cut)

    def _feed(self, run: _Run, steps: Iterator[Step]) -> bool:
        return any(run.session.feed(step, time.monotonic()).stop for step in steps)

    def _record(self, run_id: UUID, run: _Run, completion: Completion) -> None:
        """Keep a completion, and tell it to the hooks. No answer is lost to a hook that fails."""
        with self._lock:
            self.completions[run_id] = completion
            while len(self.completions) > self._keep:
                self.completions.popitem(last=False)
        for hook in self.stopping.hooks:
            try:
                hook(run.session.request, completion)
            except Exception:
                logger.exception("a hook failed: %r", hook)

    def _length(self, raw: str, completion: Completion) -> int:
        """How much of the raw text the cut leaves: reasoning in tags, and the answer."""
        opening, closing = self.stopping.reasoning_tags
        if not raw.lstrip().startswith(opening):
            return len(completion.text)
        start = raw.find(closing)
        return raw.find(completion.text, start) + len(completion.text) if start >= 0 else len(raw)

    def _other_tap(self, run_manager: Any) -> Any:
        """The handler that LangChain would have asked without this one: it asks one only."""
        for handler in getattr(run_manager, "handlers", ()):
            if not isinstance(handler, AdaptiveStopHandler) and hasattr(handler, "tap_output_iter"):
                return handler
        return None


_TAIL = 256  # characters of which the end may still be taken away


def _callers_budget(request: Request, ledger: Ledger) -> int:
    return request.max_tokens or _NO_LIMIT


def _completion(run: _Run) -> Completion:
    completion = run.session.completion
    limited = run.session.request.max_tokens is not None
    return completion if limited else _without_avoided(completion)


def _without_avoided(completion: Completion) -> Completion:
    """Say that a cut has saved nothing: it did not, or the budget is not known."""
    attempts = tuple(
        replace(attempt, avoided=0, budget=None if attempt.budget == _NO_LIMIT else attempt.budget)
        for attempt in completion.attempts
    )
    return replace(completion, usage=replace(completion.usage, avoided=0), attempts=attempts)


def _note(generation: ChatGeneration, completion: Completion) -> None:
    message = generation.message
    message.response_metadata = {
        **message.response_metadata,
        "stopping": report(completion),
    }


def _stopped(completion: Completion) -> GenerationStopped:
    return GenerationStopped(
        f"stopped ({completion.reason}) after {completion.usage.generated} tokens; the provider's "
        "stream could not be closed from a callback, so the chain ends here: wrap the model in "
        "AdaptiveChatModel instead",
        completion,
    )
