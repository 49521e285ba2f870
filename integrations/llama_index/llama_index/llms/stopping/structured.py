"""Structured prediction, which belongs to the inner LLM: nothing is cut there."""

from __future__ import annotations

from typing import Any

from llama_index.core.llms.llm import LLM
from llama_index.core.llms.structured_llm import StructuredLLM
from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny

from llama_index.llms.stopping.limits import copied
from llama_index.llms.stopping.transport import ahangs_up, hangs_up

SHARED = (
    "callback_manager",
    "completion_to_prompt",
    "messages_to_prompt",
    "output_parser",
    "pydantic_program_mode",
    "query_wrapper_prompt",
    "system_prompt",
)
"""The settings that the wrapper takes from the inner LLM, unless they are given anew."""


class PredictsWithin(LLM):
    """An LLM whose structured prediction is that of an inner LLM, with its own settings.

    Args:
        llm: The inner LLM.
    """

    model_config = ConfigDict(extra="forbid")

    llm: SerializeAsAny[LLM] = Field(description="The inner LLM.", repr=False)

    def structured_predict(self, *args: Any, **kwargs: Any) -> Any:
        """Delegate to the inner LLM, uncut."""
        return self._within().structured_predict(*args, **kwargs)

    async def astructured_predict(self, *args: Any, **kwargs: Any) -> Any:
        """Delegate to the inner LLM, uncut."""
        return await self._within().astructured_predict(*args, **kwargs)

    @hangs_up
    def stream_structured_predict(self, *args: Any, **kwargs: Any) -> Any:
        """Delegate to the inner LLM, uncut; closing hangs up."""
        return self._within().stream_structured_predict(*args, **kwargs)

    @ahangs_up
    async def astream_structured_predict(self, *args: Any, **kwargs: Any) -> Any:
        """Delegate to the inner LLM, uncut; closing hangs up."""
        return await self._within().astream_structured_predict(*args, **kwargs)

    def as_structured_llm(self, output_cls: type[BaseModel], **kwargs: Any) -> StructuredLLM:
        """Make an LLM that answers with objects, whose streams hang up when closed."""
        return HangingUpStructuredLLM(llm=self, output_cls=output_cls, **kwargs)

    def _within(self) -> LLM:
        """The inner LLM, or a copy of it that has the settings given here."""
        own = {name: getattr(self, name) for name in SHARED}
        given = {k: v for k, v in own.items() if v is not getattr(self.llm, k)}
        return copied(self.llm, given) if given else self.llm


class HangingUpStructuredLLM(StructuredLLM):
    """LlamaIndex's own, whose streams hang up when closed."""


# Set afterwards, or they would be given a second span; mypy takes methods for constants.
HangingUpStructuredLLM.stream_chat = hangs_up(  # type: ignore[method-assign]  # see above
    StructuredLLM.stream_chat
)
HangingUpStructuredLLM.astream_chat = ahangs_up(  # type: ignore[method-assign]  # likewise
    StructuredLLM.astream_chat
)
