"""Calls that must be left alone, and what becomes of a tool call in the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llama_index.core.llms.llm import LLM

from stopping_core.protocols import CompletenessCheck
from stopping_core.results import Draft, Verdict
from stopping_core.types import Request

_TOOLS = ("tools", "functions")
_FORMS = ("response_format", "response_schema", "format", "grammar")
_FORMS_IN_BODY = (*_FORMS, "json_schema", "structured_outputs", "regex", "ebnf")


def settings_of(llm: LLM) -> Mapping[str, Any]:
    """The settings that integrations send with every call, over the call's own."""
    extra = getattr(llm, "additional_kwargs", None)
    return extra if isinstance(extra, Mapping) else {}


def offers_tools(llm: LLM, kwargs: Mapping[str, Any]) -> bool:
    """Whether the model may call a tool."""
    given = {**settings_of(llm), **kwargs}
    built_in = getattr(llm, "built_in_tools", None)
    return bool(built_in) or any(given.get(name) for name in _TOOLS)


def is_untouched(llm: LLM, kwargs: Mapping[str, Any], *, cut_with_tools: bool) -> bool:
    """Whether a call must be neither cut nor checked.

    It offers tools, whose arguments are no answer to judge; or it constrains the form, and a
    continuation would begin that anew; or it asks for several answers at once, or for sound, which
    does not stream; or the LLM has its server keep the turns, and so would have it keep the cuts.

    Args:
        llm: The LLM that is asked.
        kwargs: What the caller passed on to it.
        cut_with_tools: Whether tools alone are no reason.
    """
    given = {**settings_of(llm), **kwargs}
    if _constrains(given) or (given.get("n") or 1) > 1:
        return True
    modalities = given.get("modalities") or getattr(llm, "modalities", None) or ()
    if "audio" in modalities or getattr(llm, "track_previous_responses", False):
        return True
    return not cut_with_tools and offers_tools(llm, kwargs)


def _constrains(given: Mapping[str, Any]) -> bool:
    """Whether settings constrain the form of the answer, under any server's name for that."""
    text, body = given.get("text"), given.get("extra_body")
    if any(given.get(name) for name in _FORMS) or (isinstance(text, Mapping) and "format" in text):
        return True
    return isinstance(body, Mapping) and any(
        name in _FORMS_IN_BODY or name.startswith("guided_") for name in body
    )


@dataclass(frozen=True, slots=True)
class OrToolCall:
    """Complete where the model has called a tool and ended; else where another check says so.

    Args:
        check: The other check.
        calls_tool: Whether the current call of the model calls a tool.
    """

    check: CompletenessCheck
    calls_tool: Callable[[], bool]

    @property
    def stands_for(self) -> CompletenessCheck:
        """The other check: what a certificate looks at."""
        return self.check

    @property
    def slow(self) -> bool:
        """Whether the other check takes long."""
        return bool(getattr(self.check, "slow", False))

    @property
    def fast(self) -> CompletenessCheck | None:
        """The same with what the other check has for a quick look."""
        check = getattr(self.check, "fast", None)
        return None if check is None else OrToolCall(check, self.calls_tool)

    def __call__(self, request: Request, draft: Draft, /) -> Verdict:
        if not self.calls_tool():
            return self.check(request, draft)
        if draft.finish_reason is None:
            return Verdict(False, "the stream broke off in a tool call")
        if draft.finish_reason == "cut" and not draft.decision.forced:
            return Verdict(False, "a tool is being called")
        return Verdict(True, "a tool was called")
