"""Makes the calls that a session asks for on the inner LLM, as steps that hang up when closed."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Collection, Generator, Iterable, Mapping
from typing import Any, NamedTuple

from llama_index.core.base.llms.generic_utils import messages_to_prompt
from llama_index.core.llms.llm import LLM

from llama_index.llms.stopping.messages import (
    Asked,
    Reader,
    Response,
    as_messages,
    to_go_on,
    to_request,
)
from llama_index.llms.stopping.transport import ahanging_up, hanging_up
from stopping_core.types import Call, Request, Step

logger = logging.getLogger(__name__)

LIMITS = (
    "max_tokens",
    "max_completion_tokens",
    "max_new_tokens",
    "max_output_tokens",
    "num_predict",
)
"""What LLMs call their limit on output tokens."""

_UNTOUCHED = ("tools", "functions", "response_format", "response_schema", "format")


def is_untouched(llm: LLM, kwargs: Mapping[str, Any]) -> bool:
    """Whether a call must be neither cut nor checked.

    It offers tools, whose arguments are no answer to judge; or it constrains the form, and a
    continuation would begin that anew; or it asks for several answers at once.
    """
    given = {**_extra(llm), **kwargs}
    return any(given.get(name) for name in _UNTOUCHED) or (given.get("n") or 1) > 1


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
        prefill: Whether the server continues a last assistant message. A completion model always
            continues its prompt.
        prefill_kwargs: Passed to the calls that end in one.
        budget_keyword: What the LLM calls its limit on output tokens.
        resample_kwargs: Passed to the calls that must come out differently.

    Attributes:
        request: What is known about the request.
        last: The last response of the inner LLM.
    """

    def __init__(
        self,
        llm: LLM,
        asked: Asked,
        kwargs: Mapping[str, Any],
        *,
        prefill: bool,
        prefill_kwargs: Mapping[str, Any],
        budget_keyword: str,
        resample_kwargs: Mapping[str, Any],
    ) -> None:
        self._llm = llm
        self._asked = asked
        self._kwargs = dict(kwargs)
        self._limits = {budget_keyword, *LIMITS}
        self._limit = _least(self._kwargs.get(name) for name in self._limits)
        self._chat_model = llm.metadata.is_chat_model
        self._prefill = prefill
        self._prefill_kwargs = prefill_kwargs
        self._budget_keyword = budget_keyword
        self._resample_kwargs = resample_kwargs
        self._reader = Reader()
        self._earlier: Response | None = None
        self.request: Request = to_request(
            asked,
            metadata=llm.metadata,
            tokenizer=_tokenizer(llm),
            max_tokens=self._limit,
        )

    @property
    def continues(self) -> bool:
        """Whether the model goes on with a prefix as its own text."""
        return self._prefill or not self._chat_model

    @property
    def last(self) -> Response | None:
        """The last response of the inner LLM, over all calls."""
        return self._reader.last or self._earlier

    def steps(self, call: Call) -> Generator[Step, None, None]:
        """Make one call; closing hangs up."""
        reader = self._read(call)
        llm, method, asked, kwargs = self._plan(call)
        try:
            with hanging_up(getattr(llm, f"stream_{method}")(asked, **kwargs)) as responses:
                for response in responses:
                    yield from reader.read(response)
        except NotImplementedError:
            if reader.last is not None:
                raise
            whole = getattr(llm, method)(asked, **kwargs)
            yield from reader.read_whole(whole, call.prefill)
        yield from reader.end()

    async def asteps(self, call: Call) -> AsyncGenerator[Step, None]:
        """Make one call, for async drivers."""
        reader = self._read(call)
        llm, method, asked, kwargs = self._plan(call)
        try:
            stream = await getattr(llm, f"astream_{method}")(asked, **kwargs)
            async with ahanging_up(stream) as responses:
                async for response in responses:
                    for step in reader.read(response):
                        yield step
        except NotImplementedError:
            if reader.last is not None:
                raise
            whole = await getattr(llm, f"a{method}")(asked, **kwargs)
            for step in reader.read_whole(whole, call.prefill):
                yield step
        for step in reader.end():
            yield step

    def _read(self, call: Call) -> Reader:
        self._earlier = self.last
        self._reader = Reader(call.max_tokens)
        return self._reader

    def _plan(self, call: Call) -> Planned:
        """Choose the method of the inner LLM, and what it is asked."""
        asked, kwargs = self._asked, dict(self._kwargs)
        if call.prefill:
            asked, kwargs = self._going_on(call, kwargs)
        changes: dict[str, Any] = {}
        if call.resample:
            changes |= self._resample_kwargs
            seed = kwargs.get("seed", _extra(self._llm).get("seed"))
            if isinstance(seed, int):  # the same seed would give the same answer again
                changes["seed"] = seed + call.attempt
        dropped: Collection[str] = ()
        if call.max_tokens is not None:
            kwargs = {k: v for k, v in kwargs.items() if k not in self._limits}
            changes[self._budget_keyword] = call.max_tokens
            dropped = self._limits - {self._budget_keyword}
        elif self._limit is not None:
            changes |= {k: kwargs[k] for k in self._limits if _least([kwargs.get(k)]) is not None}
        method = "complete" if isinstance(asked, str) else "chat"
        return Planned(_changed(self._llm, changes, dropped), method, asked, kwargs | changes)

    def _going_on(self, call: Call, kwargs: dict[str, Any]) -> tuple[Asked, dict[str, Any]]:
        """What to ask a model so that it goes on: a longer prompt, or one turn more."""
        asked, llm = self._asked, self._llm
        formatted = kwargs.pop("formatted", False)
        if isinstance(asked, str) and not formatted and llm.completion_to_prompt is not None:
            asked = llm.completion_to_prompt(asked)
        if self._chat_model:
            messages = as_messages(asked) if isinstance(asked, str) else asked
            if self._prefill:
                kwargs |= self._prefill_kwargs
            return to_go_on(messages, call, prefill=self._prefill), kwargs
        if not isinstance(asked, str):
            asked = (llm.messages_to_prompt or messages_to_prompt)(asked)
        return asked + call.prefill, {**kwargs, "formatted": True}


