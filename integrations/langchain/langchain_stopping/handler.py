"""A callback that cuts a generation off when its answer is done."""

from __future__ import annotations

import copy
import inspect
import logging
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Literal, Self
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult

from langchain_stopping.attachment import STREAMING, is_in_charge, manager_of_run
from langchain_stopping.calls import has_own_form, offers_tools, take_limit
from langchain_stopping.events import (
    Bridge,
    add_event_usage,
    comes_as_events,
    empty,
    find_bridge,
    to_event_chunk,
)
from langchain_stopping.messages import (
    LLM_TYPE,
    answer_text,
    is_closing_chunk,
    to_request,
    trim,
)
from langchain_stopping.runs import (
    Run,
    ends_bill,
    for_one_call,
    without_avoided,
)
from langchain_stopping.streams import Watched, aclose, close, find_in_task, find_streams, watch
from stopping_core import AdaptiveStopping, Completion, GenerationStopped, Session, report
from stopping_core.faults import unquoted
from stopping_core.sampling import sampling_of

logger = logging.getLogger(__name__)


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


class AdaptiveStopHandler(BaseCallbackHandler):
    """Cuts the chat models of a chain off when their answers are done: a callback, nothing to wrap.

    It makes ``invoke`` and ``batch`` stream from the model, watches each run by itself, and hangs
    up when the policy stops: the chain goes on with the text up to the cut, and to other callbacks
    the run has ended as usual. Hanging up from a callback needs CPython, and in sync code a
    provider that keeps the chunk it yields or the messages it was given, as those of OpenAI and
    Anthropic do. Where it fails, ``ungraceful`` says what to do:

    - ``"raise"`` ends the run with :class:`~stopping_core.GenerationStopped`, which carries the
      text. To LangChain that is an error like any other, though the answer is good: ``with_retry``
      asks the model again, and is cut again, and ``with_fallbacks`` asks the next model. Take it
      out of their exceptions (``retry_if_exception_type``, ``exceptions_to_handle``), or:
    - ``"finish"`` lets the model write on and takes away all text after the cut. The answer is
      right and no chain breaks, but nothing is saved.

    What only :class:`~langchain_stopping.AdaptiveChatModel` can do: call the model again where an
    answer is not complete (here that is only reported, in :attr:`completions` and in
    ``response_metadata["stopping"]``), end reasoning that loops, set the budget of a call, retry
    what broke, keep its own cache keys (LangChain's cache keeps an answer that was cut here, and
    gives it to callers without this handler too), and hang up in sync code without searching: where
    the stream was not found at its first chunk, as in the first call of a process, the cut searches
    the heap for some 20 to 60 ms. What ``stream`` has already yielded is not taken back: that may
    be a few blanks after the cut, and the ``id`` of a response that will not be complete. The
    ``token`` that other callbacks get of the chunk that decides is whole, and ``chunk`` is too for
    those that stand before this one.

    Under ``stream_events(version="v3")`` LangChain sends an event before it asks the callbacks.
    Models that report their tokens, as OpenAI's do, are cut as everywhere. For others the deltas go
    on to the end of the chunk that decides, while ``output`` ends at the cut, and the policy sees
    no logprobs. A model that makes its events by itself cannot be cut gracefully, and after
    ``"finish"`` its text is whole.

    After a cut the provider tells no usage, and some tell none in any stream. ``usage_metadata`` is
    then our estimate, and ``["stopping"]["tokens"]["estimated"]`` is True. What providers say in a
    whole response only (``token_usage``, ``system_fingerprint``) is not there.

    Left alone are calls with tools, structured output or several answers, models wrapped in
    ``AdaptiveChatModel``, and text completion models. Answers that do not come as a stream (from a
    cache, or where streaming is disabled) are only checked. Of several handlers on one run only one
    acts. A copy (``copy.deepcopy``) has the same settings and completions of its own.

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
        TypeError: ``stopping`` is no AdaptiveStopping.
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
        if not isinstance(stopping, AdaptiveStopping):
            raise TypeError(f"stopping must be an AdaptiveStopping, got {stopping!r}")
        if keep < 1:
            raise ValueError(f"keep must be >= 1, got {keep}")
        if ungraceful not in ("raise", "finish"):
            raise ValueError(f'ungraceful must be "raise" or "finish", got {ungraceful!r}')
        self.stopping = stopping
        self.completions: OrderedDict[UUID, Completion] = OrderedDict()
        self._keep = keep
        self._ungraceful: Literal["raise", "finish"] = ungraceful
        self._runs: OrderedDict[UUID, Run] = OrderedDict()
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: Mapping[int, Any]) -> Self:
        return copy.copy(self)

    def __reduce__(self) -> tuple[Any, ...]:
        with self._lock:
            kept = self.completions.copy()
        state = {"completions": kept, "_keep": self._keep, "_ungraceful": self._ungraceful}
        return type(self), (self.stopping,), state

    # -- what LangChain calls

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
        manager = manager_of_run()
        handlers = manager.handlers if manager is not None else []
        peers = [peer for peer in handlers if isinstance(peer, AdaptiveStopHandler)]
        if alone or self.stopping.mode == "off" or not is_in_charge(self, peers):
            return
        if manager is not None:
            manager.add_handler(STREAMING, inherit=False)
        limit, _ = take_limit({**params, **(params.get("extra_body") or {})})
        named = (kwargs.get("metadata") or {}).get("ls_model_name")
        model = params.get("model") or named
        request = to_request(
            messages[0],
            max_tokens=limit,
            model=model,
            sampling=sampling_of(params, params.get("model_kwargs")),
            tools=offers_tools(params),
        )
        session = Session(
            for_one_call(self.stopping),
            request,
            streaming=True,
            hang_up_ends_bill=limit is None or ends_bill(serialized),
        )
        session.next_call(time.monotonic())
        with self._lock:
            self._runs[run_id] = Run(session, messages[0], self.stopping.reasoning_tags, model)
            while len(self._runs) > self._keep:
                self._runs.popitem(last=False)

    on_llm_new_token = _EitherWay("_new_token", "_anew_token")
    on_stream_event = _EitherWay("_event", "_aevent")

    def _new_token(self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any) -> None:
        run = self._take(chunk, run_id, look=watch)
        if run is not None:
            closed = close(find_streams(chunk, run.streams))
            self._settle(run_id, run, chunk, closed=closed)

    async def _anew_token(
        self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any
    ) -> None:
        run = self._take(chunk, run_id)
        if run is not None:
            closed = await aclose(await find_in_task() or find_streams(chunk, run.streams))
            self._settle(run_id, run, chunk, closed=closed)

    def _event(self, event: Any, *, run_id: UUID, **kwargs: Any) -> None:
        run = self._take_event(event, run_id)
        if run is not None:
            bridge = find_bridge()
            closed = bridge is not None and close([bridge.chunks])
            self._settle_events(run_id, run, bridge, closed=closed)

    async def _aevent(self, event: Any, *, run_id: UUID, **kwargs: Any) -> None:
        run = self._take_event(event, run_id)
        if run is not None:
            bridge = find_bridge()
            closed = bridge is not None and await aclose([bridge.chunks])
            self._settle_events(run_id, run, bridge, closed=closed)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Check the answer of a run that ended by itself."""
        run = self._runs.pop(run_id, None)
        if run is None:
            return
        answer = response.generations[0][0] if response.generations[0] else None
        generation = answer if isinstance(answer, ChatGeneration) else None
        if run.cut is not None:
            if generation is not None:
                run.tell_cut(generation.message, run.cut)
            return
        if run.in_events is None and generation is not None:
            run.take_whole(generation)
        completion = run.end()
        self._record(run_id, run, completion)
        if generation is not None:
            untold = run.in_events is not None and run.told is None
            run.tell(generation.message, completion, estimate=untold)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Keep what came of a run that failed; forget one that its reader has left."""
        run = self._runs.pop(run_id, None)
        if run is not None and run.cut is None and isinstance(error, Exception):
            run.session.fail(error, time.monotonic())
            self._record(run_id, run, run.completion)

    # -- one run

    def _take(
        self, chunk: Any, run_id: UUID, look: Callable[[object], Watched] | None = None
    ) -> Run | None:
        """Feed a chunk; where that stops a run that can be closed here, return the run.

        Args:
            chunk: What LangChain calls with.
            run_id: Of the run.
            look: Looks for the stream when its first chunk has come.
        """
        run = self._runs.get(run_id)
        if run is None or not isinstance(chunk, ChatGenerationChunk) or is_closing_chunk(chunk):
            return None
        if run.in_events is None:
            run.in_events = comes_as_events()
            if look is not None and not run.in_events and self.stopping.mode == "active":
                run.streams = look(chunk)
        run.by_chunks = True
        if run.cut is not None:
            if answer_text(chunk.message):
                self._take_away(run, run.cut, chunk)
            return None
        if not run.take(chunk):
            return None
        if not run.in_events:
            return run
        if not answer_text(chunk.message):
            empty(chunk)
        return None

    def _take_away(self, run: Run, cut: Completion, chunk: ChatGenerationChunk) -> None:
        """Take away text after the cut: the stream was not closed, or something goes on with it."""
        trim(chunk, 0)
        if run.in_events:
            empty(chunk)
        elif self._ungraceful == "raise":
            raise _stopped(cut)

    def _take_event(self, event: Any, run_id: UUID) -> Run | None:
        """Feed an event, where no chunk was fed for it; return the run that is to be closed."""
        run = self._runs.get(run_id)
        chunk = to_event_chunk(event) if run is not None else None
        if run is None or chunk is None:
            return None
        run.in_events = True
        if not run.by_chunks and run.cut is None:
            run.take(chunk)
        if event.get("event") == "message-finish":
            if run.hung_up:
                add_event_usage(event, run.untold_usage)
            return None
        return run if run.cut is not None and run.hung_up is None else None

    def _settle(self, run_id: UUID, run: Run, chunk: ChatGenerationChunk, *, closed: bool) -> None:
        """Say what a cut has done, once it is known whether the model has stopped."""
        cut = self._cut(run, closed=closed)
        run.tell(chunk.message, cut, estimate=closed)
        self._tell(run_id, run, cut)

    def _settle_events(
        self, run_id: UUID, run: Run, bridge: Bridge | None, *, closed: bool
    ) -> None:
        """As :meth:`_settle`, where the message is made of events."""
        cut = self._cut(run, closed=closed)
        if bridge is not None:
            bridge.trim(run.kept)
            bridge.metadata.update(run.named, stopping=report(cut))
            if closed:
                bridge.metadata.pop("id", None)
        self._tell(run_id, run, cut)

    def _cut(self, run: Run, *, closed: bool) -> Completion:
        run.hung_up = closed
        cut = run.cut if run.cut is not None else run.completion
        run.cut = cut if closed or self._ungraceful == "raise" else without_avoided(cut)
        return run.cut

    def _tell(self, run_id: UUID, run: Run, cut: Completion) -> None:
        self._record(run_id, run, cut)
        if not run.hung_up and self._ungraceful == "raise":
            raise _stopped(cut)

    def _record(self, run_id: UUID, run: Run, completion: Completion) -> None:
        """Keep a completion, and tell it to the hooks. No answer is lost to a hook that fails."""
        with self._lock:
            self.completions[run_id] = completion
            while len(self.completions) > self._keep:
                self.completions.popitem(last=False)
        for hook in self.stopping.hooks:
            try:
                hook(run.session.request, completion)
            except Exception as error:
                logger.error("a hook failed: %r: %s", hook, unquoted(error))


def _stopped(completion: Completion) -> GenerationStopped:
    return GenerationStopped(
        f"stopped ({completion.reason}) after {completion.usage.generated} tokens; the provider's "
        "stream could not be closed from a callback, so the chain ends here: wrap the model in "
        "AdaptiveChatModel instead",
        completion,
    )
