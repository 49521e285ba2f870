"""The command line: ``stopping COMMAND``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from stopping_core.errors import MissingPackage

try:
    import typer
except ModuleNotFoundError:
    sys.exit(str(MissingPackage("typer", "demo")))

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Stop a generation when its answer is done, check it, continue it when it is not.",
)


@app.callback()
def _root() -> None:
    """Keep ``demo`` a command of its own while it is the only one."""


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
    api_key: Annotated[
        str, typer.Option(envvar="OPENAI_API_KEY", help="The key of that endpoint.")
    ] = "none",
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
                api_key=api_key,
                prefill=prefill or base_url is None,
                max_tokens=max_tokens,
                profile=profile,
                out=out,
            )
        )
    except FAILURES as error:
        typer.secho(f"stopping demo: {error}", fg="red", err=True)
        raise typer.Exit(1) from error


def main() -> None:
    """Run the command line."""
    app()
