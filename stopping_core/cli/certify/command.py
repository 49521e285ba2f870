"""The command ``certify``, as the command line shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from stopping_core.cli.fit.command import TEMPLATE, TRACES
from stopping_core.cli.told import told

Model: TypeAlias = Annotated[
    Path, typer.Argument(help="What `stopping fit` wrote.", show_default=False)
]
Out: TypeAlias = Annotated[Path, typer.Option(help="The certificate, JSON.")]
Confidence: TypeAlias = Annotated[
    float, typer.Option(help="That all certified levels hold, in (0, 1).")
]
Named: TypeAlias = Annotated[str | None, typer.Option(help=TEMPLATE)]


def certify(
    model: Model,
    traces: Annotated[list[Path], typer.Argument(help=TRACES, show_default=False)],
    out: Out,
    risk: Annotated[
        str,
        typer.Option(help="Largest shares of the runs that may be lost, with commas between."),
    ] = "0.005,0.01,0.02,0.05",
    confidence: Confidence = 0.95,
    unit: Annotated[
        Literal["group", "family"],
        typer.Option(
            help="What is drawn independently: passages (group), or whole articles (family), where "
            "the passages of one are alike."
        ),
    ] = "group",
    seed: Annotated[int, typer.Option(min=0, help="Of the run drawn from each unit.")] = 0,
    template: Named = None,
    reliability: Annotated[
        Path | None,
        typer.Option(
            help="Draw here, as PNG, how often a stop loses an answer where the model says how "
            "often it does."
        ),
    ] = None,
) -> None:
    """Prove how much a learned policy loses at most, or say how many runs that would take.

    Only runs of families and passages that the fit has not seen are looked at, and of each unit one
    run, drawn before anything is known of it. A run is lost where the full answer is right and the
    cut one is not, or where a session would not keep the full one, as with a fence left open. The
    model's thresholds are tested from careful to aggressive (Learn then Test), all levels of risk
    under one confidence. The certificate also holds how many tokens requests need, as conformal
    quantiles.

    Ends with 1 where no level could be certified; then nothing is written.
    """
    levels = levels_of(risk, "--risk")
    with told("certify", extra="certify"):
        from stopping_core.cli.certify.run import Settings, run

        certified = run(
            Settings(
                model, tuple(traces), out, levels, confidence, unit, seed, template, reliability
            )
        )
    if not certified:
        raise typer.Exit(1)


def certify_vote(
    model: Model,
    traces: Annotated[
        list[Path],
        typer.Argument(help="Traces of samples: `stopping record --samples`.", show_default=False),
    ],
    out: Out,
    risk: Annotated[
        str,
        typer.Option(help="Largest shares of the questions that may be lost, with commas between."),
    ] = "0.01,0.02,0.05",
    confidence: Confidence = 0.95,
    samples: Annotated[
        int | None,
        typer.Option(
            min=2, help="Samples of the full vote. Left out, those of the question with the fewest."
        ),
    ] = None,
    share: Annotated[
        float, typer.Option(help="Of the questions that order the settings before the others test.")
    ] = 0.3,
    unit: Annotated[
        Literal["group", "family"], typer.Option(help="What is drawn independently, as in certify.")
    ] = "group",
    seed: Annotated[
        int, typer.Option(min=0, help="Of the questions that are drawn, and of the split.")
    ] = 0,
    template: Named = None,
) -> None:
    """Prove how much a vote loses at most whose samples and sampling are ended early.

    Against the vote of all whole samples: a question is lost where that is right and the vote that
    was cut short is not. A part of the questions that the fit has not seen orders the settings,
    pairs of the model's threshold and the confidence at which the vote is decided; on the others
    they are tested in that order (Learn then Test), all levels of risk under one confidence.

    Ends with 1 where no level could be certified; then nothing is written.
    """
    levels = levels_of(risk, "--risk")
    with told("certify-vote", extra="certify"):
        from stopping_core.cli.certify.votes import Settings, run

        certified = run(
            Settings(
                *(model, tuple(traces), out, levels, confidence),
                *(samples, share, unit, seed, template),
            )
        )
    if not certified:
        raise typer.Exit(1)


def levels_of(text: str, name: str) -> tuple[float, ...]:
    """Read numbers with commas between.

    Raises:
        typer.BadParameter: They are none.
    """
    try:
        return tuple(sorted({float(level) for level in text.split(",")}))
    except ValueError as error:
        raise typer.BadParameter(f"{name} must be numbers with commas, got {text}") from error
