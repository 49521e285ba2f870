"""Makes the calls that a session asks for on the inner LLM, as steps that hang up when closed."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from llama_index.core.base.llms.generic_utils import messages_to_prompt
from llama_index.core.base.llms.types import ContentBlock
from llama_index.core.llms.llm import LLM

from llama_index.llms.stopping.limits import changed, is_tighter, least, put
from llama_index.llms.stopping.messages import Asked, as_messages, to_go_on, to_request
from llama_index.llms.stopping.quiet import quiet
from llama_index.llms.stopping.reader import Reader, Response
from llama_index.llms.stopping.tools import offers_tools, settings_of
from llama_index.llms.stopping.transport import ahanging_up, hanging_up
from stopping_core.providers import LIMITS, Provider
from stopping_core.results import Call
from stopping_core.sampling import NAMES, greedily, sampling_of
from stopping_core.types import Request, Step

logger = logging.getLogger(__name__)


class Planned(NamedTuple):
    """A call on the inner LLM: ``chat`` or ``complete``, or one of their relatives."""

    llm: LLM
    method: str
    asked: Asked
    kwargs: dict[str, Any]


class Source:
    """One request to the inner LLM; :meth:`steps` and :meth:`asteps` are the core's backends.

    Args:
        llm: The inner LLM.
        asked: The prompt or the messages.
        kwargs: What the caller passed on to the model. A limit on output tokens among it, by
            whatever name, is the hard limit of the request.
        provider: What the LLM takes, and whether its server continues a last assistant message. A
            completion model always continues its prompt.
        resample_kwargs: Passed to the calls that must come out differently.

    Attributes:
        request: What is known about the request.
        last: The last response of the inner LLM.
        beside: What its responses hold beside text, over all calls whose text is kept.
    """

    def __init__(
        self,
        llm: LLM,
        asked: Asked,
        kwargs: Mapping[str, Any],
        *,
        provider: Provider,
        resample_kwargs: Mapping[str, Any],
    ) -> None:
        self._llm = llm
        self._asked = asked
        self._kwargs = dict(kwargs)
        self._provider = provider
        self._limits = {provider.budget_keyword, *LIMITS}
        bodies = [one.get("extra_body") for one in (self._kwargs, settings_of(llm))]
        given = [self._kwargs, *(one for one in bodies if isinstance(one, Mapping))]
        self._limit = least(one.get(name) for one in given for name in self._limits)
        self._chat_model = llm.metadata.is_chat_model
        self._offers_tools = offers_tools(llm, kwargs)
        self._resample_kwargs = resample_kwargs
        self._reader = Reader()
        self._earlier: Response | None = None
        self.beside: list[ContentBlock] = []
        self.request: Request = to_request(
            asked,
            metadata=llm.metadata,
            tokenizer=_tokenizer(llm),
            max_tokens=self._limit,
            model=self._kwargs.get("model"),
            sampling=_sampling(llm, self._kwargs),
            tools=self._offers_tools,
        )
        if (formed := _formed(llm, asked, self._kwargs)) is not None:
            self.request = replace(self.request, prompt=formed)

    @property
    def continues(self) -> bool:
        """Whether the model goes on with a prefix as its own text."""
        return self._provider.prefill or not self._chat_model

    @property
    def last(self) -> Response | None:
        """The last response of the inner LLM, over all calls."""
        return self._reader.last or self._earlier

    @property
    def calls_tool(self) -> bool:
        """Whether the current call of the model calls a tool."""
        return self._reader.calls_tool

    def steps(self, call: Call) -> Generator[Step, None, None]:
        """Make one call; closing hangs up."""
        reader = self._read(call)
        llm, method, asked, kwargs = self._plan(call)
        try:
            stream = getattr(llm, f"stream_{method}")(asked, **kwargs)
            if stream is not None:
                with hanging_up(stream) as responses:
                    for response in responses:
                        yield from reader.read(response)
        except NotImplementedError:
            if reader.last is not None:
                raise
        if reader.last is None:  # the LLM does not stream, or its server answers in one piece
            whole = getattr(llm, method)(asked, **kwargs)
            yield from reader.read_whole(whole, call.prefill)
        yield from reader.end()

    async def asteps(self, call: Call) -> AsyncGenerator[Step, None]:
        """Make one call, for async drivers."""
        reader = self._read(call)
        llm, method, asked, kwargs = self._plan(call)
        try:
            stream = await getattr(llm, f"astream_{method}")(asked, **kwargs)
            if stream is not None:
                async with ahanging_up(stream) as responses:
                    async for response in responses:
                        for step in reader.read(response):
                            yield step
        except NotImplementedError:
            if reader.last is not None:
                raise
        if reader.last is None:
            whole = await getattr(llm, f"a{method}")(asked, **kwargs)
            for step in reader.read_whole(whole, call.prefill):
                yield step
        for step in reader.end():
            yield step

    def _read(self, call: Call) -> Reader:
        self._earlier = self.last
        if call.kind in ("first", "restart"):
            self.beside.clear()
        sent = bool(self._provider.budget_keyword) and not self._offers_tools
        self._reader = Reader(call.max_tokens if sent else self._limit, self.beside)
        return self._reader

    def _plan(self, call: Call) -> Planned:
        """Choose the method of the inner LLM, and what it is asked."""
        asked, kwargs = self._asked, dict(self._kwargs)
        if call.prefill:
            asked, kwargs = self._going_on(call, kwargs)
        changes: dict[str, Any] = {}
        if call.resample:
            changes |= self._resample_kwargs
            seed = kwargs.get("seed", settings_of(self._llm).get("seed"))
            if isinstance(seed, int):  # the same seed would give the same answer again
                changes["seed"] = seed + call.attempt
        if call.greedy:
            changes |= greedily(*_given(self._llm, kwargs))
        keyword, dropped = self._provider.budget_keyword, set[str]()
        granted = call.max_tokens if keyword and not self._offers_tools else None
        if granted is not None:
            kwargs = {k: v for k, v in kwargs.items() if k not in self._limits}
            dropped = self._limits - {keyword}
            changes |= {} if "." in keyword else {keyword: granted}
        elif self._limit is not None:
            changes |= {k: kwargs[k] for k in self._limits if least([kwargs.get(k)]) is not None}
        llm = changed(self._llm, changes, dropped)
        kwargs |= changes | self._patience(call, kwargs)
        if granted is not None and "." in keyword:
            llm, kwargs = put(llm, kwargs, keyword, granted)
        return Planned(quiet(llm), "complete" if isinstance(asked, str) else "chat", asked, kwargs)

    def _patience(self, call: Call, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The client's time-out, where the call's is shorter than what it has."""
        keyword, seconds = self._provider.timeout_keyword, call.timeout
        if keyword is None or seconds is None or is_tighter(self._llm, kwargs, keyword, seconds):
            return {}
        return {keyword: seconds}

    def _going_on(self, call: Call, kwargs: dict[str, Any]) -> tuple[Asked, dict[str, Any]]:
        """What to ask a model so that it goes on: a longer prompt, or one turn more."""
        asked, llm = self._asked, self._llm
        formatted = kwargs.pop("formatted", False)
        if isinstance(asked, str) and not formatted and llm.completion_to_prompt is not None:
            asked = llm.completion_to_prompt(asked)
        if self._chat_model:
            messages = as_messages(asked) if isinstance(asked, str) else asked
            if self._provider.prefill:
                kwargs |= self._provider.prefill_kwargs
            return to_go_on(messages, call, prefill=self._provider.prefill), kwargs
        if not isinstance(asked, str):
            asked = (llm.messages_to_prompt or messages_to_prompt)(asked)
        return asked + call.prefill, {**kwargs, "formatted": True}


