"""Middleware for LangChain's agents: every model call goes through an AdaptiveChatModel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from langchain.agents.middleware.types import (
    AgentMiddleware,
    AgentState,
    ContextT,
    ModelRequest,
    ModelResponse,
    ResponseT,
)
from langchain_core.language_models import BaseChatModel

from langchain_stopping.chat_model import AdaptiveChatModel
from stopping_core import AdaptiveStopping


class AdaptiveStopMiddleware(AgentMiddleware[AgentState[ResponseT], ContextT, ResponseT]):
    """Cuts the model of an agent off when its answer is done, and continues what is incomplete.

    Every call of the agent's model goes through an
    :class:`~langchain_stopping.AdaptiveChatModel`, whichever model it is then: middleware that
    swaps the model works, and a model that is adaptive already is taken as it is. Put it last in
    the list, where it is next to the model: the others then see the model itself. An agent that
    streams its messages never shows an attempt twice, as an answer that was shown is only ever
    continued. A configurable model, which has no model yet, is left alone.

    An agent offers its tools in every call, and calls with tools are left alone unless
    ``cut_with_tools`` is True. The same holds for structured responses, always. So without it this
    acts on agents without tools, and on middleware's calls that offer none.

    Args:
        stopping: When to cut, what is complete, what to do then.
        prefill: See :class:`~langchain_stopping.AdaptiveChatModel`, as for all that follow. None
            leaves the choice to it.
        prefill_kwargs: Keywords for calls with a prefill.
        budget_keyword: Keyword by which the model takes the limit on output tokens.
        hang_up_ends_bill: Whether closing the stream ends the bill.
        cut_with_tools: Whether text answers of calls that offer tools are cut and checked as well;
            a tool call itself is never cut and always counts as complete. Off by default because
            models announce a tool call in text first, and a cut there would lose the call.

    Examples:
        >>> from langchain.agents import create_agent
        >>> from langchain_core.language_models import FakeListChatModel
        >>> model = FakeListChatModel(responses=['{"city": "Paris"} I hope that this helps!'])
        >>> agent = create_agent(model, middleware=[AdaptiveStopMiddleware(AdaptiveStopping())])
        >>> state = agent.invoke({"messages": [("user", "Where is the Louvre? Use JSON.")]})
        >>> state["messages"][-1].content
        '{"city": "Paris"}'
    """

    def __init__(
        self,
        stopping: AdaptiveStopping,
        *,
        prefill: bool | None = None,
        prefill_kwargs: Mapping[str, Any] | None = None,
        budget_keyword: str | None = None,
        hang_up_ends_bill: bool | None = None,
        cut_with_tools: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(stopping, AdaptiveStopping):
            raise TypeError(f"stopping must be an AdaptiveStopping, got {stopping!r}")
        self.stopping = stopping
        given: dict[str, Any] = {
            "prefill": prefill,
            "prefill_kwargs": None if prefill_kwargs is None else dict(prefill_kwargs),
            "budget_keyword": budget_keyword,
            "hang_up_ends_bill": hang_up_ends_bill,
            "cut_with_tools": cut_with_tools or None,
        }
        self._last: AdaptiveChatModel | None = None
        self._settings = {name: value for name, value in given.items() if value is not None}

    def wrap_model_call(
        self,
        request: ModelRequest[ContextT],
        handler: Callable[[ModelRequest[ContextT]], ModelResponse[ResponseT]],
    ) -> ModelResponse[ResponseT]:
        """Make a model call through the adaptive model."""
        return handler(self._adapted(request))

    async def awrap_model_call(
        self,
        request: ModelRequest[ContextT],
        handler: Callable[[ModelRequest[ContextT]], Awaitable[ModelResponse[ResponseT]]],
    ) -> ModelResponse[ResponseT]:
        """Make a model call through the adaptive model, for async agents."""
        return await handler(self._adapted(request))

    def _adapted(self, request: ModelRequest[ContextT]) -> ModelRequest[ContextT]:
        model = request.model
        if isinstance(model, AdaptiveChatModel) or not isinstance(model, BaseChatModel):
            return request
        adaptive = self._last
        if adaptive is None or adaptive.inner is not model:
            adaptive = AdaptiveChatModel(inner=model, stopping=self.stopping, **self._settings)
            self._last = adaptive
        return request.override(model=adaptive)
