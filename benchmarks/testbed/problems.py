"""Problems of the synthetic testbed: the generators of reasoning-gym, with ways to work them out.

Which side a problem is on, training or unseen, is told by a hash of its content, so that the two
never meet, whatever the seeds: ``a + b`` and ``b + a`` are the same content.

References:
    Stojanovski et al. (2025), "Reasoning Gym: Reasoning Environments for Reinforcement Learning
    with Verifiable Rewards", arXiv:2505.24760.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import operator
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from reasoning_gym.arithmetic import (
    ChainSumConfig,
    ChainSumDataset,
    LegCountingConfig,
    LegCountingDataset,
    ProductsConfig,
    ProductsDataset,
)
from reasoning_gym.arithmetic.leg_counting import ANIMALS

Side: TypeAlias = Literal["train", "unseen", "sampled"]
"""Training, unseen questions, unseen questions to sample from: disjoint by content."""

OPERATIONS: Mapping[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}


@dataclass(frozen=True, slots=True)
class Earlier:
    """The result of an earlier step of the same method, by its place."""

    step: int


Operand: TypeAlias = "int | Earlier"


@dataclass(frozen=True, slots=True)
class Step:
    """One calculation.

    Args:
        left: A number of the problem, or what an earlier step gave.
        sign: One of ``+ - *``.
        right: As ``left``.
        label: What stands before it, as "4 dogs: ".
        closes: Whether a paragraph ends with it.
    """

    left: Operand
    sign: str
    right: Operand
    label: str = ""
    closes: bool = True

    def operands(self, results: Sequence[int]) -> tuple[int, int]:
        """Its two numbers, given what the earlier steps gave."""
        left, right = (
            results[side.step] if isinstance(side, Earlier) else side
            for side in (self.left, self.right)
        )
        return left, right


@dataclass(frozen=True, slots=True)
class Method:
    """A way to work a problem out: its steps in order, and in words. The last step gives it."""

    words: str
    steps: tuple[Step, ...]

    def finish(self, results: Sequence[int] = ()) -> int:
        """Go on without a slip from what the steps so far gave."""
        known = list(results)
        for step in self.steps[len(known) :]:
            known.append(OPERATIONS[step.sign](*step.operands(known)))
        return known[-1]


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of the synthetic testbed.

    Args:
        kind: ``sum``, ``product`` or ``legs``.
        level: From 1, easy, to 4.
        question: As the model is asked.
        task: What is to be found, in the middle of a sentence.
        content: What makes two problems the same.
        answer: The right one, as the generator gives it.
        methods: Ways to work it out, at least two. The first is the usual one.
    """

    kind: str
    level: int
    question: str
    task: str
    content: str
    answer: int
    methods: tuple[Method, ...]

    @property
    def family(self) -> str:
        """Kind and level in one word."""
        return f"{self.kind}-{self.level}"

    @property
    def key(self) -> str:
        """Names the content, 16 hex digits."""
        return hashlib.sha256(self.content.encode()).hexdigest()[:16]

    @property
    def side(self) -> Side:
        """An eighth of all content is never trained on; a sixth of that is for sampling."""
        number = int(self.key, 16)
        if number % 8:
            return "train"
        return "unseen" if number // 8 % 6 else "sampled"


def _sum(entry: Mapping[str, Any], level: int) -> Problem | None:
    """A chain of additions and subtractions; None where the usual way goes below nought."""
    task = entry["metadata"]["expression"]
    words = task.split()
    terms = [("+", int(words[0]))]
    terms += [(s, int(n)) for s, n in zip(words[1::2], words[2::2], strict=True)]
    running = itertools.accumulate(n if s == "+" else -n for s, n in terms)
    if min(running) < 0:
        return None
    plus = [term for term in terms if term[0] == "+"]
    minus = [term for term in terms if term[0] == "-"]
    methods = [Method("from left to right", _chain(terms))]
    if minus and len(plus) > 1:
        methods += [
            Method("first what is added, then what is taken away", _chain(plus + minus)),
            Method("the same from the other end", _chain(plus[::-1] + minus[::-1])),
        ]
    else:
        largest = sorted(plus, key=lambda term: -term[1]) + sorted(minus, key=lambda t: -t[1])
        methods += [
            Method("from the other end", _chain(plus[::-1] + minus[::-1])),
            Method("from the largest to the smallest", _chain(largest)),
        ]
    content = " ".join(f"{s}{n}" for s, n in sorted(terms))
    return Problem(
        "sum", level, f"What is {task}?", task, content, int(entry["answer"]), tuple(methods)
    )


def _chain(terms: Sequence[tuple[str, int]]) -> tuple[Step, ...]:
    return tuple(
        Step(Earlier(place - 1) if place else terms[0][1], sign, number)
        for place, (sign, number) in enumerate(terms[1:])
    )


def _product(entry: Mapping[str, Any], level: int) -> Problem:
    """Two numbers, multiplied by their parts."""
    task = entry["metadata"]["expression"]
    left, right = (int(word) for word in task.split(" * "))
    first = [(a, b, "") for a in _parts(left) for b in _parts(right)]
    other = [(b, a, "") for b in _parts(right) for a in _parts(left)]
    methods = (
        Method("by its parts", _total(first)),
        Method("the small parts first", _total(first[::-1])),
        Method("the other number first", _total(other)),
    )
    content = " * ".join(str(number) for number in sorted((left, right)))
    return Problem(
        "product", level, f"What is {task}?", task, content, int(entry["answer"]), methods
    )