_tokenizers: dict[str, Any] = {}  # by name, for an LLM loads a named one anew at each look


def _formed(llm: LLM, asked: Asked, kwargs: Mapping[str, Any]) -> str | None:
    """The prompt that an LLM forms by itself, or None where it sends what was asked."""
    formed: Any = None
    if isinstance(asked, str):
        if llm.completion_to_prompt is not None and not kwargs.get("formatted"):
            formed = llm.completion_to_prompt(asked)
    elif llm.messages_to_prompt is not None and not llm.metadata.is_chat_model:
        formed = llm.messages_to_prompt(asked)
    return formed if isinstance(formed, str) else None


def _sampling(llm: LLM, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The sampler's settings: the LLM's own, and before them what goes with every call."""
    return sampling_of(*_given(llm, kwargs))


def _given(llm: LLM, kwargs: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    own = {name: getattr(llm, name, None) for name in NAMES}
    return own, kwargs, settings_of(llm)


def _tokenizer(llm: LLM) -> Any:
    """The LLM's tokenizer, loaded where the LLM holds a name; None where it has none."""
    given = getattr(llm, "tokenizer", None)
    if not isinstance(given, str):
        return given
    if given not in _tokenizers:
        try:
            _tokenizers[given] = getattr(llm, "_tokenizer", None)
        except Exception as error:
            logger.warning("tokenizer %r cannot be loaded, prompts go uncounted: %r", given, error)
            _tokenizers[given] = None
    return _tokenizers[given]
