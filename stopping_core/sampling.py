"""The settings of a sampler, as calls name them: what decides beside the model what it says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

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
        "n": (1,),
        "no_repeat_ngram_size": (0,),
        "num_beams": (1,),
        "presence_penalty": (0,),
        "repeat_penalty": (1,),
        "repetition_penalty": (1,),
        "stop": (),
        "stop_sequences": (),
        "stop_strings": (),
        "suppress_tokens": (),
    }
)
"""Settings that change what is said at any temperature, and the values at which they do not."""

_ONLY_SAMPLED: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {"min_p": (0,), "top_k": (0, -1), "top_p": (1,), "typical_p": (1,)}
)
"""Likewise, but without effect on a greedy call."""

NAMES = frozenset({"temperature", *_NEUTRAL, *_ONLY_SAMPLED})
"""Of all settings that are known here."""


def sampling_of(*given: Any) -> dict[str, Any]:
    """Pick the sampler's settings out of a call's keywords.

    Args:
        given: Mappings, or what is none and is passed over; later ones go first. An ``extra_body``
            in one of them counts as part of it.

    Returns:
        Those that say something: a setting that is None leaves it to others.

    Examples:
        >>> sampling_of({"temperature": 1.0, "model": "m"}, None, {"temperature": 0, "stop": None})
        {'temperature': 0}
    """
    found: dict[str, Any] = {}
    for one in given:
        if isinstance(one, Mapping):
            body = one.get("extra_body")
            for part in (body if isinstance(body, Mapping) else {}, one):
                known = sorted(NAMES & part.keys())
                found |= {name: part[name] for name in known if part[name] is not None}
    return found


def other_sampling(asked: Mapping[str, Any], temperature: float) -> str:
    """Say how settings differ from plain sampling at a temperature, or from greedy where it is 0.

    Settings that this library has no word for are not seen.

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
    if not isinstance(found, int | float) or not math.isclose(found, temperature, abs_tol=1e-9):
        said = "unknown" if found is None else repr(found)
        return f"the temperature is {said}, certified is {temperature:g}"
    kinds = _NEUTRAL if temperature == 0 else {**_NEUTRAL, **_ONLY_SAMPLED}
    changed = [
        f"{name} is {asked[name]!r}"
        for name, neutral in kinds.items()
        if name in asked and not _says_nothing(asked[name], neutral)
    ]
    return ", ".join(changed)


def _says_nothing(value: Any, neutral: tuple[Any, ...]) -> bool:
    return value is None or value in neutral or (hasattr(value, "__len__") and len(value) == 0)
