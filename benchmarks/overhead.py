"""What the suite costs where it cuts nothing: ``make bench``.

Two figures from one run: microseconds a step, for the policies of the profiles on real text; and
the time of a whole generation watched by the suite (shadow mode: every decision, no cut) over that
of the plain call, pair by pair on the embedded model, in alternating order.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_stopping import AdaptiveChatModel
from stopping_core import AdaptiveStopping, Engine, Request, Step
from stopping_core.cli.demo.corpus import load_reference
from stopping_core.embedded import EmbeddedServer
from stopping_core.policies import Never, Policy
from stopping_core.profiles import PROFILES
from stopping_core.testing import words
from stopping_core.types import Decision

STEPS = 20_000
ROUNDS = 7
PAIRS = 12
TOKENS = 128


def microseconds(policy: Policy, steps: Sequence[Step]) -> float:
    """Median over rounds of the time a step takes, microseconds; no stop is let through."""

    def veto(decision: Decision) -> bool:
        return False

    rounds = []
    for _ in range(ROUNDS):
        engine = Engine(policy, Request(), confirm=veto)
        start = time.perf_counter()
        for step in steps:
            engine.feed(step)
        rounds.append((time.perf_counter() - start) / len(steps) * 1e6)
        if engine.decision.stop:
            raise RuntimeError(f"a forced stop ended the measurement: {engine.decision.reason}")
    return statistics.median(rounds)


def ratios(server: EmbeddedServer) -> list[float]:
    """Seconds watched over seconds plain, for each of the pairs."""
    plain = ChatOpenAI(
        base_url=server.base_url,
        model=server.model,
        api_key=SecretStr("none"),
        temperature=0,
        streaming=True,
        max_completion_tokens=TOKENS,
    )
    watched = AdaptiveChatModel(inner=plain, stopping=AdaptiveStopping(mode="shadow"))
    found = []
    for number, passage in enumerate(load_reference().passages[: PAIRS + 1]):
        prompt = f"Explain in detail:\n\n{passage.text}"
        pair: list[tuple[str, BaseChatModel]] = [("plain", plain), ("watched", watched)]
        seconds: dict[str, float] = {}
        texts: set[str] = set()
        for name, model in pair if number % 2 else pair[::-1]:
            model.invoke(prompt, max_tokens=1)  # reads the prompt into the prefix cache
            start = time.perf_counter()
            texts.add(str(model.invoke(prompt).content))
            seconds[name] = time.perf_counter() - start
        if len(texts) != 1:
            raise RuntimeError("the two runs differ, so their times cannot be compared")
        if number:  # the first pair warms up
            found.append(seconds["watched"] / seconds["plain"])
    return found


def main() -> None:
    """Print both figures."""
    text = " ".join(p.text for p in load_reference().passages)
    steps = [Step(piece, logprob=-0.5) for piece in words(text)[:STEPS]]
    print(f"microseconds a step, median of {ROUNDS} rounds over {len(steps)} words of real text")
    print(f"  {'no policy':14} {microseconds(Never(), steps):6.2f}")
    print(f"  {'default':14} {microseconds(AdaptiveStopping().policy, steps):6.2f}")
    for name in sorted(PROFILES):
        policy = AdaptiveStopping.from_profile(name).policy
        print(f"  {name:14} {microseconds(policy, steps):6.2f}")
    with EmbeddedServer(threads=1) as server:
        found = ratios(server)
    print(
        f"whole generation, watched / plain, {len(found)} pairs of {TOKENS} tokens: "
        f"median {statistics.median(found):.3f}, from {min(found):.3f} to {max(found):.3f}"
    )


if __name__ == "__main__":
    main()
