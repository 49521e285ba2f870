"""The command ``fit``, as the command line shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from stopping_core.cli.told import told

TRACES = "Trace files of one model and template, as `stopping record` writes them."
TEMPLATE = "Name or TOML file of the runs' template, where it is not one of this package's."


def fit(
    traces: Annotated[list[Path], typer.Argument(help=TRACES, show_default=False)],
    out: Annotated[Path, typer.Option(help="The fitted model, JSON.")],
    share: Annotated[
        float, typer.Option(help="Of the runs, to fit on; certify on the others.")
    ] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="Of the split.")] = 0,
    tier: Annotated[
        Literal["text", "logprobs", "probes"] | None,
        typer.Option(
            help="What the policy reads: the text alone, or the logprobs too, or beside these what "
            "the model would answer now, where it asks. The last two inside reasoning only. Left "
            "out, the logprobs inside reasoning where the runs hold them, else the text."
        ),
    ] = None,
    template: Annotated[str | None, typer.Option(help=TEMPLATE)] = None,
) -> None:
    """Learn from recorded runs when an answer may be stopped.

    Questions of one family (an article, a kind of problem) are either all fitted on or not at all.
    The file holds the model as plain numbers, the thresholds that `stopping certify` is to test,
    what the runs have in common, and hashes of the families that were seen.
    """
    with told("fit", extra="fit"):
        from stopping_core.cli.fit.run import Settings, run

        run(Settings(tuple(traces), out, share, seed, tier, template))
