"""Test doubles and contract checks, for the users' own tests as well as ours.

The checks raise ``AssertionError`` with a sentence that says what is broken.
"""

from __future__ import annotations

import copy
import random
import re
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING

from stopping_core.budgets import cap
from stopping_core.engine import Engine
from stopping_core.ledger import Ledger
from stopping_core.policies import Policy
from stopping_core.protocols import BudgetSchedule, CompletenessCheck, Signal
from stopping_core.results import Attempt, Call, Draft
from stopping_core.segmenter import Segmenter
from stopping_core.types import Probe, Request, Step

if TYPE_CHECKING:
    from stopping_core.traces.run import Run

_CONFIDENCE = (-1.0, -3.0, -2.0)

SAMPLES: tuple[str, ...] = (
    "",
    " ",
    "Paris.",
    "The answer is 42. Dr. Smith (b. 1950) paid $3.14 for it... He left.\n\nMore follows.",
    '{"a": [1, 2, {"b": "}"}], "c": null} and then some',
    "```python\nprint('hi.')\n```\nThat was it.\n- one\n- two\n\nEnd",
    "the cat sat on the mat. " * 8,
    "\u65e5\u672c\u306e\u9996\u90fd\u306f\u6771\u4eac\u3067\u3059\u3002\u306f\u3044\u3002",
    "broken \ud800 surrogate \x00 and \u0301 combining\r\nmarks",
)


class FakeClock:
    """A clock that moves only when told to, or slept on: seconds from zero."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move on by ``seconds``."""
        self.now += seconds

    def sleep(self, seconds: float) -> None:
        """Stand in for ``time.sleep``: note the wait and move on by it."""
        self.slept.append(seconds)
        self.advance(seconds)

    async def asleep(self, seconds: float) -> None:
        """Stand in for ``asyncio.sleep``."""
        self.sleep(seconds)


class ScriptedModel:
    """A model that says what it is told to, call by call, and counts what it generated.

    Each script is one call's stream: steps, texts (one step each), or an exception to raise at that
    point. It obeys ``max_tokens``: a stream longer than that ends with ``finish_reason="length"``,
    any other one with ``"stop"`` unless its own last step says otherwise. Use :meth:`backend` and
    :meth:`abackend` where a driver asks for a model.

    Args:
        scripts: One stream a call. A call beyond them raises ``AssertionError``.
        clock: Advanced by ``seconds_per_token`` for each token, where given.
        seconds_per_token: Seconds.

    Attributes:
        calls: The calls made, in order.
        generated: Tokens produced, call by call, including those nobody read.
        closed: How many streams were hung up on before their end.
    """

    def __init__(
        self,
        *scripts: Iterable[Step | str | Exception],
        clock: FakeClock | None = None,
        seconds_per_token: float = 0.0,
    ) -> None:
        self.scripts = [list(script) for script in scripts]
        self.calls: list[Call] = []
        self.generated: list[int] = []
        self.closed = 0
        self._clock = clock
        self._seconds = seconds_per_token

    def backend(self, call: Call) -> Generator[Step, None, None]:
        """Make one call."""
        number = len(self.calls)
        if number >= len(self.scripts):
            raise AssertionError(f"call {number + 1} was made, {len(self.scripts)} are scripted")
        self.calls.append(call)
        self.generated.append(0)
        try:
            finish: str | None = "stop"
            for item in self.scripts[number]:
                if isinstance(item, Exception):
                    raise item
                step = Step(item) if isinstance(item, str) else item
                total = self.generated[number] + step.tokens
                if call.max_tokens is not None and total > call.max_tokens:
                    finish = "length"
                    break
                self.generated[number] = total
                if self._clock is not None:
                    self._clock.advance(self._seconds * step.tokens)
                yield step
                if step.finish_reason is not None:
                    return
            yield Step("", tokens=0, finish_reason=finish)
        except GeneratorExit:
            self.closed += 1
            raise

    async def abackend(self, call: Call) -> AsyncGenerator[Step, None]:
        """Make one call, for async drivers."""
        steps = self.backend(call)
        try:
            for step in steps:
                yield step
        finally:
            steps.close()


