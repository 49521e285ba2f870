"""The commands ``promote`` and ``rollback``, as the command line shows them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stopping_core.cli.told import told

if TYPE_CHECKING:
    from stopping_core.steering.catalogue import Entry

CATALOGUE = "The folder of a `Catalogue`."
WHY = "For the history, in words."


def promote(
    certificate: Annotated[Path, typer.Argument(help="As `stopping certify` wrote it.")],
    catalogue: Annotated[
        Path, typer.Option("--to", help=f"{CATALOGUE} Made where it does not exist.")
    ],
    why: Annotated[str, typer.Option(help=WHY)] = "",
) -> None:
    """Put a certificate in use: in the entry of its model, quantisation and template.

    A service loads `Catalogue(FOLDER).entry(MODEL, TEMPLATE).load()`, of `stopping_core.steering`.
    """
    with told("promote", extra="monitor"):
        from stopping_core.steering.catalogue import Catalogue

        entry, _ = Catalogue(catalogue).promote(certificate, why)
        _show(entry)


def rollback(
    catalogue: Annotated[Path, typer.Argument(help=CATALOGUE, show_default=False)],
    model: Annotated[
        str | None, typer.Option(help="Its name. Needed where there are several entries.")
    ] = None,
    template: Annotated[str | None, typer.Option(help="Its name, likewise.")] = None,
    fingerprint: Annotated[str | None, typer.Option(help="Of the model, likewise.")] = None,
    why: Annotated[str, typer.Option(help=WHY)] = "",
) -> None:
    """Go back to the certificate that was in use before the current one was promoted."""
    with told("rollback", extra="monitor"):
        from stopping_core.steering.catalogue import Catalogue

        if not catalogue.is_dir():
            raise ValueError(f"catalogue must be a folder, got {catalogue}")
        asked = {"--model": model, "--template": template, "--fingerprint": fingerprint}
        found = [one for one in Catalogue(catalogue).entries if _is_meant(one, *asked.values())]
        if len(found) != 1:
            given = ", ".join(f"{name} {value}" for name, value in asked.items() if value) or "none"
            known = "; ".join(map(_named, Catalogue(catalogue).entries)) or "none"
            raise ValueError(
                f"model, template and fingerprint must name one entry, got {given}; there are "
                f"{known}"
            )
        found[0].releases.rollback(why)
        _show(found[0])


def _is_meant(
    entry: Entry, model: str | None, template: str | None, fingerprint: str | None
) -> bool:
    from stopping_core.certificates import bare_model

    return (
        (model is None or bare_model(model) == entry.model)
        and template in (None, entry.template.name)
        and fingerprint in (None, entry.fingerprint)
    )


def _named(entry: Entry) -> str:
    known = f" ({entry.fingerprint})" if entry.fingerprint else ""
    return f"{entry.model}{known} under {entry.template.name}"


def _show(entry: Entry) -> None:
    typer.echo(f"{_named(entry)}:")
    for one in entry.releases.history:
        typer.echo(f"{one.time}  {one.number:4}  {one.certificate}  {one.why}".rstrip())
    typer.echo(f"In use: {entry.releases.current}")
