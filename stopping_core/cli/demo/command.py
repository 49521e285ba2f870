"""The command ``demo``, as the command line shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stopping_core.cli.keys import KEY_HELP, key_for
from stopping_core.cli.told import told


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
    api_key: Annotated[str | None, typer.Option(help=KEY_HELP)] = None,
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
    if (base_url is None) != (model is None):
        raise typer.BadParameter("--base-url and --model go together")
    with told("demo", extra="demo"):
        from openai import OpenAIError

        from stopping_core.cli.demo.run import Settings, run

        settings = Settings(
            data=data,
            questions=questions,
            base_url=base_url,
            model=model,
            api_key=key_for(base_url, api_key),
            prefill=prefill or base_url is None,
            max_tokens=max_tokens,
            profile=profile,
            out=out,
        )
        try:
            run(settings)
        except OpenAIError as error:
            raise ConnectionError(str(error)) from error
