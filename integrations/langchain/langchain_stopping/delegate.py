"""A chat model that stands around another one, and passes on what is the other's affair."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable, RunnableBinding
from langchain_core.tools import BaseTool
from pydantic import BaseModel, field_validator, model_validator

_HOISTED = (
    "cache",
    "callbacks",
    "custom_get_token_ids",
    "disable_streaming",
    "output_version",
    "rate_limiter",
    "tags",
)


class DelegatingChatModel(BaseChatModel):
    """A chat model around another: its name in traces, its profile, its tools, its tokens.

    What LangChain applies around a model and not inside it (cache, rate limiter, callbacks, tags,
    metadata, output version) would be lost where only the inside is called. It is taken over from
    the inner model where nothing else is set, when this one is made.

    Args:
        inner: The model that answers.

    Raises:
        ValueError: ``inner`` is no chat model, or already stands around another one.
    """

    inner: BaseChatModel

    @field_validator("inner", mode="before")
    @classmethod
    def _check_inner(cls, inner: object) -> object:
        """Refuse what looks like a model and would not be stopped as one."""
        if isinstance(inner, DelegatingChatModel):
            raise ValueError(
                f"inner is an {type(inner).__name__} already: give the model inside it, "
                "AdaptiveChatModel(inner=model.inner, ...)"
            )
        if isinstance(inner, Runnable) and not isinstance(inner, BaseChatModel):
            raise ValueError(
                f"inner must be a chat model, got a {type(inner).__name__}: wrap the model itself, "
                "and call bind, bind_tools, with_config, with_retry or with_fallbacks on the "
                "AdaptiveChatModel"
            )
        return inner

    @model_validator(mode="after")
    def _hoist(self) -> Self:
        """Take over the settings that LangChain applies around a model and not inside it."""
        for name in _HOISTED:
            if name not in self.model_fields_set:
                setattr(self, name, getattr(self.inner, name))
        self.metadata = {**(self.inner.metadata or {}), **(self.metadata or {})}
        return self

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        """What ``repr`` shows, and with it traces: no keywords or headers, which may hold keys."""
        name = self._get_ls_params().get("ls_model_name")
        yield "inner", f"{type(self.inner).__name__}({name or ''})"

    @property
    def model_name(self) -> str:
        """The inner model's name, by which agents know what it can do; ``""`` where it has none."""
        names = (getattr(self.inner, key, None) for key in ("model_name", "model", "model_id"))
        return next((name for name in names if isinstance(name, str) and name), "")

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return self.inner._get_ls_params(stop=stop, **kwargs)

    def _resolve_model_profile(self) -> ModelProfile | None:
        return self.inner.profile

    def _combine_llm_outputs(self, outputs: list[dict[str, Any] | None], /) -> dict[str, Any]:
        return self.inner._combine_llm_outputs([output for output in outputs if output])

    def get_token_ids(self, text: str) -> list[int]:
        """Return the inner model's tokens of a text."""
        own = self.custom_get_token_ids
        return self.inner.get_token_ids(text) if own is None else own(text)

    def get_num_tokens(self, text: str) -> int:
        """Count the inner model's tokens of a text."""
        own = self.custom_get_token_ids
        return self.inner.get_num_tokens(text) if own is None else len(own(text))

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        return self.inner.get_num_tokens_from_messages(messages, tools)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools as the inner model does."""
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        bound = self.inner.bind_tools(tools, **kwargs)
        if not isinstance(bound, RunnableBinding):
            raise TypeError(f"{type(self.inner).__name__}.bind_tools gives no binding: {bound!r}")
        return self.bind(**bound.kwargs)

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Give the inner model's structured output, which is neither cut nor checked."""
        around = {name: getattr(self, name) for name in (*_HOISTED, "metadata")}
        inner = self.inner.model_copy(update=around)
        return inner.with_structured_output(schema, include_raw=include_raw, **kwargs)