def words(text: str) -> list[str]:
    """Split a text into pieces about as large as tokens: a word with the space before it."""
    return re.findall(r"\s*\S+|\s+$", text)


def chunkings(text: str, *, seed: int = 0, number: int = 4) -> list[list[Step]]:
    """Cut a text in several ways, one token a character: whole, by character, and at random."""
    rng = random.Random(seed)
    cuts = [[], list(range(1, len(text)))]
    cuts += [
        sorted(rng.sample(range(1, len(text)), rng.randrange(len(text) - 1)))
        for _ in range(number)
        if len(text) > 2
    ]
    return [
        [Step(text[a:b], tokens=b - a) for a, b in pairwise([0, *cut, len(text)])] for cut in cuts
    ]


def check_signal(factory: Callable[[], Signal]) -> None:
    """Hold a signal against its contract.

    Its reading is a number or None; it is the same however the text is chunked; a reset forgets
    everything; a copy is independent; missing and broken logprobs do not raise.
    """
    name = type(factory()).__name__
    for text in SAMPLES:
        readings = [_readings(factory(), steps) for steps in chunkings(text)]
        for other in readings[1:]:
            assert other == readings[0], f"{name} depends on the chunking of {text!r}"
        used = factory()
        _readings(used, chunkings("Something else. Entirely.")[0])
        assert _readings(used, chunkings(text)[0]) == readings[0], f"{name}.reset forgets not all"
    for length in (8, 24, 64):
        singles = [
            Step(" a", logprob=v, entropy=-v, margin=v / -4)
            for v in _CONFIDENCE
            for _ in range(length)
        ]
        chunks = [
            Step(" a" * length, length, logprob=v, entropy=-v, margin=v / -4) for v in _CONFIDENCE
        ]
        one, many = (_readings(factory(), steps)[-1][1] for steps in (singles, chunks))
        same = one == many or (one is not None and many is not None and abs(one - many) < 1e-9)
        assert same, f"{name} counts a step of {length} tokens as if it were another number"
    signal = factory()
    signal.reset(Request())
    twin = copy.deepcopy(signal)
    before = twin.value
    for value in (None, float("nan"), float("-inf"), 0.0, -1e300, -0.5):
        top = None if value is None else (value, value)
        signal.update(Step(" word", logprob=value, top_logprobs=top, entropy=value, margin=value))
        _check_reading(name, signal.value)
    assert twin.value == before, f"{name} shares state with its deep copy"


def check_policy(factory: Callable[[], Policy]) -> None:
    """Hold a policy against its contract.

    The same text gives the same stop however it is chunked; the policy does not see the future; one
    object serves many streams. Where numpy is installed, ``stops`` and ``asks``, if the policy has
    them, say what the engine does, for many runs at once. A policy that probes is told answers that
    change now and then.
    """
    policy = factory()
    if find_spec("numpy") is not None:
        _check_vectorised(policy)
    for text in SAMPLES:
        stops = [_stop(policy, steps) for steps in chunkings(text)]
        assert all(stop == stops[0] for stop in stops), f"{policy!r} depends on chunking: {text!r}"
        if stops[0] is not None:
            longer = chunkings(text + " Something else entirely follows.")[1]
            assert _stop(policy, longer) == stops[0], f"{policy!r} sees the future of {text!r}"


def check_completeness(check: CompletenessCheck) -> None:
    """Hold a check against its contract: every text gets a verdict with a reason, none raises."""
    for text in (*SAMPLES, "[" * 10_000, "[" * 10_000 + "]" * 10_000, "NaN", '{"a": Infinity}'):
        for finish_reason in (None, "stop", "length", "cut", "something new"):
            verdict = check(Request(), Draft(text, finish_reason=finish_reason))
            assert verdict.complete or verdict.reason, (
                f"{check!r} gives no reason for {text[:40]!r}"
            )
            again = check(Request(), Draft(text, finish_reason=finish_reason))
            assert verdict == again, f"{check!r} changes its mind on {text[:40]!r}"


