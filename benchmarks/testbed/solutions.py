"""Worked solutions of the synthetic testbed: steps, slips, re-checks, and what is believed when.

Nothing here is seen at run time. From these texts a model learns to calculate, to work a problem
out again and to compare. The slips in them show it what to do when two results differ; its own
mistakes are those of its own arithmetic.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from benchmarks.testbed.problems import OPERATIONS, Method, Problem, Step

OPEN, CLOSE = "<think>", "</think>"

OPENINGS = (
    "Okay, let me work out {task}.",
    "Let me see. I have to find {task}.",
)
RESULTS = ("So the answer is {value}.", "That makes {value}.")
REREAD = "Wait, did I read it right? It says {task}. Yes."
CHECKS = (
    "Wait, let me check that, {words}.",
    "Let me make sure, {words}.",
)
AGAIN = (
    "Wait, let me be quite sure and do it once more, {words}.",
    "Hmm, once more, {words}.",
)
THIRD = "Hmm, one of them is wrong. Let me do it again, {words}."
SAME = "This time it is {value}, the same again."
OTHER = "This time it is {value}, but before it was {other}."
TRUST = "I trust the second way more."
STAY = "But it was {value} twice, so I stay with that."
GIVE_UP = "They are all different. I take the last one."
SURE = ("I am sure now.", "Good.")
UNCHECKED = "That was easy enough."
CORRECTION = "Wait, {left} {sign} {right} is {value}, not {wrong}."
ANSWER = "The answer is {value}."

PHRASES = (
    *OPENINGS,
    *RESULTS,
    *CHECKS,
    *AGAIN,
    *SURE,
    REREAD,
    THIRD,
    SAME,
    OTHER,
    TRUST,
    STAY,
    GIVE_UP,
    UNCHECKED,
    CORRECTION,
    ANSWER,
)
MOST_PASSES = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the reasoning.

    Args:
        text: One sentence or calculation, with the line's end after it.
        belief: The answer that one would give right after it.
        learned: False for a slip: it is there to be read and put right, not to be imitated.
    """

    text: str
    belief: int
    learned: bool = True


