"""Limits and other settings of the inner LLM, changed for one call."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from llama_index.core.llms.llm import LLM

from llama_index.llms.stopping.tools import settings_of
from stopping_core.providers import LIMITS, Provider, find_provider


def provider_of(llm: LLM) -> Provider:
    """The row for an LLM in the table of providers, by its class and where it sends its calls.

    A class that is not in the table gets no budget, unless it has a field of such a name: it may
    take no keyword that it does not know.
    """
    urls = (getattr(llm, name, None) for name in ("api_base", "base_url"))
    url = next((url for url in urls if isinstance(url, str) and url), None)
    row = find_provider((kind.__name__ for kind in type(llm).__mro__), url)
    if row.name != "unknown":
        return row
    fields = type(llm).model_fields
    return replace(row, budget_keyword=next((name for name in LIMITS if name in fields), ""))


def least(values: Iterable[Any]) -> int | None:
    """The least limit among settings; what is no number, or less than 1, is no limit."""
    limits = [v for v in values if isinstance(v, int) and not isinstance(v, bool) and v >= 1]
    return min(limits, default=None)


def is_tighter(llm: LLM, kwargs: Mapping[str, Any], keyword: str, seconds: float) -> bool:
    """Whether a call has a time-out already that must stay: a shorter one, or one of several."""
    given = {keyword: getattr(llm, keyword, None), **kwargs, **settings_of(llm)}[keyword]
    return given is not None and not (isinstance(given, int | float) and given > seconds)


def put(
    llm: LLM, kwargs: Mapping[str, Any], keyword: str, value: int
) -> tuple[LLM, dict[str, Any]]:
    """Put a setting where a dotted keyword says: into one of the LLM's dictionaries, or the call's.

    Args:
        llm: The LLM.
        kwargs: The call's keywords.
        keyword: The dictionary's name, a dot, and the setting's.
        value: The setting.

    Returns:
        The LLM, or a copy of it, and the keywords of the call.
    """
    head, _, name = keyword.partition(".")
    if head not in type(llm).model_fields:
        return llm, {**kwargs, head: {**(kwargs.get(head) or {}), name: value}}
    return copied(llm, {head: {**(getattr(llm, head) or {}), name: value}}), dict(kwargs)


def changed(llm: LLM, changes: Mapping[str, Any], dropped: Collection[str] = ()) -> LLM:
    """The LLM with its own settings changed, where it has some that may outweigh the call's.

    OpenAI's class ignores the ``max_tokens`` of a call once it has one itself, or a tokenizer to
    reckon one with, and Hugging Face's looks at nothing else. The copy shares the private
    attributes, and so the HTTP clients that are made when first needed. What a method writes into
    public fields of the copy, a counter for example, is lost with it.

    Args:
        llm: The LLM.
        changes: New values of settings.
        dropped: Settings that must not be sent beside them.
    """
    fields, extra = type(llm).model_fields, settings_of(llm)
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
    return copied(llm, update) if update else llm


def copied(llm: LLM, update: Mapping[str, Any]) -> LLM:
    """Copy an LLM, with other settings and the same private attributes."""
    copy = llm.model_copy(update=update)
    object.__setattr__(copy, "__pydantic_private__", llm.__pydantic_private__)
    return copy
