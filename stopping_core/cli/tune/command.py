"""The command ``tune``, as the command line shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stopping_core.cli.told import told

_TRACES = "Trace files of one model and template, as `stopping record` writes them."


def tune(
    traces: Annotated[list[Path], typer.Argument(help=_TRACES, show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the search, the front and its picture.")],
    trials: Annotated[
        int, typer.Option(help="Settings to try in all, those of earlier calls included; >= 1.")
    ] = 200,
    seed: Annotated[
        int, typer.Option(help="Of the split, the search and the bootstrap; >= 0.")
    ] = 0,
    space: Annotated[
        str | None,
        typer.Option(
            help="A space of yours, module:function: it takes an Optuna trial and returns a "
            "Policy. By default the rules of this package that the runs have the evidence for."
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Database that keeps the search, a URL of SQLAlchemy; by default OUT/tune.db.",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(help="Seconds after which this call begins no further trial, or round."),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            help="Settings a round: proposed together, before any of them is tried; >= 1. Left "
            "out, 1; with --workers 8.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes on Ray that share a round; >= 1. Left out with --ray, 2.",
            show_default=False,
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            help="HOST:PORT of a Ray cluster that this machine is part of. Left out with "
            "--workers: local, a cluster of this machine for as long as it takes.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Search for the settings that save most tokens at each loss of right answers.

    The runs are dealt out by whole families into two halves. The search sees one of them only; the
    other one tells what the settings on its front are worth. A rule that is learned is fitted on
    some families of the searched half to cut the others, and for the report on that whole half.

    The search can be stopped at any moment, by Ctrl-C or by kill, and loses the running trial at
    most: the same command goes on to --trials, and tries just what an undisturbed one would have
    tried, as long as the packages stay the same. Only the numbers of the trials may differ. One
    call at a time.

    With --workers the settings of a round are tried at the same time. What is proposed depends on
    --seed and --batch, and not on how many workers there are; the larger the rounds, the fewer
    results each proposal has to go by.

    Writes front.json and front.png. The front is no proof: `stopping certify` is what proves.
    """
    with told("tune", extra="tune"):
        from stopping_core.cli.tune.run import Settings, run

        run(
            Settings(tuple(traces), out, trials, seed, space, storage, timeout, batch, workers, ray)
        )
