"""The commands ``replay`` and ``bench``, as the command line shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from stopping_core.cli.told import told

_TRACES = "Trace files, as `stopping record` writes them."


def replay(
    traces: Annotated[list[Path], typer.Argument(help=_TRACES, show_default=False)],
    policy: Annotated[
        str,
        typer.Option(
            help="A profile (balanced), a published rule by its class name (Dynasor, with its "
            "defaults), or a policy of yours as module:attribute, a single one."
        ),
    ],
    grader: Annotated[
        str | None,
        typer.Option(
            help="contains, exact_match, f1, last_number or choice. By default each run's own."
        ),
    ] = None,
    channel: Annotated[
        Literal["answer", "reasoning"] | None,
        typer.Option(
            help="Where the policy acts: answer or reasoning. By default on the reasoning, where "
            "the runs have any."
        ),
    ] = None,
    every: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens between two checkpoints inside a sentence; default 16."),
    ] = None,
    vectorised: Annotated[
        bool,
        typer.Option(
            "--vectorised", help="By arrays instead of the engine: faster, and says the same."
        ),
    ] = False,
) -> None:
    """Tell what one stopping policy would have saved and lost on recorded runs.

    Runs are played to the policy by the engine that cuts live. Nothing is generated: a cut only
    shortens a run.
    """
    with told("replay", extra="bench"):
        from stopping_core.cli.bench.single import Settings, run

        run(Settings(tuple(traces), policy, grader, channel, every, vectorised))


def bench(
    traces: Annotated[list[Path], typer.Argument(help=_TRACES, show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the tables, the picture, the report.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the split and of the bootstrap.")] = 0,
    levels: Annotated[
        str,
        typer.Option(help="How much may be lost, points of all runs, with commas between."),
    ] = "0,1,2,5",
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="A policy of yours, module:attribute: a Policy or a list of them, which is "
            "swept, or a Policy class, which is swept where it has grid(). May be given several "
            "times."
        ),
    ] = None,
    runs: Annotated[
        int, typer.Option(min=0, help="Single runs that the report holds, a file.")
    ] = 40,
) -> None:
    """Compare all stopping policies on recorded runs, at a bounded loss.

    Every published rule, the profiles and your own policies cut the same runs. For each level the
    setting that saves most while it loses at most so many points is chosen on half of the
    questions, and reported on the other half. Questions of one family (an article, a kind of
    problem) stay together, and are what the 95% intervals draw again.

    Writes table.json (a row a policy and level), table.md, frontier.png and report.html, which
    needs no network and shows single runs as well.
    """
    named = _levels(levels)
    with told("bench", extra="bench"):
        from stopping_core.cli.bench.compare import Choices
        from stopping_core.cli.bench.run import Settings, run

        run(Settings(tuple(traces), out, Choices(named, tuple(policy or ()), seed, runs)))


def _levels(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(level) for level in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"--levels must be numbers with commas, got {text}") from error
