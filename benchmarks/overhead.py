"""What the suite costs where it cuts nothing: ``make bench``.

Three figures from one run: microseconds a step, through a whole session, for the policies of the
profiles on real text; the time of a whole stream under the default policy, kept from cutting, over
that of the plain one, at the embedded model's rate and at a scripted one; and what the client
computes for a token, from a server in a process of its own that writes as fast as it can.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from benchmarks.cutting import chat_openai
from benchmarks.streaming import NEVER_CUTS, computing, frameworks, pairs, wall
from stopping_core import AdaptiveStopping, Request, Session, Step
from stopping_core.budgets import FixedBudget
from stopping_core.cli.demo.corpus import load_reference
from stopping_core.embedded import EmbeddedServer
from stopping_core.policies import Never, Policy
from stopping_core.profiles import PROFILES
from stopping_core.testing import words
from tests.support.sse_process import ServerProcess

STEPS = 20_000
ROUNDS = 7
PAIRS = 12
MODEL_TOKENS = 128
RATE = 150  # tokens a second
RATE_TOKENS = 300
FAST_TOKENS = 3000


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


def sessions(text: str) -> None:
    """Print what a session takes for a step, policy by policy."""
    steps = [Step(piece, logprob=-0.5) for piece in words(text)[:STEPS]]
    print(f"microseconds a step, median of {ROUNDS} rounds over {len(steps)} words of real text")
    policies = {name: AdaptiveStopping.from_profile(name).policy for name in sorted(PROFILES)}
    for name, policy in {
        "no policy": Never(),
        "default": AdaptiveStopping().policy,
        **policies,
    }.items():
        print(f"  {name:14} {microseconds(policy, steps):6.2f}", flush=True)


def streams(text: str, prompts: Sequence[str]) -> None:
    """Print what a whole stream takes wrapped over plain, and what the client computes."""
    scripted = "".join(words(text)[:RATE_TOKENS])
    print("wall time of a stream, wrapped without a cut / plain, median of pairs")
    with EmbeddedServer(threads=1) as server:
        # So that neither stream has to read the prompt: the server keeps it for the next call.
        prepare = chat_openai(server, max_completion_tokens=1).invoke
        for name, both in frameworks(server, MODEL_TOKENS).items():
            print(wall(name, pairs(both, prompts, time.perf_counter, prepare)), flush=True)
    with ServerProcess(scripted, delay=1 / RATE) as paced:
        for name, both in frameworks(paced, RATE_TOKENS).items():
            print(wall(name, pairs(both, prompts, time.perf_counter)), flush=True)
    print("microseconds that the client computes for a token, median (from-to)")
    with ServerProcess("".join(words(text)[:FAST_TOKENS]), delay=0) as fast:
        for name, both in frameworks(fast, FAST_TOKENS).items():
            print(computing(name, pairs(both, prompts, time.process_time)), flush=True)


def main() -> None:
    """Print all figures."""
    passages = load_reference().passages
    text = " ".join(passage.text for passage in passages)
    sessions(text)
    streams(text, [f"Explain in detail:\n\n{p.text}" for p in passages[: PAIRS + 1]])


if __name__ == "__main__":
    main()
