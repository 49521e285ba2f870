"""How content users are at each certified level: their own word, shrunk to that of their group."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from stopping_core.plain_data import finite, members

_ALL = ""


@dataclass(slots=True)
class _Counts:
    good: float = 0.0
    bad: float = 0.0


_NOTHING: Mapping[str, _Counts] = MappingProxyType({})


class Satisfaction:
    """Partial pooling of feedback over levels, tenants and users, by Beta distributions.

    What is known of all levels together is the prior of each of them, with the weight of
    ``strength`` answers; what is known of a level is the prior of each tenant at it, and that of
    its users, likewise. One with no feedback is taken for what its group is, one with much for
    what it says itself. Where there is no feedback at all, half of the answers are taken to please.

    Feedback in between is shared out: 0.7 counts as 0.7 of a good answer and 0.3 of a bad one. Old
    feedback fades by ``memory``, so that a change is seen. Memory is bounded: of tenants and users
    beyond ``most`` the one that was heard of longest ago is forgotten, and is its group's again.

    Args:
        strength: Answers that a group's word is worth, > 0.
        memory: Factor by which what was known fades with each answer, in (0, 1].
        most: Tenants and users, each, at each level, >= 1.

    Raises:
        ValueError: An argument is out of its interval.

    References:
        Gelman et al. (2013), Bayesian Data Analysis, third edition, section 5.3: hierarchical
        binomial models; here with a fixed strength in place of its posterior.
    """

    def __init__(self, strength: float = 20.0, memory: float = 0.999, most: int = 10_000) -> None:
        check_pooling(strength, memory, most)
        self.strength, self.memory, self.most = strength, memory, most
        self._counts: dict[str, OrderedDict[str, _Counts]] = {}

    def add(self, level: str, value: float, *, tenant: str = _ALL, user: str = _ALL) -> None:
        """Take one answer's feedback.

        Args:
            level: Name of the level that the answer was given at.
            value: 1 for good, 0 for bad, in [0, 1].
            tenant: Whose it was, ``""`` where unknown.
            user: Likewise; a user is its tenant's.

        Raises:
            ValueError: ``value`` is out of its interval.
        """
        if not 0 <= value <= 1:
            raise ValueError(f"value must be in [0, 1], got {value}")
        for at, key in _places(level, tenant, user):
            counts = self._of(at, key)
            counts.good = self.memory * counts.good + value
            counts.bad = self.memory * counts.bad + 1 - value

    def posterior(self, level: str, *, tenant: str = _ALL, user: str = _ALL) -> tuple[float, float]:
        """Return the parameters of the Beta distribution of a user's satisfaction.

        Args:
            level: Name of the level.
            tenant: ``""`` where unknown: then as of all.
            user: ``""`` where unknown: then as of the tenant.
        """
        good = bad = 1.0
        for at, key in _places(level, tenant, user):
            mean = good / (good + bad)
            good, bad = self.strength * mean, self.strength * (1 - mean)
            counts = self._counts.get(at, _NOTHING).get(key)
            if counts is not None:
                good, bad = good + counts.good, bad + counts.bad
        return good, bad

    def to_dict(self) -> dict[str, Any]:
        """All that is known, as JSON has it."""
        return {
            "strength": self.strength,
            "memory": self.memory,
            "most": self.most,
            "counts": {
                level: [[key, one.good, one.bad] for key, one in known.items()]
                for level, known in self._counts.items()
            },
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Take what ``to_dict`` gave.

        Raises:
            ValueError: Names the key that is missing, unknown or wrong, and its value.
        """
        held = members(data, ("strength", "memory", "most", "counts"), "satisfaction")
        made = cls(held["strength"], held["memory"], held["most"])
        for level, rows in held["counts"].items():
            known = made._counts.setdefault(level, OrderedDict())
            for key, good, bad in rows:
                where = f"satisfaction.counts.{level}"
                known[str(key)] = _Counts(finite(good, where), finite(bad, where))
        return made

    def _of(self, level: str, key: str) -> _Counts:
        known = self._counts.setdefault(level, OrderedDict())
        counts = known.setdefault(key, _Counts())
        known.move_to_end(key)
        if len(known) > 2 * self.most + 1:
            known.popitem(last=False)
        return counts


def check_pooling(strength: float, memory: float, most: int) -> None:
    """Refuse what partial pooling cannot be done with.

    Raises:
        ValueError: Names the argument that is out of its interval.
    """
    if not (np.isfinite(strength) and strength > 0):
        raise ValueError(f"strength must be > 0, got {strength}")
    if not 0 < memory <= 1:
        raise ValueError(f"memory must be in (0, 1], got {memory}")
    if most < 1:
        raise ValueError(f"most must be >= 1, got {most}")


def _places(level: str, tenant: str, user: str) -> list[tuple[str, str]]:
    """Where it counts, from the widest group: all levels; the level; tenant and user at it."""
    places = [(_ALL, _ALL), (level, _ALL)]
    if tenant:
        places.append((level, f"tenant:{tenant}"))
    if user:
        places.append((level, f"user:{tenant}:{user}"))
    return places
