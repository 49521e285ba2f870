"""Ask every question in both frameworks, plain and adaptive, and report what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stopping_core.cli.demo import report
from stopping_core.cli.demo.corpus import Bm25Index, Corpus, Question, load_reference, load_squad
from stopping_core.cli.demo.frontier import draw
from stopping_core.cli.demo.grades import Graded, grade, summarize
from stopping_core.cli.demo.stacks import Endpoint, Source, Stack, stacks
from stopping_core.embedded import EmbeddedServer
from stopping_core.stopping import AdaptiveStopping

PASSAGES = 1
"""Passages a question is given. A small model does worse with more."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line was told; see ``stopping demo --help``."""

    data: Path | None
    questions: int
    base_url: str | None
    model: str | None
    api_key: str = field(repr=False)
    prefill: bool
    max_tokens: int
    profile: str
    out: Path


def run(settings: Settings) -> None:
    """Run the demo.

    Raises:
        ValueError: The data file or the profile is not what it should be.
        ImportError: A package of the demo is not installed.
    """
    console = Console()
    stopping = AdaptiveStopping.from_profile(settings.profile)
    corpus = load_squad(settings.data) if settings.data is not None else load_reference()
    chosen = _spread(corpus, settings.questions)
    settings.out.mkdir(parents=True, exist_ok=True)
    with _endpoint(settings, console) as endpoint:
        source = Source(endpoint, Bm25Index(corpus.passages), PASSAGES)
        setups = stacks(source, max_tokens=settings.max_tokens, stopping=stopping)
        results = _ask_all(console, setups, chosen, source.warm)
    rows = summarize(results)
    (settings.out / "summary.json").write_text(json.dumps(rows, indent=2) + "\n", "utf-8")
    draw(results, rows, settings.out / "frontier.png")
    report.show(console, results, rows)
    console.print(f"\nWrote {settings.out / 'frontier.png'} and {settings.out / 'summary.json'}.")


def _ask_all(
    console: Console,
    setups: list[tuple[str, Stack]],
    questions: list[Question],
    warm: Callable[[str], None],
) -> list[Graded]:
    """Ask question by question, so that all setups meet the same machine and the same load.

    The prompt, the same for all, is first read into the server's prefix cache by an untimed call,
    so that no setup pays for the others; the setups take turns in going first.
    """
    results: list[Graded] = []
    for _, stack in setups:
        stack.ask(questions[0].question)  # untimed: imports, connections, the first use of all
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("Asking", total=len(questions) * len(setups))
        for number, question in enumerate(questions):
            warm(question.question)
            turn = number % len(setups)
            for mode, stack in setups[turn:] + setups[:turn]:
                answer = stack.ask(question.question)
                results.append(grade(stack.name, mode, question, answer))
                progress.advance(task)
    return results


def _spread(corpus: Corpus, number: int) -> list[Question]:
    """Take questions evenly over the whole file, so that a few are not all about one text."""
    questions = corpus.questions
    if number >= len(questions):
        return list(questions)
    return [questions[i * len(questions) // number] for i in range(number)]


@contextmanager
def _endpoint(settings: Settings, console: Console) -> Iterator[Endpoint]:
    if settings.base_url is not None and settings.model is not None:
        yield Endpoint(settings.base_url, settings.model, settings.prefill, settings.api_key)
        return
    with console.status("Starting the embedded model"):
        server = EmbeddedServer(threads=1)
        server.start()
    try:
        yield Endpoint(server.base_url, server.model, prefill=True)
    finally:
        server.stop()
