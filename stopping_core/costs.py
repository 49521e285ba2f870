"""What a bill comes to where tokens are priced in different ways."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from stopping_core.types import Usage


@dataclass(frozen=True, slots=True)
class CostRegime:
    """The price of each kind of token, in the price of one output token.

    Output that is thrown away costs what kept output costs: retries, restarts and probes are paid
    in full. A saving of tokens is a saving of money only as far as the input, which no cut gives
    back, leaves room for it; a rule that reads its own prefix again may cost more than it saves.

    Args:
        name: What tables call it.
        input: Of an input token that is read for the first time, >= 0.
        cached: Of an input token that was sent before: prompt and prefix of every later call, >= 0.
        output: Of an output token, > 0.

    Raises:
        ValueError: A price is out of its interval.

    Examples:
        >>> usage = Usage(prompt=400, generated=60, reread=460, probed=20)
        >>> LOCAL.cost(usage), API.cost(usage), CACHED_API.cost(usage)
        (80.0, 295.0, 191.5)
    """

    name: str
    input: float
    cached: float
    output: float

    def __post_init__(self) -> None:
        for name in ("input", "cached", "output"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be in [0, inf), got {value}")
        if self.output == 0:
            raise ValueError(f"output must be > 0, got {self.output}")

    def cost(self, usage: Usage) -> float:
        """Price every token that was billed, in output tokens."""
        out = usage.generated + usage.probed + usage.unseen
        return self.input * usage.prompt + self.cached * usage.reread + self.output * out

    def saving(self, cut: Iterable[Usage], full: Iterable[Usage]) -> float:
        """Tell what share of the full runs' bill a policy's bill on the same requests saves.

        Returns:
            1 - the sum of the cut bills / the sum of the full ones: at most 1, and below 0 where
            the policy costs more than it saves. NaN where the full runs cost nothing.
        """
        whole = math.fsum(self.cost(usage) for usage in full)
        part = math.fsum(self.cost(usage) for usage in cut)
        return 1 - part / whole if whole > 0 else math.nan


LOCAL = CostRegime("local", input=0.0, cached=0.0, output=1.0)
"""One's own machine: only decoding counts. Reading input in parallel is taken for free."""

API = CostRegime("api", input=1 / 4, cached=1 / 4, output=1.0)
"""A provider without a prefix cache: output at four times the price of input, and a prefix that is
sent again is paid again."""

CACHED_API = CostRegime("cached_api", input=1 / 4, cached=1 / 40, output=1.0)
"""A provider with a prefix cache: input that was sent before costs a tenth. It is taken to be found
in the cache every time; writing to the cache is taken to cost nothing."""

REGIMES: Mapping[str, CostRegime] = MappingProxyType(
    {regime.name: regime for regime in (LOCAL, API, CACHED_API)}
)