def check_budget(schedule: BudgetSchedule, *, calls: int = 12) -> None:
    """Hold a schedule against its contract: whole, positive, growing grants, or None."""
    ledger, request = Ledger(), Request(prompt_tokens=100, context_window=4096)
    last = 0
    for _ in range(calls):
        granted = schedule(request, ledger)
        if granted is None:
            return
        assert isinstance(granted, int), f"{schedule!r} grants {granted!r}, not a whole number"
        assert granted >= 1, f"{schedule!r} grants {granted} tokens"
        assert granted >= last, f"{schedule!r} takes back: {granted} after {last}"
        grant = cap(granted, request, ledger)
        if grant is None:
            return
        assert last < grant <= 4096 - 100, f"{schedule!r} grants {grant} after {last}"
        ledger.attempts.append(Attempt("continue", grant, grant - last, 0, 100, 0.1, "length"))
        ledger.seconds += 0.1
        last = grant


def _readings(signal: Signal, steps: Sequence[Step]) -> list[tuple[int, float | None]]:
    """The signal's reading at every boundary, and at the end."""
    segmenter, offset = Segmenter(), 0
    signal.reset(Request())
    readings: list[tuple[int, float | None]] = []
    for step in steps:
        for piece in segmenter.feed(step):
            signal.update(piece)
            offset += len(piece.text)
            if piece.boundary:
                _check_reading(type(signal).__name__, signal.value)
                readings.append((offset, signal.value))
    for piece in segmenter.flush():
        signal.update(piece)
    return [*readings, (-1, signal.value)]


def _check_reading(name: str, value: object) -> None:
    assert value is None or isinstance(value, float | int), f"{name}.value is {value!r}"


def _stop(policy: Policy, steps: Sequence[Step]) -> tuple[int, str] | None:
    engine = Engine(policy, Request(), prober=lambda checkpoint: _answer(checkpoint.offset))
    for step in steps:
        engine.feed(step)
        if engine.decision.stop:
            return engine.offset, engine.decision.reason
    return None


def _answer(place: int) -> Probe:
    """What the model would answer at a place: now one thing, now another, more and more sure."""
    return Probe(str(place // 24), 2, 50 + place, (-0.1, -1 / (1 + place)), 2 / (1 + place))


def _check_vectorised(policy: Policy) -> None:
    """Compare what a policy says at once, of many runs, with what it says to the engine."""
    from stopping_core.traces.columns import Columns
    from stopping_core.traces.replay import replay
    from stopping_core.traces.sweep import cut

    runs = [_record(text, number) for number, text in enumerate(SAMPLES)]
    cuts = cut(Columns(runs), policy)
    for number, run in enumerate(runs):
        outcome = replay(run, policy)
        place = outcome.checkpoint.offset if outcome.checkpoint is not None else -1
        by_engine = (place, outcome.tokens, outcome.probes, outcome.usage)
        at_once = (
            int(cuts.offset[number]),
            int(cuts.tokens[number]),
            int(cuts.probes[number]),
            cuts.usage(number),
        )
        assert at_once == by_engine, (
            f"{policy!r} says at once {at_once} and to the engine {by_engine} of {run.text!r}"
        )


def _record(text: str, seed: int) -> Run:
    """Make a recorded run of a text, with readings that know nothing of it."""
    import numpy as np

    from stopping_core.traces.run import Run

    tokens = tuple(words(text))
    n, rng = len(tokens), np.random.default_rng(seed)
    top = -np.sort(rng.exponential(2.0, (n, 5)), axis=1)
    return Run(
        question_id=str(seed),
        question="?",
        gold=("a",),
        tokens=tokens,
        finish_reason="stop",
        logprobs=top[:, 0].astype(np.float32),
        top_logprobs=top.astype(np.float32),
        entropy=rng.exponential(1.0, n).astype(np.float32),
        margin=rng.random(n).astype(np.float32),
        end_probability=rng.random(n).astype(np.float32),
        seconds=np.linspace(0.05, 2.0, n).astype(np.float32),
        probes={place: _answer(place) for place in range(n + 1)},
    )
