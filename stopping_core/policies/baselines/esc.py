"""ESC: sample in windows until one of them is unanimous."""

from __future__ import annotations

from typing import ClassVar, Self

from stopping_core.policies.baselines.samples import SampleRule


class Esc(SampleRule):
    """Draws windows of samples, and stops after the first in which all agree.

    Rule: draw ``window`` samples at a time; stop if the answers within the window are all the same
    (their entropy is zero); at most ``most`` samples; plurality of all that were drawn. Defaults as
    published: 5 and 40. Needs samples.

    Windows do not overlap. A sample without an answer agrees with none, which the paper leaves
    open. The paper's control scheme, which picks window and most for a budget, is not part of it.

    Args:
        window: Samples drawn at a time, >= 2.
        most: Samples at most, >= ``window``.

    References:
        Li, Yuan, Feng, Pan, Wang, Sun, Wang and Li (2024), Escape Sky-high Cost: Early-stopping
        Self-Consistency for Multi-step Reasoning, section 3. arXiv:2401.10480.
    """

    title: ClassVar[str] = "ESC"

    def __init__(self, window: int = 5, most: int = 40) -> None:
        if window < 2:
            raise ValueError(f"window must be >= 2, got {window}")
        if most < window:
            raise ValueError(f"most must be >= window = {window}, got {most}")
        super().__init__()
        self.window = window
        self.most = most

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return windows of 2 to 10, with 40 samples and with 16."""
        windows = (5, 2, 3, 4, 6, 8, 10)
        return tuple(cls(window, most) for most in (40, 16) for window in windows)

    def more(self) -> bool:
        drawn = len(self.taken)
        if drawn >= self.most:
            return False
        if not drawn or drawn % self.window:
            return True
        answers = {sample.answer for sample in self.taken[-self.window :]}
        return len(answers) > 1 or "" in answers

    def batch(self) -> int:
        return min(self.window, self.most - len(self.taken))

    def __repr__(self) -> str:
        return f"Esc({self.window}, {self.most})"