def _parts(number: int) -> list[int]:
    digits = str(number)
    tens = reversed(range(len(digits)))
    found = [int(d) * 10**ten for d, ten in zip(digits, tens, strict=True)]
    return [part for part in found if part] or [0]


def _total(products: Sequence[tuple[int, int, str]]) -> tuple[Step, ...]:
    """Each product, with the label before it, added to what came before it."""
    steps: list[Step] = []
    for place, (a, b, label) in enumerate(products):
        steps.append(Step(a, "*", b, label, closes=place == 0))
        if place:
            last = len(steps) - 1
            steps.append(Step(Earlier(last - 1), "+", Earlier(last)))
    return tuple(steps)


def _legs(entry: Mapping[str, Any], level: int) -> Problem:
    """Legs of some animals, counted kind by kind."""
    animals = entry["metadata"]["animals"].items()
    named = [f"{count} {name}{'s' if count > 1 else ''}" for name, count in animals]
    legs = [
        (count, ANIMALS[name], f"{words}: ")
        for (name, count), words in zip(animals, named, strict=True)
    ]
    most_first = sorted(legs, key=lambda one: -one[1])
    methods = (
        Method("one after the other", _total(legs)),
        Method("from the other end", _total(legs[::-1])),
        Method("the most legs first", _total(most_first)),
    )
    task = ", ".join(named)
    question = f"How many legs do these have in total: {task}?"
    content = ", ".join(sorted(named))
    return Problem("legs", level, question, task, content, int(entry["answer"]), methods)


@dataclass(frozen=True, slots=True)
class _Family:
    """A kind at a level: the generator's settings, and how many of a hundred problems."""

    kind: str
    level: int
    share: int
    settings: Mapping[str, int]


FAMILIES = (
    _Family("sum", 1, 12, {"min_terms": 2, "max_terms": 3, "min_digits": 2, "max_digits": 2}),
    _Family("sum", 2, 16, {"min_terms": 4, "max_terms": 5, "min_digits": 2, "max_digits": 2}),
    _Family("sum", 3, 12, {"min_terms": 6, "max_terms": 8, "min_digits": 2, "max_digits": 2}),
    _Family("sum", 4, 8, {"min_terms": 4, "max_terms": 5, "min_digits": 3, "max_digits": 3}),
    _Family("product", 2, 16, {"min_digits": 2, "max_digits": 2}),
    _Family("legs", 1, 6, {"min_animals": 2, "max_animals": 2}),
    _Family("legs", 2, 12, {"min_animals": 3, "max_animals": 4}),
    _Family("legs", 3, 10, {"min_animals": 5, "max_animals": 6}),
    _Family("legs", 4, 8, {"min_animals": 7, "max_animals": 8}),
)
_GENERATORS: Mapping[str, tuple[Any, Any, Callable[[Mapping[str, Any], int], Problem | None]]] = {
    "sum": (ChainSumDataset, ChainSumConfig, _sum),
    "product": (ProductsDataset, ProductsConfig, _product),
    "legs": (LegCountingDataset, LegCountingConfig, _legs),
}
_ENDLESS = 2**62
_TRIES = 20_000
"""Problems of a family in a row without a new one, after which it is left out.

That takes a second or two. The rarest content is a product of a number with itself, once in 8,100
problems: the last one of its side is missed one time in twelve, one of two others in 140.
"""


def _family(family: _Family, seed: int) -> Iterator[Problem]:
    """Problems of one family without end, some more than once."""
    settings = {**family.settings, "size": _ENDLESS}
    settings["seed"] = random.Random(f"{seed} {family.kind} {family.level}").getrandbits(48)
    dataset, config, make = _GENERATORS[family.kind]
    data = dataset(config(**settings))
    for place in itertools.count():
        problem = make(data[place], family.level)
        if problem is not None:
            yield problem


def problems(seed: int, side: Side) -> Iterator[Problem]:
    """Problems of one side, the families mixed in their shares.

    Those for training may come again, as small ones must, and have no end; those of the other sides
    never do. A family that has no more of them is left out, and they end with the last family.

    Args:
        seed: Of the generators and of the mixture.
        side: Which problems are wanted.
    """
    rng = random.Random(seed)
    streams = [_family(family, seed) for family in FAMILIES]
    shares = [family.share for family in FAMILIES]
    seen: set[str] = set()
    while streams:
        (stream,) = rng.choices(streams, shares)
        tried = itertools.islice(stream, _TRIES)
        problem = next((p for p in tried if p.side == side and p.key not in seen), None)
        if problem is None:
            place = streams.index(stream)
            del streams[place], shares[place]
            continue
        if side != "train":
            seen.add(problem.key)
        yield problem


def write_questions(out: Path, number: int, seed: int, side: Side = "unseen") -> None:
    """Write so many different problems of one side as JSON lines, as ``load_questions`` reads.

    Raises:
        ValueError: There are not so many.
    """
    lines = [
        json.dumps(
            {
                "id": f"{problem.family}-{problem.key}",
                "question": problem.question,
                "gold": [str(problem.answer)],
                "group": problem.key,
                "grader": "last_number",
            }
        )
        for problem in itertools.islice(problems(seed, side), number)
    ]
    if len(lines) < number:
        raise ValueError(
            f"number must be <= {len(lines)}, as there are no more problems on the side {side!r}, "
            f"got {number}"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(f"{line}\n" for line in lines))
