"""The command ``refit``, as the command line shows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stopping_core.cli.certify.command import levels_of
from stopping_core.cli.told import told

if TYPE_CHECKING:
    from stopping_core.cli.refit.run import Settings


def refit(
    catalogue: Annotated[
        Path, typer.Argument(help="The folder of a `Catalogue`.", show_default=False)
    ],
    after: Annotated[
        int, typer.Option(help="New runs of an entry after which it is refitted; >= 1.")
    ] = 1000,
    most: Annotated[
        int,
        typer.Option(
            help="The latest runs that are fitted and certified on, and the most that a challenger "
            "is compared on; older ones are removed."
        ),
    ] = 10_000,
    share: Annotated[float, typer.Option(help="Of the runs, to fit on.")] = 0.5,
    levels: Annotated[
        str, typer.Option(help="Risks to certify, with commas between.")
    ] = "0.005,0.01,0.02,0.05",
    confidence: Annotated[float, typer.Option(help="As of `stopping certify`.")] = 0.95,
    risk: Annotated[
        float | None,
        typer.Option(
            help="The level that services load, at which both are compared. By default the largest "
            "that both have, and a challenger must have the smallest of the one in use.",
            show_default=False,
        ),
    ] = None,
    delta: Annotated[
        float, typer.Option(help="Chance of a wrong finding of one comparison, in (0, 1).")
    ] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Of the splits.")] = 0,
    hold: Annotated[
        bool, typer.Option("--hold", help="Say what is to be promoted, and do not.")
    ] = False,
    cron: Annotated[
        str | None,
        typer.Option(
            help="Go on, and do it again whenever this says, such as '0 3 * * *' for each night at "
            "three.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Refit on what production has recorded, and promote what is better.

    Each entry of the catalogue is taken one step further. With enough new runs, a challenger is
    fitted on some of the latest and certified on the others. On the runs that come after these it
    is compared with the certificate in use: both are replayed on the same requests, in shadow. Once
    it is known, at whatever time it is looked, that it keeps the risk and saves more, it is
    promoted; known to do worse, it is dropped. `stopping rollback` goes back.
    """
    with told("refit", extra="refit"):
        from stopping_core.cli.refit.run import Settings, run

        settings = Settings(
            catalogue,
            after,
            most,
            share,
            levels_of(levels, "--levels"),
            confidence,
            risk,
            delta,
            seed,
            hold,
        )
        if cron is None:
            well = run(settings)
        else:
            well = True
            _forever(settings, cron)
    if not well:
        raise typer.Exit(1)


def _forever(settings: Settings, cron: str) -> None:
    """Refit now, and from then on at the times of a crontab."""
    from stopping_core.cli.refit.schedule import keep_refitting

    keep_refitting(settings, cron)
