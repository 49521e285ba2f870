"""The LLM that stops an inner LLM when its answer is done, and continues it when it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from typing import Annotated, Any, Self, TypeGuard

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
)
from llama_index.core.instrumentation.span import active_span_id
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM
from llama_index.core.llms.structured_llm import StructuredLLM
from pydantic import Field, GetPydanticSchema, field_serializer, model_validator
from pydantic_core import core_schema

from llama_index.llms.stopping.events import telling
from llama_index.llms.stopping.limits import provider_of
from llama_index.llms.stopping.messages import Asked, Reply
from llama_index.llms.stopping.quiet import quiet
from llama_index.llms.stopping.source import Source
from llama_index.llms.stopping.structured import SHARED, PredictsWithin
from llama_index.llms.stopping.tools import OrToolCall, is_untouched
from llama_index.llms.stopping.transport import ahangs_up, hangs_up
from stopping_core.providers import Provider
from stopping_core.retry import arun, astream, run, stream
from stopping_core.session import Session
from stopping_core.stopping import AdaptiveStopping

_AS_IT_IS = GetPydanticSchema(  # or pydantic would look for a schema of every policy
    lambda source, handler: core_schema.is_instance_schema(source),
    lambda schema, handler: {"type": "object", "title": AdaptiveStopping.__name__},
)


class AdaptiveLLM(PredictsWithin):
    """Wraps any LLM: cuts an answer where it is done, and continues it where it is not complete.

    All kinds of generation run on the inner LLM's streams, so that a cut saves what would follow;
    an inner LLM that does not stream can only be checked and continued. Calls that offer tools or
    constrain the form of the answer, and structured prediction, go to the inner LLM untouched.

    What was done is told under ``"stopping"`` in the response's ``raw``, which is otherwise the
    provider's last chunk as a dict, and in its ``additional_kwargs``; of a stream, in those of its
    last response. Both hold the tokens of all calls under LlamaIndex's names, with ``estimated``
    where they are ours: a provider sends no count after a cut, and otherwise only where its streams
    do (for OpenAI's class, ask for it with
    ``additional_kwargs={"stream_options": {"include_usage": True}}``). Each stop dispatches a
    :class:`~llama_index.llms.stopping.GenerationStopEvent`. The inner LLM fires neither callbacks
    nor events nor spans: a request is one entry in a trace. Its settings that shape prompts and its
    callback manager hold here too, unless given anew.

    Limits: the inner LLM's own ``max_tokens``, by whatever name, gives way to the granted budget
    while the mode is ``active``; a call's own is the hard limit over all attempts. The inner LLM's
    ``max_retries`` multiply the attempts, so set them to 0. Token logprobs are not gathered into
    the response. Agents that write their steps as text (``ReActAgent``) need a policy that does not
    end a step in its middle: the default one, or one whose completeness check knows the steps'
    form. The tokens of a prompt are counted only where the inner LLM has a tokenizer.

    Args:
        llm: The inner LLM. Where it calls functions, use :func:`adaptive_llm`.
        stopping: What to do.
        prefill: Whether the server continues a last assistant message, as llama.cpp and vLLM do.
            If not, a user turn asks the model to go on, and what it repeats is removed. None, here
            and below: as the table of providers says, see ``stopping_core.providers``.
        prefill_kwargs: Passed to the calls that end in such a message; vLLM needs
            ``{"extra_body": {"continue_final_message": True, "add_generation_prompt": False}}``.
        budget_keyword: What the inner LLM calls its limit on output tokens; ``""`` sends it none.
            That is so of a class that is not in the table and has no field of such a name.
        hang_up_ends_bill: Whether closing the stream ends what the provider generates and bills. If
            not, budgets come from ``stopping.up_front``.
        cut_with_tools: Whether text answers of calls that offer tools are cut and checked as well.
            A tool call itself is never cut, gets no budget and counts as complete; only
            ``max_seconds`` and a stall end it. Off by default because models announce a tool call
            in text first, and a cut there would lose the call.
        resample_kwargs: Passed to the calls after a loop or a useless answer, which must differ.
    """

    stopping: Annotated[AdaptiveStopping, _AS_IT_IS] = Field(
        description="When to cut, what is complete, and what to do about it.", exclude=True
    )
    prefill: bool | None = Field(
        default=None, description="Whether the server continues a last assistant message."
    )
    prefill_kwargs: dict[str, Any] | None = Field(
        default=None,
        description="Passed to calls that end in an assistant message.",
        exclude=True,
        repr=False,
    )
    budget_keyword: str | None = Field(
        default=None, description="What the inner LLM calls its limit on output tokens."
    )
    hang_up_ends_bill: bool | None = Field(
        default=None, description="Whether closing the stream ends what the provider bills."
    )
    cut_with_tools: bool = Field(
        default=False, description="Whether text answers beside offered tools are cut and checked."
    )
    resample_kwargs: dict[str, Any] = Field(
        default_factory=lambda: {"temperature": 0.7},
        description="Passed to calls that must come out differently.",
        exclude=True,
        repr=False,
    )

    @classmethod
    def class_name(cls) -> str:
        return "adaptive_llm"

    @property
    def metadata(self) -> LLMMetadata:
        """The inner LLM's, unchanged: a retry's budget must not shrink the retrieved context."""
        return self.llm.metadata

    def to_payload(self) -> dict[str, Any]:
        """Describe it for events and callbacks, without credentials."""
        inner = self.llm.to_payload()
        return {**super().to_payload(), "llm": inner, "mode": self.stopping.mode}

    @field_serializer("llm")
    def _describe(self, llm: LLM) -> dict[str, Any]:
        """The inner LLM in a dump: what events get, for its own dump would hold its API key."""
        return llm.to_payload()

    @model_validator(mode="before")
    @classmethod
    def _share(cls, data: Any) -> Any:
        """Take the settings that shape prompts from the inner LLM."""
        if not isinstance(data, Mapping) or not isinstance(inner := data.get("llm"), LLM):
            return data
        return {**{name: getattr(inner, name) for name in SHARED}, **data}

    @model_validator(mode="after")
    def _check_inner(self) -> Self:
        if isinstance(self.llm, AdaptiveLLM):
            raise ValueError("llm must be an LLM that is not adaptive yet")
        if isinstance(self.llm, StructuredLLM):
            raise ValueError(
                "llm must answer in text, got a StructuredLLM: wrap the LLM inside it, then call "
                "as_structured_llm() on the wrapper"
            )
        if calls_functions(self.llm) != isinstance(self, FunctionCallingLLM):
            raise ValueError(
                f"llm of {type(self).__name__} must "
                f"{'' if isinstance(self, FunctionCallingLLM) else 'not '}call functions, "
                f"got {type(self.llm).__name__}: adaptive_llm() chooses the class that fits"
            )
        return self

    # -- chat

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer messages."""
        if self._is_untouched(kwargs):
            return quiet(self.llm).chat(messages, **kwargs)
        source, session = self._begin(messages, kwargs)
        completion = run(session, source.steps)
        return Reply.to(completion, source.beside).chat(source.last, completion, streamed=False)

    @hangs_up
    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Answer messages as a stream. What was yielded is never taken back."""
        if self._is_untouched(kwargs):
            return quiet(self.llm).stream_chat(messages, **kwargs)

        source, session = self._begin(messages, kwargs, streaming=True)

        def generate() -> ChatResponseGen:
            reply = Reply(source.beside)
            with closing(stream(session, source.steps)) as emissions:
                for emission in emissions:
                    reply.add(emission)
                    yield reply.chat(source.last)
            yield reply.chat(source.last, session.completion)

        return generate()

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer messages."""
        if self._is_untouched(kwargs):
            return await quiet(self.llm).achat(messages, **kwargs)
        source, session = self._begin(messages, kwargs)
        completion = await arun(session, source.asteps)
        return Reply.to(completion, source.beside).chat(source.last, completion, streamed=False)

    @ahangs_up
    @llm_chat_callback()
    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """Answer messages as a stream. What was yielded is never taken back."""
        if self._is_untouched(kwargs):
            return await quiet(self.llm).astream_chat(messages, **kwargs)

        source, session = self._begin(messages, kwargs, streaming=True)

        async def generate() -> ChatResponseAsyncGen:
            reply = Reply(source.beside)
            async with aclosing(astream(session, source.asteps)) as emissions:
                async for emission in emissions:
                    reply.add(emission)
                    yield reply.chat(source.last)
            yield reply.chat(source.last, session.completion)

        return generate()

    # -- completion

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Complete a prompt."""
        if self._is_untouched(kwargs):
            return quiet(self.llm).complete(prompt, formatted=formatted, **kwargs)
        source, session = self._begin(prompt, {**kwargs, "formatted": formatted})
        completion = run(session, source.steps)
        return Reply.to(completion, source.beside).completion(
            source.last, completion, streamed=False
        )

    @hangs_up
    @llm_completion_callback()
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseGen:
        """Complete a prompt as a stream. What was yielded is never taken back."""
        if self._is_untouched(kwargs):
            return quiet(self.llm).stream_complete(prompt, formatted=formatted, **kwargs)

        given = {**kwargs, "formatted": formatted}
        source, session = self._begin(prompt, given, streaming=True)

        def generate() -> CompletionResponseGen:
            reply = Reply(source.beside)
            with closing(stream(session, source.steps)) as emissions:
                for emission in emissions:
                    reply.add(emission)
                    yield reply.completion(source.last)
            yield reply.completion(source.last, session.completion)

        return generate()

    @llm_completion_callback()
    async def acomplete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponse:
        """Complete a prompt."""
        if self._is_untouched(kwargs):
            return await quiet(self.llm).acomplete(prompt, formatted=formatted, **kwargs)
        source, session = self._begin(prompt, {**kwargs, "formatted": formatted})
        completion = await arun(session, source.asteps)
        return Reply.to(completion, source.beside).completion(
            source.last, completion, streamed=False
        )

    @ahangs_up
    @llm_completion_callback()
    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseAsyncGen:
        """Complete a prompt as a stream. What was yielded is never taken back."""
        if self._is_untouched(kwargs):
            return await quiet(self.llm).astream_complete(prompt, formatted=formatted, **kwargs)

        given = {**kwargs, "formatted": formatted}
        source, session = self._begin(prompt, given, streaming=True)

        async def generate() -> CompletionResponseAsyncGen:
            reply = Reply(source.beside)
            async with aclosing(astream(session, source.asteps)) as emissions:
                async for emission in emissions:
                    reply.add(emission)
                    yield reply.completion(source.last)
            yield reply.completion(source.last, session.completion)

        return generate()

    def _is_untouched(self, kwargs: dict[str, Any]) -> bool:
        return is_untouched(self.llm, kwargs, cut_with_tools=self.cut_with_tools)

    def _begin(
        self, asked: Asked, kwargs: dict[str, Any], *, streaming: bool = False
    ) -> tuple[Source, Session]:
        provider = self._provider()
        source = Source(
            self.llm, asked, kwargs, provider=provider, resample_kwargs=self.resample_kwargs
        )
        tell = telling(self.metadata.model_name, self.stopping.completeness, active_span_id.get())
        stopping = self.stopping.replace(
            completeness=OrToolCall(self.stopping.completeness, lambda: source.calls_tool),
            hooks=(*self.stopping.hooks, tell),
        )
        session = Session(
            stopping,
            source.request,
            streaming=streaming,
            prefill=source.continues,
            hang_up_ends_bill=provider.hang_up_ends_bill,
        )
        return source, session

    def _provider(self) -> Provider:
        """The row of the inner LLM in the table of providers, with what was given here."""
        names = ("prefill", "prefill_kwargs", "budget_keyword", "hang_up_ends_bill")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        return replace(provider_of(self.llm), **given)


def calls_functions(llm: LLM) -> TypeGuard[FunctionCallingLLM]:
    """Whether an LLM calls functions: its class can, and its model does."""
    return isinstance(llm, FunctionCallingLLM) and llm.metadata.is_function_calling_model
