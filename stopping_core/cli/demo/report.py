"""The demo's table, and a few answers side by side."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stopping_core.cli.demo.grades import Graded, changes
from stopping_core.cli.terminal import as_text

_SHOWN = 2


def show(console: Console, results: list[Graded], rows: list[dict[str, Any]]) -> None:
    """Print the table, the savings, and a few answers with the cut marked."""
    title = f"{rows[0]['questions']} questions, the same model and passages"
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("framework", "mode"):
        table.add_column(name, no_wrap=True)
    for name in ("tokens", "seconds", "right", "F1", "retries"):
        table.add_column(name, justify="right")
    table.add_column("ended by", no_wrap=True)
    for row in rows:
        reasons = Counter(
            r.answer.reason
            for r in results
            if (r.framework, r.mode) == (row["framework"], row["mode"])
        )
        table.add_row(
            row["framework"],
            row["mode"],
            str(row["tokens"]),
            f"{row['seconds']:.1f}",
            str(row["right"]),
            f"{row['f1']:.3f}",
            str(row["retries"]),
            "\n".join(f"{reason} {count}" for reason, count in reasons.most_common()),
        )
    console.print(table)
    for framework in dict.fromkeys(row["framework"] for row in rows):
        plain, ours = (
            next(r for r in rows if (r["framework"], r["mode"]) == (framework, mode))
            for mode in ("plain", "adaptive")
        )
        lost, gained = changes(results, framework)
        console.print(
            f"{framework}: {1 - ours['tokens'] / max(1, plain['tokens']):.0%} of the tokens and "
            f"{1 - ours['seconds'] / max(1e-9, plain['seconds']):.0%} of the seconds saved; "
            f"{lost} right answers lost, {gained} gained."
        )
    _show_answers(console, results)


def _show_answers(console: Console, results: list[Graded]) -> None:
    """Show answers that were cut: the first that stayed right, and the first that the cut lost."""
    runs = {(r.question.id, r.mode): r for r in results if r.framework == "langchain"}
    pairs = [(runs[i, "plain"], runs[i, "adaptive"]) for i, mode in runs if mode == "plain"]
    cut = [
        (plain, ours)
        for plain, ours in pairs
        if plain.answer.text.startswith(ours.answer.text) and plain.answer.text != ours.answer.text
    ]
    right = [pair for pair in cut if pair[1].right]
    lost = [pair for pair in cut if pair[0].right and not pair[1].right]
    for plain, ours in right[:_SHOWN] + lost[:_SHOWN]:
        kept = ours.answer.text
        rest = " ".join(plain.answer.text[len(kept) :].split())
        rest = rest if len(rest) < 280 else rest[:280] + " ..."
        grade = "right" if ours.right else "lost"
        gold = " / ".join(ours.question.answers)
        said = [
            (f"\n{ours.question.question}", "bold"),
            (f" ({grade}; {gold})\n  {kept} ", ""),
            (f"|cut: {ours.answer.reason}|", "bold red"),
            (f" {rest}", "dim"),
        ]
        console.print(Text.assemble(*((as_text(text), style) for text, style in said)))
