"""What decides beside the model and its prompt which tokens are said, as calls name it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from types import MappingProxyType
from typing import Any

from stopping_core.providers import LIMITS

_NEUTRAL: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "bad_words": (),
        "bad_words_ids": (),
        "best_of": (1,),
        "frequency_penalty": (0,),
        "guidance_scale": (1,),
        "logit_bias": (),
        "min_new_tokens": (0,),
        "min_tokens": (0,),
        "mirostat": (0,),
        "n": (1,),
        "no_repeat_ngram_size": (0,),
        "num_beams": (1,),
        "presence_penalty": (0,),
        "reasoning": (False,),
        "reasoning_effort": (),
        "repeat_penalty": (1,),
        "repetition_penalty": (1,),
        "stop": (),
        "stop_sequences": (),
        "stop_strings": (),
        "suppress_tokens": (),
        "tfs_z": (1,),
        "thinking": (),
        "thinking_budget": (),
        "verbosity": (),
    }
)
"""Settings that change what is said at any temperature, and the values at which they do not."""

_ONLY_SAMPLED: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {"min_p": (0,), "top_k": (0, -1), "top_p": (1,), "typical_p": (1,)}
)
"""Likewise, but without effect on a greedy call."""

NAMES = frozenset({"temperature", *_NEUTRAL, *_ONLY_SAMPLED})
"""Of the settings that are known here."""

_WITHOUT_EFFECT = frozenset(
    {
        *LIMITS,
        *("model", "model_name", "stream", "streaming", "stream_options", "stream_usage", "seed"),
        *("logprobs", "top_logprobs", "n_probs", "user", "metadata", "tags", "store", "priority"),
        *("timeout", "request_timeout", "max_retries", "service_tier", "keep_alive", "formatted"),
        *("extra_body", "extra_headers", "extra_query", "headers", "request_id", "run_name"),
        *("prompt_cache_key", "safety_identifier", "cache_prompt", "id_slot", "callbacks"),
        *("tools", "functions", "tool_choice", "function_call", "parallel_tool_calls"),
    }
)
"""Keywords that decide nothing over the tokens, or are asked about elsewhere."""


def sampling_of(own: Any, *given: Any) -> dict[str, Any]:
    """Pick what decides over the tokens out of a model's settings and a call's keywords.

    Args:
        own: The model's settings, a mapping: those in :data:`NAMES` are taken.
        given: The keywords that are sent, mappings, or what is none and is passed over; later ones
            go first. All of them is taken but what is known to have no effect. The last
            ``extra_body``, theirs or the model's, goes before all, as clients put it over the rest.

    Returns:
        What says something: a setting that is None leaves it to others.

    Examples:
        >>> sampling_of({"temperature": 1.0, "base_url": "u"}, None, {"temperature": 0, "seed": 5})
        {'temperature': 0}
        >>> sampling_of({"temperature": 0}, {"extra_body": {"temperature": 1.5, "dry": 1}})
        {'temperature': 1.5, 'dry': 1}
    """
    body: Mapping[str, Any] = {}
    found: dict[str, Any] = {}
    for number, one in enumerate((own, *given)):
        if not isinstance(one, Mapping):
            continue
        if isinstance(one.get("extra_body"), Mapping):
            body = one["extra_body"]
        found |= _said(one, known_only=number == 0)
    return found | _said(body, known_only=False)


def greedily(*given: Any) -> dict[str, Any]:
    """Return the keywords that make a sampled call a greedy one; none where it is not known as one.

    Some models refuse any temperature, so none is sent that nobody has set.

    Args:
        given: As of :func:`sampling_of`.

    Examples:
        >>> greedily({"temperature": 0.8}), greedily({})
        ({'temperature': 0.0}, {})
        >>> greedily({"extra_body": {"temperature": 0.8, "top_k": 9}})
        {'temperature': 0.0, 'extra_body': {'temperature': 0.0, 'top_k': 9}}
    """
    own, *others = given
    if not sampling_of(own, *others).get("temperature"):
        return {}
    found: dict[str, Any] = {"temperature": 0.0}
    told = (one.get("extra_body") for one in given if isinstance(one, Mapping))
    bodies = [body for body in told if isinstance(body, Mapping)]
    if bodies and "temperature" in bodies[-1]:
        found["extra_body"] = {**bodies[-1], "temperature": 0.0}
    return found


def _said(given: Mapping[str, Any], *, known_only: bool) -> dict[str, Any]:
    return {
        name: value
        for name, value in given.items()
        if value is not None and (name in NAMES if known_only else name not in _WITHOUT_EFFECT)
    }


def other_sampling(asked: Mapping[str, Any], temperature: float) -> str:
    """Say how settings differ from plain sampling at a temperature, or from greedy where it is 0.

    A setting that is not known here differs: what it does is not known either. What a server adds
    by itself cannot be seen; above temperature 0 some cut off the tail of the distribution unless
    they are told not to.

    Args:
        asked: As :func:`sampling_of` gives them.
        temperature: What it should be, >= 0.

    Returns:
        ``""`` where nothing differs. A temperature that is not known does.

    Examples:
        >>> other_sampling({"temperature": 0, "top_p": 0.9}, 0.0)
        ''
        >>> other_sampling({"temperature": 0, "stop": ["."]}, 0.0)
        "stop is ['.']"
        >>> other_sampling({}, 0.0)
        'the temperature is unknown, certified is 0'
    """
    found = asked.get("temperature")
    number = math.nan
    if isinstance(found, Real) and not isinstance(found, bool):
        number = float(found)
    if not math.isclose(number, temperature, abs_tol=1e-9):
        said = "unknown" if found is None else repr(found)
        return f"the temperature is {said}, certified is {temperature:g}"
    changed = []
    for name, value in asked.items():
        greedy = name in _ONLY_SAMPLED and temperature == 0
        neutral = _NEUTRAL.get(name, _ONLY_SAMPLED.get(name))
        if name == "temperature" or greedy or (neutral is not None and _is_one(value, neutral)):
            continue
        changed.append(f"{name} is set" if neutral is None else f"{name} is {value!r}")
    return ", ".join(changed)


def _is_one(value: Any, neutral: tuple[Any, ...]) -> bool:
    """Whether a value is one of the neutral ones, or empty."""
    if hasattr(value, "__len__"):
        return len(value) == 0
    return value in neutral
