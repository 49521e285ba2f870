"""The adaptive LLM for an inner LLM that calls functions, and the factory that chooses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM, ToolSelection
from pydantic import Field, SerializeAsAny

from llama_index.llms.stopping.llm import AdaptiveLLM, calls_functions
from stopping_core.stopping import AdaptiveStopping

if TYPE_CHECKING:
    from llama_index.core.tools.types import BaseTool


class AdaptiveFunctionCallingLLM(AdaptiveLLM, FunctionCallingLLM):
    """The :class:`AdaptiveLLM` for an inner LLM that calls functions, so that agents take it.

    Turns that offer tools are neither cut nor checked, the final answer of an agent among them:
    whether the model will call a tool or answer is not known until it has. ``cut_with_tools=True``
    has their text answers cut and checked all the same.

    Args: as of :class:`AdaptiveLLM`.
    """

    llm: SerializeAsAny[FunctionCallingLLM] = Field(description="The inner LLM.", repr=False)

    @classmethod
    def class_name(cls) -> str:
        return "adaptive_function_calling_llm"

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        return self.llm._prepare_chat_with_tools_compat(
            tools,
            user_msg=user_msg,
            chat_history=chat_history,
            verbose=verbose,
            allow_parallel_tool_calls=allow_parallel_tool_calls,
            tool_required=tool_required,
            **kwargs,
        )

    def _validate_chat_with_tools_response(
        self,
        response: ChatResponse,
        tools: Sequence[BaseTool],
        allow_parallel_tool_calls: bool = False,
        **kwargs: Any,
    ) -> ChatResponse:
        return self.llm._validate_chat_with_tools_response(
            response, tools, allow_parallel_tool_calls=allow_parallel_tool_calls, **kwargs
        )

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """Read the tool calls, as the inner LLM writes them."""
        return self.llm.get_tool_calls_from_response(
            response, error_on_no_tool_call=error_on_no_tool_call, **kwargs
        )


def adaptive_llm(llm: LLM, stopping: AdaptiveStopping, **fields: Any) -> AdaptiveLLM:
    """Wrap an LLM in the class that fits: the function-calling one where it calls functions.

    Args:
        llm: The inner LLM.
        stopping: What to do.
        fields: The other fields of :class:`AdaptiveLLM`: ``prefill``, ``budget_keyword``, ...

    Raises:
        ValueError: The LLM is adaptive already, or a field is wrong.
    """
    if calls_functions(llm):
        return AdaptiveFunctionCallingLLM(llm=llm, stopping=stopping, **fields)
    return AdaptiveLLM(llm=llm, stopping=stopping, **fields)
