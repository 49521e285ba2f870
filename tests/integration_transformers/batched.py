"""What is voted on in the tests: policies, checks and settings, and a model's passes counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    LogitsProcessor,
)

from stopping_core import (
    AdaptiveStopping,
    Completion,
    Request,
    Verdict,
)
from stopping_core.policies import Never, Policy
from stopping_core.types import CONTINUE, PROBE, Boundary, Checkpoint, Decision, Need, Probe

PROMPT = "Tell me."
SEED = 5
COUNT = 5


def accept(request: Request, draft: Any) -> Verdict:
    return Verdict(bool(draft.text), "nothing")


def long_enough(request: Request, draft: Any) -> Verdict:
    return Verdict(len(draft.text) >= 24, "too short")


class Judge:
    """Wants a text that goes on, and is asked behind a cut only."""

    slow = True

    def __call__(self, request: Request, draft: Any) -> Verdict:
        return Verdict("Three" in draft.text, "too short")


def letters(text: str) -> str:
    """An answer that a few samples share."""
    return "ab"[len(text) % 2]


class FirstLine(Policy):
    def decide(self, checkpoint: Checkpoint) -> Decision:
        return Decision(Boundary.LINE in checkpoint.boundary, "line")


@dataclass
class Asks(Policy):
    """Asks at every checkpoint, and stops at an answer that holds some letter."""

    wanted: str

    def decide(self, checkpoint: Checkpoint) -> Decision:
        return PROBE

    def weigh(self, checkpoint: Checkpoint, probe: Probe) -> Decision:
        return Decision(True, "asked") if self.wanted in probe.text else CONTINUE

    def needs(self) -> frozenset[Need]:
        return frozenset({"probes"})


class Opening(LogitsProcessor):
    """Makes a model begin with a text; what follows is its own, and so are blanks, ``_``."""

    def __init__(self, tokenizer: Any, text: str, width: int = len(PROMPT)) -> None:
        self.width, self.ids = width, tokenizer(text)["input_ids"]
        self.blank = tokenizer("_")["input_ids"][0]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        said = input_ids.shape[1] - self.width
        if said < len(self.ids) and self.ids[said] != self.blank:
            scores = scores.clone()
            scores[:, self.ids[said]] += 1e4
        return scores


class Passes:
    """The rows and columns of each forward pass."""

    def __init__(self, model: Any) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.handle = model.register_forward_hook(self, with_kwargs=True)

    def __call__(self, module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        self.shapes.append(tuple(kwargs["input_ids"].shape))

    @property
    def rows(self) -> list[int]:
        return [rows for rows, _ in self.shapes]


def outcome(made: Completion) -> tuple[Any, ...]:
    """All that does not depend on where a token was read."""
    calls = [(a.kind, a.generated, a.finish_reason, a.reason, a.probed) for a in made.attempts]
    return made.text, made.reasoning, made.verdict, made.reason, calls


def ramble(budget: Any, **more: Any) -> AdaptiveStopping:
    return AdaptiveStopping(policy=Never(), reasoning=Never(), budget=budget, **more)


THINKING = "<think>ab\n"
ENDS: dict[str, Any] = {"sequence_bias": [[[1], 4.0]], "max_new_tokens": 60}
"""Settings under which some samples end soon, and some late."""
OFF = AdaptiveStopping(mode="off")
ENDED: tuple[AdaptiveStopping, dict[str, Any]] = (
    AdaptiveStopping(
        policy=Never(), reasoning=FirstLine(), probe="</think>\n\nA", completeness=accept
    ),
    {"opens": THINKING, "max_new_tokens": 40, "temperature": 2.0},
)
"""Settings that end reasoning at its first line; ``opens`` is what a sample begins with."""
