"""Record every question that the file lacks, and say what came of it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from stopping_core.cli.record.choose import choose
from stopping_core.cli.record.task import Source, Task
from stopping_core.errors import MissingPackage
from stopping_core.questions import load_questions
from stopping_core.templates import load_template
from stopping_core.traces.journal import Journal
from stopping_core.traces.plan import unfinished
from stopping_core.traces.run import Run

_TOLD = 5


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line was told; see ``stopping record --help``."""

    questions: str
    out: Path
    model: str | None
    base_url: str | None
    api_key: str = field(repr=False)
    prefill: bool
    template: str
    format: str | None
    limit: int | None
    offset: int
    spread: bool
    max_tokens: int
    samples: int
    temperature: float
    seed: int
    top_logprobs: int
    reasoning: str | None
    probe_every: int
    probe_tokens: int
    batch: int
    concurrency: int
    threads: int | None
    workers: int | None = None
    ray: str | None = None


def run(settings: Settings) -> None:
    """Record.

    Raises:
        ValueError: An argument, the questions or the file are not what they should be.
        OSError: A file or a model cannot be read.
        ImportError: A package of the recording is not installed.
    """
    console = Console()
    task = _task(settings)
    try:
        _record(console, settings, task)
    except (KeyboardInterrupt, ConnectionError):
        if line := unfinished(settings.out):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        raise


def _record(console: Console, settings: Settings, task: Task) -> None:
    with Journal(settings.out) as journal, ExitStack() as stack:
        with console.status("Loading the model"):
            source = stack.enter_context(_opened(settings, task))
        batches = journal.begin(source.header, task.asked(), source.batched)
        count = sum(map(len, batches.values()))
        asked = len(task.questions) * task.samples
        if not count:
            held = journal.finish()
            console.print(
                f"{settings.out}: {held} runs, 0 of them new: all {asked} asked for are there",
                highlight=False,
                soft_wrap=True,
            )
            return
        told = _Told()
        console.print(f"{settings.out}: {count} of {asked} runs to record", soft_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        times = (TextColumn("{task.fields[speed]}"), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, *times, console=console) as progress:
            bar = progress.add_task("Recording", total=count, speed="")

            def watch(tokens: int) -> None:
                told.tokens += tokens
                progress.update(bar, speed=f"{told.speed():.0f} tokens/s")

            def keep(number: int, runs: list[Run]) -> None:
                journal.add(number, runs)
                progress.advance(bar, len(runs))
                told.add(runs)

            failed = source.record(batches, keep, watch)
        line = told.line(settings.out, journal.finish())
    for line in failed[:_TOLD]:
        console.print(
            f"not recorded: {line}", style="red", highlight=False, markup=False, soft_wrap=True
        )
    console.print(line, highlight=False, soft_wrap=True)
    if task.probe_every and told.unprobed:
        console.print(
            f"{told.unprobed} runs were not probed: they reason on a channel of their own, which "
            f"no probe can continue, or not between the tags of --reasoning",
            style="yellow",
            highlight=False,
            soft_wrap=True,
        )
    if failed:
        raise ValueError(f"{len(failed)} runs failed: the same command tries them again")


@dataclass(slots=True)
class _Told:
    """What this call has recorded so far."""

    runs: int = 0
    tokens: int = 0
    generated: int = 0
    capped: int = 0
    unprobed: int = 0
    start: float = field(default_factory=time.perf_counter)

    def add(self, runs: list[Run]) -> None:
        self.runs += len(runs)
        self.generated += sum(map(len, runs))
        self.capped += sum(run.finish_reason == "length" for run in runs)
        self.unprobed += sum(not run.probes for run in runs)

    def speed(self) -> float:
        return self.tokens / max(time.perf_counter() - self.start, 1e-9)

    def line(self, out: Path, held: int) -> str:
        seconds = time.perf_counter() - self.start
        return (
            f"{out}: {held} runs, {self.runs} of them new: {self.generated} tokens, {self.capped} "
            f"runs at the cap, {seconds:.0f} s, {self.speed():.0f} tokens/s"
        )


def _task(settings: Settings) -> Task:
    template = load_template(settings.template)
    if not math.isfinite(settings.temperature):
        raise ValueError(f"--temperature must be finite, got {settings.temperature}")
    if settings.samples > 1 and not settings.temperature:
        raise ValueError("--samples must be 1 where --temperature is 0: greedy runs are all equal")
    if settings.probe_every and not template.probe:
        raise ValueError(f"--probe-every needs a template with a probe, {template.name!r} has none")
    tags = None
    if settings.reasoning is not None:
        opening, _, closing = settings.reasoning.partition(",")
        if not opening or not closing:
            raise ValueError(
                f"--reasoning must be two tags with a comma between, got {settings.reasoning!r}"
            )
        tags = (opening, closing)
    questions = load_questions(settings.questions, settings.format)
    chosen = choose(questions, settings.limit, settings.offset, settings.spread)
    return Task(
        questions={question.id: question for question in chosen},
        template=template,
        max_tokens=settings.max_tokens,
        samples=settings.samples,
        temperature=settings.temperature,
        seed=settings.seed,
        top_logprobs=settings.top_logprobs,
        reasoning_tags=tags,
        probe_every=settings.probe_every,
        probe_tokens=settings.probe_tokens,
    )


@contextmanager
def _opened(settings: Settings, task: Task) -> Iterator[Source]:
    if settings.workers is None and settings.ray is None:
        yield make_source(settings, task)
        return
    from stopping_core.cli.record.shared import shared

    with shared(settings, task) as source:
        yield source


def make_source(settings: Settings, task: Task) -> Source:
    """Load the model, or reach the endpoint.

    Raises:
        ValueError: An argument is wrong, or the endpoint does not answer.
        OSError: There is no such model.
        ImportError: A package is not installed.
    """
    if settings.base_url is None:
        try:
            from stopping_core.cli.record.local import LocalSource
        except ModuleNotFoundError as error:
            raise ImportError(
                f"{error.name} is needed for a local model and is not installed: pip install "
                f"transformers-stopping, or give an endpoint with --base-url"
            ) from error
        return LocalSource(task, settings.model, settings.batch, settings.threads)
    if settings.model is None:
        raise ValueError("--base-url needs --model, the model's name there")
    try:
        from stopping_core.cli.record.served import ServedSource
    except ModuleNotFoundError as error:
        raise MissingPackage(error.name or "openai", "record") from error
    return ServedSource(
        task,
        settings.base_url,
        settings.model,
        settings.api_key,
        settings.prefill,
        settings.concurrency,
    )
