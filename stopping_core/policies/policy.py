"""The stopping rule, and rules made of rules: ``a | b`` and ``a & b``."""

from __future__ import annotations

from abc import ABC, abstractmethod

from stopping_core.protocols import Signal
from stopping_core.types import CONTINUE, Checkpoint, Decision, Request


class Policy(ABC):
    """Decides at checkpoints whether the text so far is enough: a stopping rule.

    Policies compose: ``a | b`` stops where either does, ``a & b`` where both do at one checkpoint.
    A policy may keep state between checkpoints; the engine works on a deep copy for each stream.
    """

    @abstractmethod
    def decide(self, checkpoint: Checkpoint) -> Decision:
        """Say whether to stop here. Called once for each checkpoint, in order."""

    def reset(self, request: Request) -> None:
        """Forget the last stream. Signals are reset by the engine."""

    def signals(self) -> tuple[Signal, ...]:
        """The signals that this policy reads, which the engine keeps up to date."""
        return ()

    def marks(self) -> tuple[int, ...]:
        """Token counts at which it must be asked, besides the ordinary checkpoints."""
        return ()

    def __or__(self, other: Policy) -> Policy:
        return AnyOf(self, other)

    def __and__(self, other: Policy) -> Policy:
        return AllOf(self, other)


class _Composite(Policy):
    """Asks every part at every checkpoint, so that parts which count checkpoints see them all."""

    parts: tuple[Policy, ...]

    def __init__(self, *parts: Policy) -> None:
        if not parts:
            raise ValueError("parts must hold at least one policy, got none")
        for part in parts:
            if not isinstance(part, Policy):
                raise TypeError(f"parts must be policies, got {part!r}")
        self.parts = tuple(
            inner for p in parts for inner in (p.parts if type(p) is type(self) else (p,))
        )

    def reset(self, request: Request) -> None:
        for part in self.parts:
            part.reset(request)

    def signals(self) -> tuple[Signal, ...]:
        return tuple(signal for part in self.parts for signal in part.signals())

    def marks(self) -> tuple[int, ...]:
        return tuple(mark for part in self.parts for mark in part.marks())


class AnyOf(_Composite):
    """Stops where any part does; a forced stop goes before the others, else the first counts."""

    def decide(self, checkpoint: Checkpoint) -> Decision:
        stops = [d for part in self.parts if (d := part.decide(checkpoint)).stop]
        return next((d for d in stops if d.forced), stops[0] if stops else CONTINUE)

    def __repr__(self) -> str:
        return "(" + " | ".join(map(repr, self.parts)) + ")"


class AllOf(_Composite):
    """Stops where all parts do at one checkpoint; forced where one of them is."""

    def decide(self, checkpoint: Checkpoint) -> Decision:
        decisions = [part.decide(checkpoint) for part in self.parts]
        if not all(d.stop for d in decisions):
            return CONTINUE
        reasons = dict.fromkeys(d.reason for d in decisions if d.reason)
        return Decision(
            stop=True,
            reason=" & ".join(reasons),
            forced=any(d.forced for d in decisions),
            keep=next((d.keep for d in decisions if d.keep is not None), None),
        )

    def __repr__(self) -> str:
        return "(" + " & ".join(map(repr, self.parts)) + ")"
