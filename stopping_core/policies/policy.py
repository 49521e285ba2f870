"""The stopping rule, and rules made of rules: ``a | b`` and ``a & b``."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING, Any, Self

from stopping_core.protocols import Signal
from stopping_core.types import CONTINUE, PROBE, Checkpoint, Decision, Need, Probe, Request

if TYPE_CHECKING:
    from stopping_core.traces.columns import Columns, Mask, Stops


class Policy(ABC):
    """Decides at checkpoints whether the text so far is enough: a stopping rule.

    Policies compose: ``a | b`` stops where either does, ``a & b`` where both do at one checkpoint.
    A policy may keep state between checkpoints; the engine works on a deep copy for each stream.

    For searches over recorded runs a policy may also say at once, for all checkpoints of all runs,
    what ``decide`` would say one by one: ``stops``, and ``asks`` where it probes. Without them a
    replay goes through the engine, which is slower and says the same.
    """

    @abstractmethod
    def decide(self, checkpoint: Checkpoint) -> Decision:
        """Say whether to stop here. Called once for each checkpoint, in order."""

    def weigh(self, checkpoint: Checkpoint, probe: Probe) -> Decision:
        """Say whether to stop here, knowing what the model would answer now.

        Called right after ``decide`` asked for it.
        """
        return CONTINUE

    def reset(self, request: Request) -> None:
        """Forget the last stream. Signals are reset by the engine."""

    def signals(self) -> tuple[Signal, ...]:
        """The signals that this policy reads, which the engine keeps up to date."""
        return ()

    def marks(self) -> tuple[int, ...]:
        """Token counts at which it must be asked, besides the ordinary checkpoints."""
        return ()

    def needs(self) -> frozenset[Need]:
        """What it needs beyond the text: that of its signals."""
        none: frozenset[Need] = frozenset()
        return none.union(*(getattr(signal, "needs", none) for signal in self.signals()))

    def stops(self, columns: Columns) -> Stops:
        """Say at which of many checkpoints it would stop, had it not stopped before.

        Raises:
            NotImplementedError: Only the engine can tell.
        """
        raise NotImplementedError(f"{type(self).__name__} has no vectorised form")

    def asks(self, columns: Columns) -> Mask:
        """Say at which of many checkpoints it would ask for a probe, had it not stopped before."""
        return columns.nowhere()

    def __or__(self, other: Policy) -> Policy:
        return AnyOf(self, other)

    def __and__(self, other: Policy) -> Policy:
        return AllOf(self, other)


def own(policy: Policy, memo: dict[int, Any]) -> Policy:
    """Copy an inner policy deeply, for a place of its own.

    One object may stand in several places of a rule. Each place gets its own state, or what counts
    checkpoints would count each of them several times; signals stay shared.
    """
    memo.pop(id(policy), None)
    return copy.deepcopy(policy, memo)


class _Composite(Policy):
    """Asks every part at every checkpoint, so that parts which count checkpoints see them all."""

    parts: tuple[Policy, ...]
    _decisions: list[Decision]

    def __init__(self, *parts: Policy) -> None:
        if not parts:
            raise ValueError("parts must hold at least one policy, got none")
        for part in parts:
            if not isinstance(part, Policy):
                raise TypeError(f"parts must be policies, got {part!r}")
        self.parts = tuple(
            inner for p in parts for inner in (p.parts if type(p) is type(self) else (p,))
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = copy.copy(self)
        twin.parts = tuple(own(part, memo) for part in self.parts)
        return twin

    def reset(self, request: Request) -> None:
        for part in self.parts:
            part.reset(request)

    def signals(self) -> tuple[Signal, ...]:
        return tuple(signal for part in self.parts for signal in part.signals())

    def marks(self) -> tuple[int, ...]:
        return tuple(mark for part in self.parts for mark in part.marks())

    def needs(self) -> frozenset[Need]:
        none: frozenset[Need] = frozenset()
        return none.union(*(part.needs() for part in self.parts))

    def decide(self, checkpoint: Checkpoint) -> Decision:
        self._decisions = [part.decide(checkpoint) for part in self.parts]
        return PROBE if any(d.probe for d in self._decisions) else self._combine(self._decisions)

    def weigh(self, checkpoint: Checkpoint, probe: Probe) -> Decision:
        pairs = zip(self.parts, self._decisions, strict=True)
        return self._combine([p.weigh(checkpoint, probe) if d.probe else d for p, d in pairs])

    def asks(self, columns: Columns) -> Mask:
        return reduce(or_, (part.asks(columns) for part in self.parts))

    @abstractmethod
    def _combine(self, decisions: list[Decision]) -> Decision:
        """Make one decision of those of all parts, none of which asks for a probe."""


class AnyOf(_Composite):
    """Stops where any part does; a forced stop goes before the others, else the first counts."""

    def _combine(self, decisions: list[Decision]) -> Decision:
        stops = [d for d in decisions if d.stop]
        return next((d for d in stops if d.forced), stops[0] if stops else CONTINUE)

    def stops(self, columns: Columns) -> Stops:
        return reduce(or_, (part.stops(columns) for part in self.parts))

    def __repr__(self) -> str:
        return "(" + " | ".join(map(repr, self.parts)) + ")"


class AllOf(_Composite):
    """Stops where all parts do at one checkpoint; forced where one of them is."""

    def _combine(self, decisions: list[Decision]) -> Decision:
        if not all(d.stop for d in decisions):
            return CONTINUE
        reasons = dict.fromkeys(d.reason for d in decisions if d.reason)
        return Decision(
            stop=True,
            reason=" & ".join(reasons),
            forced=any(d.forced for d in decisions),
            keep=next((d.keep for d in decisions if d.keep is not None), None),
        )

    def stops(self, columns: Columns) -> Stops:
        return reduce(and_, (part.stops(columns) for part in self.parts))

    def __repr__(self) -> str:
        return "(" + " & ".join(map(repr, self.parts)) + ")"
