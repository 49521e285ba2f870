"""Stop the rounds of an agent when its draft no longer moves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar, Self

from stopping_core.policies.baselines.baseline import Tier
from stopping_core.types import Need


class SemanticRounds:
    """Ends a loop of drafts once two in a row mean the same, often enough in a row.

    A rule over rounds and not over tokens: it is told draft after draft. A run holds one answer and
    no rounds, so that no replay over runs can evaluate it; :meth:`stop` does over recorded drafts.

    Rule: d = 1 - cosine of the embeddings of a draft and the one before; stop when d <= ``at_most``
    for ``patience`` rounds in a row, or at ``rounds``. This is the variant without a judge, the one
    that its author found to save; the quality gate costs more than it saves. From description: all
    three defaults, which were not published where we could read them. Needs rounds, and an
    embedding.

    Args:
        embed: Turns a draft into a vector; None until there is one, and then no draft is taken.
        at_most: Cosine distance, in [0, 2].
        patience: Rounds in a row, >= 1.
        rounds: Rounds at most, >= 1: ``max_iterations``.

    References:
        Shrivastava (2026), Semantic Early-Stopping for Iterative LLM Agent Loops. arXiv:2606.27009.
    """

    title: ClassVar[str] = "semantic rounds"
    tier: ClassVar[Tier] = "text"

    def __init__(
        self,
        embed: Callable[[str], Sequence[float]] | None = None,
        at_most: float = 0.05,
        patience: int = 2,
        rounds: int = 10,
    ) -> None:
        if not 0.0 <= at_most <= 2.0:
            raise ValueError(f"at_most must be in [0, 2], got {at_most}")
        if patience < 1:
            raise ValueError(f"patience must be >= 1, got {patience}")
        if rounds < 1:
            raise ValueError(f"rounds must be >= 1, got {rounds}")
        self.embed = embed
        self.at_most = at_most
        self.patience = patience
        self.rounds = rounds
        self.reset()

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return distances and patience; without an embedding."""
        pairs = ((d, p) for p in (2, 1, 3) for d in (0.05, 0.01, 0.02, 0.1, 0.2))
        return tuple(cls(None, at_most, patience) for at_most, patience in pairs)

    def needs(self) -> frozenset[Need]:
        """Return what it needs beyond the text."""
        return frozenset({"rounds"})

    def reset(self) -> None:
        """Forget all drafts."""
        self._last: Sequence[float] | None = None
        self._streak = 0
        self._drafts = 0

    def update(self, draft: str) -> bool:
        """Take the next draft; say whether to stop.

        Raises:
            ValueError: There is no embedding.
        """
        if self.embed is None:
            raise ValueError(f"embed must be given to compare drafts, got None: {self!r}")
        vector, last = self.embed(draft), self._last
        self._last = vector
        self._drafts += 1
        still = last is not None and cosine_distance(last, vector) <= self.at_most
        self._streak = self._streak + 1 if still else 0
        return self._streak >= self.patience or self._drafts >= self.rounds

    def stop(self, drafts: Sequence[str]) -> int:
        """Return how many of the drafts of a loop it would have made, all of them at most."""
        self.reset()
        for made, draft in enumerate(drafts, 1):
            if self.update(draft):
                return made
        return len(drafts)

    def __repr__(self) -> str:
        settings = f"{self.embed!r}, {self.at_most}, {self.patience}, {self.rounds}"
        return f"SemanticRounds({settings})"


def cosine_distance(a: Sequence[float], b: Sequence[float]) -> float:
    """Return 1 minus the cosine of two vectors, in [0, 2]; 1 where one of them is zero.

    Examples:
        >>> cosine_distance((1.0, 0.0), (2.0, 0.0)), cosine_distance((1.0, 0.0), (0.0, 1.0))
        (0.0, 1.0)
    """
    lengths = math.hypot(*a) * math.hypot(*b)
    product = math.fsum(x * y for x, y in zip(a, b, strict=True))
    return 1.0 if lengths == 0.0 else 1.0 - product / lengths
