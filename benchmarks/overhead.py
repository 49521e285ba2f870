"""What the suite costs where it cuts nothing: ``make bench``.

Two figures from one run: microseconds a step, through a whole session, for the policies of the
profiles on real text; and the time of a whole generation under the default policy, kept from
cutting, over that of the plain call, pair by pair on the embedded model, in alternating order.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_stopping import AdaptiveChatModel
from stopping_core import AdaptiveStopping, Request, Session, Step
from stopping_core.budgets import FixedBudget
from stopping_core.cli.demo.corpus import load_reference
from stopping_core.embedded import EmbeddedServer
from stopping_core.policies import MinTokens, Never, Policy
from stopping_core.profiles import PROFILES
from stopping_core.testing import words

STEPS = 20_000
ROUNDS = 7
PAIRS = 12
TOKENS = 128


NEVER_CUTS = MinTokens(10**9)
"""Joined to a policy with ``&`` it leaves all of its work and none of its cuts."""


def microseconds(policy: Policy, steps: Sequence[Step]) -> float:
    """Median over rounds of the time that the session takes for a step, microseconds."""
    stopping = AdaptiveStopping(policy=policy & NEVER_CUTS, budget=FixedBudget(10 * len(steps)))
    rounds = []
    for _ in range(ROUNDS):
        session = Session(stopping, Request())
        session.next_call(0.0)
        start = time.perf_counter()
        for step in steps:
            session.feed(step, 0.0)
        rounds.append((time.perf_counter() - start) / len(steps) * 1e6)
    return statistics.median(rounds)


def ratios(server: EmbeddedServer) -> list[float]:
    """Seconds with the suite over seconds plain, for each of the pairs."""
    plain = ChatOpenAI(
        base_url=server.base_url,
        model=server.model,
        api_key=SecretStr("none"),
        temperature=0,
        streaming=True,
        max_completion_tokens=TOKENS,
    )
    stopping = AdaptiveStopping(
        policy=AdaptiveStopping().policy & NEVER_CUTS, budget=FixedBudget(TOKENS), attempts=1
    )
    suite = AdaptiveChatModel(inner=plain, stopping=stopping)
    found = []
    for number, passage in enumerate(load_reference().passages[: PAIRS + 1]):
        prompt = f"Explain in detail:\n\n{passage.text}"
        pair: list[tuple[str, BaseChatModel]] = [("plain", plain), ("suite", suite)]
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
            found.append(seconds["suite"] / seconds["plain"])
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
        f"whole generation, suite without a cut / plain, {len(found)} pairs of {TOKENS} tokens: "
        f"median {statistics.median(found):.3f}, from {min(found):.3f} to {max(found):.3f}"
    )


if __name__ == "__main__":
    main()
