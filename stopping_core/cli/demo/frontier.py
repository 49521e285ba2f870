"""The picture of the trade: tokens saved against right answers lost.

A cut only shortens a run, so the recorded plain runs say what any rule that reads text would have
done. They are replayed through the session that cuts live; the live runs are drawn beside them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stopping_core import metrics
from stopping_core.budgets import FixedBudget
from stopping_core.cli.demo.grades import Graded, changes
from stopping_core.policies import MaxTokens, Policy, Threshold
from stopping_core.profiles import PROFILES, careful
from stopping_core.session import Session
from stopping_core.signals import Sentences
from stopping_core.stopping import AdaptiveStopping
from stopping_core.types import Request, Step

BUDGETS = (8, 16, 24, 32, 48, 64, 80)


def replay(policy: Policy, pieces: tuple[str, ...]) -> tuple[str, int]:
    """Run a policy over a recorded run; return the text it leaves and the tokens it needs."""
    stopping = AdaptiveStopping(policy=policy, budget=FixedBudget(len(pieces) + 1), attempts=1)
    session = Session(stopping, Request())
    session.next_call(0.0)
    for number, piece in enumerate(pieces, start=1):
        if session.feed(Step(piece), 0.0).stop:
            return session.completion.text, number
    return session.completion.text, len(pieces)


def point(policy: Policy, plain: list[Graded]) -> tuple[float, int]:
    """The share of tokens a policy saves on the plain runs, and the right answers it loses."""
    cut = [(run, *replay(policy, run.answer.pieces)) for run in plain]
    total = sum(len(run.answer.pieces) for run in plain)
    lost = sum(
        run.right and not metrics.contains(text, run.question.answers) for run, text, _ in cut
    )
    return 1 - sum(tokens for _, _, tokens in cut) / max(1, total), lost


def draw(results: list[Graded], rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the frontier of the recorded plain runs, with the live runs on it."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    plain = [r for r in results if r.mode == "plain" and r.answer.pieces]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    budgets = [point(MaxTokens(n), plain) for n in BUDGETS]
    axes.plot(*zip(*budgets, strict=True), "o-", color="0.6", label="fixed budget")
    for n, (x, y) in zip(BUDGETS, budgets, strict=True):
        axes.annotate(f" {n}", (x, y), color="0.5", fontsize=7)
    sentences = [point(careful() | Threshold(Sentences(), at_least=k), plain) for k in (1, 2, 3, 4)]
    axes.plot(*zip(*sentences, strict=True), "s-", color="tab:blue", label="1 to 4 sentences")
    for k, (x, y) in enumerate(sentences, start=1):
        axes.annotate(f" {k}", (x, y), color="tab:blue", fontsize=7)
    for name in sorted(PROFILES):
        policy = PROFILES[name].by_hand()
        axes.plot(*point(policy, plain), "^", markersize=9, label=f"profile {name}")
    for framework in dict.fromkeys(r.framework for r in results):
        axes.plot(*_live(results, rows, framework), "*", markersize=15, label=f"live: {framework}")
    axes.set_xlabel("tokens saved against the plain runs")
    axes.set_ylabel(f"right answers lost, of {sum(r.right for r in plain)}")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=-0.5)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)


def _live(results: list[Graded], rows: list[dict[str, Any]], framework: str) -> tuple[float, int]:
    tokens = {row["mode"]: row["tokens"] for row in rows if row["framework"] == framework}
    return 1 - tokens["adaptive"] / max(1, tokens["plain"]), changes(results, framework)[0]
