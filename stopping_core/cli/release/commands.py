"""The commands ``promote`` and ``rollback``, as the command line shows them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stopping_core.cli.told import told

if TYPE_CHECKING:
    from stopping_core.steering.releases import Releases

FOLDER = "The folder of releases; made where it does not exist."
WHY = "For the history, in words."


def promote(
    certificate: Annotated[Path, typer.Argument(help="As `stopping certify` wrote it.")],
    folder: Annotated[Path, typer.Option("--to", help=FOLDER)],
    why: Annotated[str, typer.Option(help=WHY)] = "",
) -> None:
    """Put a certificate in use: it becomes the current one of a folder of releases.

    A service loads `Releases(FOLDER).current`, from `stopping_core.steering`.
    """
    with told("promote", extra="monitor"):
        from stopping_core.steering.releases import Releases

        releases = Releases(folder)
        releases.promote(certificate, why)
        _show(releases)


def rollback(
    folder: Annotated[Path, typer.Argument(help="The folder of releases.")],
    why: Annotated[str, typer.Option(help=WHY)] = "",
) -> None:
    """Go back to the certificate that was in use before the current one was promoted."""
    with told("rollback", extra="monitor"):
        from stopping_core.steering.releases import Releases

        releases = Releases(folder)
        releases.rollback(why)
        _show(releases)


def _show(releases: Releases) -> None:
    for one in releases.history:
        typer.echo(f"{one.time}  {one.number:4}  {one.certificate}  {one.why}".rstrip())
    typer.echo(f"In use: {releases.current}")