@dataclass(frozen=True, slots=True)
class Solution:
    """A worked solution.

    Args:
        pieces: The reasoning from ``<think>`` on, without ``</think>``.
        answer: What it arrives at, wrong where a slip stayed.
        slips: How many steps went wrong, put right or not.
        passes: How many times the problem was worked out.
    """

    pieces: tuple[Piece, ...]
    answer: int
    slips: int
    passes: int

    @property
    def reasoning(self) -> str:
        """The text from ``<think>`` to before ``</think>``."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def text(self) -> str:
        """The whole output."""
        return self.reasoning + ending(self.answer)


def ending(value: int) -> str:
    """The end of the reasoning and the answer."""
    return f"{CLOSE}\n\n{ANSWER.format(value=value)}"


def carries(left: int, sign: str, right: int) -> int:
    """How many digits a calculation carries or borrows: what makes it hard."""
    if sign == "*":
        return int(min(left, right) > 9) + int(left * right > 99)
    more, less = sorted((abs(left), abs(right)), reverse=True)
    count = carry = 0
    while more or carry:
        a, b = more % 10, less % 10
        carry = int(a + b + carry > 9) if sign == "+" else int(a < b + carry)
        count += carry
        more, less = more // 10, less // 10
    return count


def solve(problem: Problem, rng: random.Random, slip_rate: float = 0.05) -> Solution:
    """Work a problem out as a reasoning model would.

    Whether it is worked out again depends on what can be seen: how much was carried, how many
    steps there were, and whether two results agree.

    Args:
        problem: What is to be solved.
        rng: Makes the choices.
        slip_rate: Chance of a slip at a calculation, for each digit that it carries, in [0, 1].
    """
    scratch = _Scratch(problem, rng, slip_rate)
    scratch.solve()
    return Solution(tuple(scratch.pieces), scratch.belief, scratch.slips, len(scratch.results))


class _Scratch:
    """The paper that a problem is worked out on."""

    def __init__(self, problem: Problem, rng: random.Random, slip_rate: float) -> None:
        self.problem = problem
        self.pieces: list[Piece] = []
        self.results: list[int] = []
        self.belief = problem.answer
        self.slips = 0
        self._rng = rng
        self._slip_rate = slip_rate
        self._carried = 0

    def solve(self) -> None:
        self._write(f"{OPEN}\n")
        self._say(*OPENINGS, task=self.problem.task)
        methods = self.problem.methods
        value = self._work(methods[0])
        self.results.append(value)
        self.belief = value
        self._say(*RESULTS, value=value)
        steps, carried = len(methods[0].steps), self._carried
        if self._likely(steps >= 5 and carried % 2 == 0):
            self._say(REREAD, task=self.problem.task)
        if not self._likely(carried >= 2):
            self._say(UNCHECKED)
        elif self._check(methods[1], *CHECKS):
            if self._likely(carried >= 5):
                self._check_again(methods[2])
        elif self._likely(steps <= 3 or self.problem.kind == "product"):
            self._say(TRUST)
        else:
            self._settle(methods)
        if len(self.results) > 1:
            self._say(*SURE)
        last = self.pieces[-1]
        self.pieces[-1] = Piece(last.text.removesuffix("\n\n") + "\n", last.belief)

    def _check(self, method: Method, *phrases: str) -> bool:
        """Work it out once more; return whether the result was there before."""
        self._say(*phrases, words=method.words)
        value = self._work(method)
        known, before = value in self.results, self.results[-1]
        self.results.append(value)
        self.belief = value
        if known:
            self._say(SAME, value=value)
        else:
            self._say(OTHER, value=value, other=before)
        return known

    def _check_again(self, method: Method) -> None:
        before = self.belief
        if not self._check(method, *AGAIN):
            self.belief = before
            self._say(STAY, value=before)

    def _settle(self, methods: tuple[Method, ...]) -> None:
        """Go on until a result comes a second time."""
        while len(self.results) < MOST_PASSES:
            if self._check(methods[len(self.results) % len(methods)], THIRD):
                return
        self._say(GIVE_UP)

    def _work(self, method: Method) -> int:
        results: list[int] = []
        self._carried = 0
        for step in method.steps:
            results.append(self._calculate(step, method, results))
        return results[-1]

    def _calculate(self, step: Step, method: Method, results: list[int]) -> int:
        left, right = step.operands(results)
        value = OPERATIONS[step.sign](left, right)
        hard = carries(left, step.sign, right)
        self._carried += hard
        said = value
        if self._rng.random() < self._slip_rate * hard:
            said = max(0, value + self._rng.choice((-10, -1, 1, 10, -100, 100)))
        self._note(method, [*results, said])
        end = "\n\n" if step.closes else "\n"
        text = f"{step.label}{left} {step.sign} {right} = {said}.{end}"
        self._write(text, learned=said == value)
        if said == value:
            return value
        self.slips += 1
        if self._rng.random() < 0.7:
            return said
        self._note(method, [*results, value])
        self._say(CORRECTION, left=left, sign=step.sign, right=right, value=value, wrong=said)
        return value

    def _note(self, method: Method, results: list[int]) -> None:
        """Before there is a result, one would guess where the first pass leads."""
        if not self.results:
            self.belief = method.finish(results)

    def _likely(self, expected: bool) -> bool:
        """Mostly do as expected."""
        return self._rng.random() < (0.85 if expected else 0.12)

    def _say(self, *phrases: str, **values: object) -> None:
        self._write(self._rng.choice(phrases).format(**values) + "\n\n")

    def _write(self, text: str, learned: bool = True) -> None:
        self.pieces.append(Piece(text, self.belief, learned))