def _extra(llm: LLM) -> Mapping[str, Any]:
    """The settings that integrations send with every call, over the call's own."""
    extra = getattr(llm, "additional_kwargs", None)
    return extra if isinstance(extra, Mapping) else {}


def _least(values: Iterable[Any]) -> int | None:
    """The least limit among settings; what is no number, or less than 1, is no limit."""
    limits = [v for v in values if isinstance(v, int) and not isinstance(v, bool) and v >= 1]
    return min(limits, default=None)


_tokenizers: dict[str, Any] = {}  # by name, for an LLM loads a named one anew at each look


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


def _changed(llm: LLM, changes: Mapping[str, Any], dropped: Collection[str] = ()) -> LLM:
    """The LLM with its own settings changed, where it has some that may outweigh the call's.

    OpenAI's class ignores the ``max_tokens`` of a call once it has one itself, or a tokenizer to
    reckon one with, and Hugging Face's looks at nothing else. The copy shares the private
    attributes, and so the HTTP clients that are made when first needed.

    Args:
        llm: The LLM.
        changes: New values of settings.
        dropped: Settings that must not be sent beside them.
    """
    fields, extra = type(llm).model_fields, _extra(llm)
    reckons = getattr(llm, "tokenizer", None) is not None
    update = {
        k: v
        for k, v in changes.items()
        if k in fields and (getattr(llm, k) is not None or (reckons and k in LIMITS))
    }
    for name in dropped:
        if name in fields and fields[name].default is None and getattr(llm, name) is not None:
            update[name] = None
    replaced = {k: changes.get(k, v) for k, v in extra.items() if k not in dropped}
    if replaced != extra:
        update["additional_kwargs"] = replaced
    if not update:
        return llm
    copy = llm.model_copy(update=update)
    object.__setattr__(copy, "__pydantic_private__", llm.__pydantic_private__)
    return copy
