"""What each certified level saves in fact, shrunk to what its certificate says."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from stopping_core.plain_data import finite, listed, members, whole_number
from stopping_core.steering.satisfaction import check_pooling

_ALL = ""


@dataclass(slots=True)
class _Sums:
    requests: float = 0.0
    saved: float = 0.0
    whole: float = 0.0


class Savings:
    """Share of the tokens that a level saves, by partial pooling over tenants.

    A level's share is the sum of what its stops save over the sum of the whole answers, shrunk to
    what the certificate says, which has the weight of ``strength`` requests. What is known of a
    level is the prior of each tenant at it, likewise. Old requests fade by ``memory``, so that a
    change is seen. Memory is bounded: of tenants beyond ``most`` the one that was heard of longest
    ago is forgotten, and is as all again.

    Of an answer that is cut nobody knows how long it would have been. So the share is known where a
    stop was only noted, and where there was none. Stops have to be weighted by the probability
    with which they are only noted, or those without would be too many among them (Horvitz and
    Thompson, as in :class:`~stopping_core.monitoring.Outcome`).

    Args:
        strength: Requests that the certificate's word, or a level's, is worth, > 0.
        memory: Factor by which what was known fades with each request, in (0, 1].
        most: Tenants at all levels together, >= 1.

    Raises:
        ValueError: An argument is out of its interval.

    Examples:
        >>> savings = Savings(strength=100, memory=1.0)
        >>> savings.share("0.02", 0.5)
        0.5
        >>> for _ in range(100):
        ...     savings.add("0.02", saved=10, whole=100)
        >>> round(savings.share("0.02", 0.5), 3)  # half way
        0.3
    """

    def __init__(self, strength: float = 100.0, memory: float = 0.999, most: int = 10_000) -> None:
        check_pooling(strength, memory, most)
        self.strength, self.memory, self.most = strength, memory, most
        self._levels: dict[str, _Sums] = {}
        self._tenants: OrderedDict[tuple[str, str], _Sums] = OrderedDict()

    def add(
        self, level: str, saved: float, whole: float, weight: float = 1.0, *, tenant: str = _ALL
    ) -> None:
        """Take one request whose full answer is known.

        Args:
            level: Name of the level that it ran at, cut or not.
            saved: Tokens that its stop saves or would have saved, 0 where there is none.
            whole: Tokens of its full answer.
            weight: 1 over the probability with which this became known, >= 1.
            tenant: Whose it was, ``""`` where unknown.

        Raises:
            ValueError: An argument is out of its interval. Nothing was taken.
        """
        if not 0 <= saved <= whole < np.inf:
            raise ValueError(f"saved must be in [0, whole], got {saved} of {whole}")
        if not 1 <= weight < np.inf:
            raise ValueError(f"weight must be >= 1, got {weight}")
        places = [self._levels.setdefault(level, _Sums())]
        if tenant:
            places.append(self._tenants.setdefault((level, tenant), _Sums()))
            self._tenants.move_to_end((level, tenant))
            if len(self._tenants) > self.most:
                self._tenants.popitem(last=False)
        for sums in places:
            sums.requests = self.memory * sums.requests + 1
            sums.saved = self.memory * sums.saved + weight * saved
            sums.whole = self.memory * sums.whole + weight * whole

    def share(self, level: str, certified: float, *, tenant: str = _ALL) -> float:
        """Return the share of the tokens that a level saves.

        Args:
            level: Its name.
            certified: What the certificate says of it.
            tenant: ``""`` where unknown: then as of all.
        """
        share = certified
        for sums in (self._levels.get(level), self._tenants.get((level, tenant))):
            if sums is not None and sums.whole > 0:
                own = sums.requests / (sums.requests + self.strength)
                share += own * (sums.saved / sums.whole - share)
        return share

    def to_dict(self) -> dict[str, Any]:
        """All that is known, as JSON has it."""
        rows = [(level, _ALL, sums) for level, sums in self._levels.items()]
        rows += [(level, tenant, sums) for (level, tenant), sums in self._tenants.items()]
        return {
            "strength": self.strength,
            "memory": self.memory,
            "most": self.most,
            "sums": [[*names, one.requests, one.saved, one.whole] for *names, one in rows],
        }

    @classmethod
    def from_dict(cls, data: Any, key: str = "savings") -> Self:
        """Take what ``to_dict`` gave, after a way through JSON.

        Raises:
            ValueError: Names the key that is missing, unknown or wrong, and its value.
        """
        held = members(data, ("strength", "memory", "most", "sums"), key)
        made = cls(
            finite(held["strength"], f"{key}.strength"),
            finite(held["memory"], f"{key}.memory"),
            whole_number(held["most"], f"{key}.most", 1),
        )
        for place, row in enumerate(listed(held["sums"], f"{key}.sums")):
            here = f"{key}.sums[{place}]"
            level, tenant, *told = _row(row, here)
            sums = _Sums(*(finite(one, here) for one in told))
            if not (0 <= sums.saved <= sums.whole and sums.requests >= 0):
                raise ValueError(f"{here} must hold requests >= 0 and saved in [0, whole]: {told}")
            if tenant:
                made._tenants[level, tenant] = sums
            else:
                made._levels[level] = sums
        return made


def _row(row: Any, key: str) -> list[Any]:
    held = listed(row, key)
    if len(held) != 5 or not all(isinstance(name, str) for name in held[:2]):
        raise ValueError(f"{key} must be a level, a tenant and three numbers, got {held}")
    return held
