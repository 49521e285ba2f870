"""Policies of policies: ``a | b`` and ``a & b``."""

from __future__ import annotations

from stopping_core.protocols import Policy, Signal
from stopping_core.types import CONTINUE, Checkpoint, Decision, Request


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
    """Stops where all parts do at one checkpoint; forced only where all of them are."""

    def decide(self, checkpoint: Checkpoint) -> Decision:
        decisions = [part.decide(checkpoint) for part in self.parts]
        if not all(d.stop for d in decisions):
            return CONTINUE
        reasons = dict.fromkeys(d.reason for d in decisions if d.reason)
        return Decision(True, " & ".join(reasons), forced=all(d.forced for d in decisions))

    def __repr__(self) -> str:
        return "(" + " & ".join(map(repr, self.parts)) + ")"
