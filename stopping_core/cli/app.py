"""The command line: ``stopping COMMAND``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from stopping_core.errors import MissingPackage

try:
    import typer
except ModuleNotFoundError:
    sys.exit(str(MissingPackage("typer", "demo")))

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Stop a generation when its answer is done, check it, continue it when it is not.",
)


_KEY_HELP = (
    "The endpoint's key; never printed. Left out, OPENAI_API_KEY is sent, but only to "
    "https://api.openai.com."
)


def _key(given: str | None, base_url: str | None) -> str:
    """The key for an endpoint. The environment's is OpenAI's, and goes nowhere else."""
    if given is not None:
        return given
    parts = urlsplit(base_url or "")
    at_openai = (parts.scheme, parts.hostname) == ("https", "api.openai.com")
    return (os.environ.get("OPENAI_API_KEY") if at_openai else None) or "none"


@app.command()
def demo(
    data: Annotated[
        Path | None,
        typer.Option(help="A SQuAD v1.1 file instead of the Python language reference."),
    ] = None,
    questions: Annotated[int, typer.Option(min=1, help="How many questions to ask.")] = 60,
    base_url: Annotated[
        str | None,
        typer.Option(help="Your own OpenAI-compatible endpoint instead of the embedded model."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model's name at that endpoint.")] = None,
    api_key: Annotated[str | None, typer.Option(help=_KEY_HELP)] = None,
    prefill: Annotated[
        bool,
        typer.Option(help="Your endpoint continues a last assistant message (llama.cpp, vLLM)."),
    ] = False,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="The fixed budget of the plain runs, tokens.")
    ] = 96,
    profile: Annotated[
        str, typer.Option(help="realtime_chat, balanced, high_stakes or batch.")
    ] = "realtime_chat",
    out: Annotated[Path, typer.Option(help="Folder for the picture and the summary.")] = Path(
        "build/demo"
    ),
) -> None:
    """Answer questions from passages, plain and with adaptive stopping, in two frameworks."""
    from stopping_core.cli.demo.run import FAILURES, Settings, run

    if (base_url is None) != (model is None):
        raise typer.BadParameter("--base-url and --model go together")
    try:
        run(
            Settings(
                data=data,
                questions=questions,
                base_url=base_url,
                model=model,
                api_key=_key(api_key, base_url),
                prefill=prefill or base_url is None,
                max_tokens=max_tokens,
                profile=profile,
                out=out,
            )
        )
    except FAILURES as error:
        typer.secho(f"stopping demo: {error}", fg="red", err=True)
        raise typer.Exit(1) from error


@app.command()
def doctor(
    base_url: Annotated[
        str, typer.Option(help="The endpoint, as OpenAI's client takes it: http://HOST:PORT/v1.")
    ],
    model: Annotated[str, typer.Option(help="The model's name at that endpoint.")],
    api_key: Annotated[str | None, typer.Option(help=_KEY_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    max_tokens: Annotated[
        int,
        typer.Option(min=1, help="Tokens after a hang-up within which the server must stop."),
    ] = 8,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds that one call may take; two stalls end it all.")
    ] = 30.0,
) -> None:
    """Measure what a live OpenAI-compatible endpoint can do, and print the settings for it.

    Some 20 to 35 short calls. Their limits add up to at most 1200 tokens, or 4500 where the model
    thinks in silence before it answers; an answer that runs far past its limit is hung up on.

    It finds out whether the endpoint streams, tells its usage and log-probabilities, which budget
    keyword it obeys and how it marks a truncated answer, whether it continues a last assistant
    message (prefill), whether it stops when the client hangs up, and how long a cut takes. Each
    finding comes with its evidence; then come the row for the provider table and the settings for
    LangChain and LlamaIndex.

    Whether a server stops is read from its own counters: /metrics of vLLM and of llama.cpp
    (llama-server --metrics), or llama.cpp's /slots. Without any, a server that answers one call at
    a time is measured by how long it keeps the next one waiting. Of other endpoints nothing can be
    known from outside; the table's word is given. Let nothing else use the server meanwhile.

    Ends with 0 when it has measured, with 1 when the endpoint cannot be reached, refuses the key or
    does not know the model.
    """
    try:
        from stopping_core.cli.doctor.run import FAILURES, Settings, run
    except ModuleNotFoundError as error:
        sys.exit(str(MissingPackage(error.name or "openai", "demo")))
    try:
        run(
            Settings(
                base_url=base_url,
                model=model,
                api_key=_key(api_key, base_url),
                as_json=as_json,
                within=max_tokens,
                timeout=timeout,
            )
        )
    except FAILURES as error:
        typer.secho(f"stopping doctor: {error}", fg="red", err=True)
        raise typer.Exit(1) from error


def main() -> None:
    """Run the command line."""
    app()
