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

from stopping_core.cli.bench.commands import bench, replay

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
        if not given.strip():
            raise typer.BadParameter("--api-key must not be blank: leave it out for no key")
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


@app.command()
def record(
    questions: Annotated[
        str,
        typer.Argument(
            help="A file of questions with gold answers (SQuAD, HotpotQA, GSM8K, PubMedQA, "
            "arithmetic sets, JSON lines), or hub:NAME."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="The trace file, Parquet. Resumed or extended where it exists.")
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help="A folder, a GGUF file or a name on the Hub; with --base-url the name there. "
            "Left out, the embedded weights."
        ),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="An OpenAI-compatible endpoint instead of a local model.")
    ] = None,
    api_key: Annotated[str | None, typer.Option(help=_KEY_HELP)] = None,
    prefill: Annotated[
        bool,
        typer.Option(help="Your endpoint continues a last assistant message (llama.cpp, vLLM)."),
    ] = False,
    template: Annotated[
        str,
        typer.Option(help="plain, explain, raw, prefill, testbed, or a TOML file of your own."),
    ] = "plain",
    format: Annotated[
        str | None, typer.Option(help="Of the questions. Left out, told from the file.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="How many questions. Left out, all.")
    ] = None,
    offset: Annotated[int, typer.Option(min=0, help="Questions to pass over first.")] = 0,
    spread: Annotated[
        bool,
        typer.Option(
            help="Take a part of the questions evenly over articles and paragraphs, or in the "
            "file's order."
        ),
    ] = True,
    max_tokens: Annotated[int, typer.Option(min=1, help="The cap of each run, tokens.")] = 256,
    samples: Annotated[int, typer.Option(min=1, help="Runs a question.")] = 1,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 for greedy runs.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 0,
    top_logprobs: Annotated[
        int, typer.Option(min=0, help="How many of the largest logprobs to keep a token.")
    ] = 20,
    reasoning: Annotated[
        str | None,
        typer.Option(
            help="Opening and closing tag of the reasoning, a comma between. Left out, a run that "
            "begins with think in angle brackets has it."
        ),
    ] = None,
    probe_every: Annotated[
        int, typer.Option(min=0, help="Ask for the answer every so many tokens; 0 for never.")
    ] = 0,
    probe_tokens: Annotated[int, typer.Option(min=1, help="The most tokens a probe takes.")] = 20,
    batch: Annotated[int, typer.Option(min=1, help="Runs at once, of a local model.")] = 32,
    concurrency: Annotated[int, typer.Option(min=1, help="Calls at once, to an endpoint.")] = 4,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of a local model. Left out, torch decides.")
    ] = None,
) -> None:
    """Run questions through a model to the natural end, and keep all that is seen of it.

    The trace holds prompt, question, context and gold answers, and of every token its text,
    log-probability, the most likely tokens', entropy, margin, the probability that the text ends,
    and the time. A cut only shortens a run, so every stopping rule can be tried on it later.

    Killed, it goes on where it was: the same command again. One file holds one model under one
    template and setting; anything else is refused.
    """
    try:
        from stopping_core.cli.record.run import FAILURES, Settings, run
    except ModuleNotFoundError as error:
        sys.exit(str(MissingPackage(error.name or "pyarrow", "record")))
    try:
        run(
            Settings(
                questions=questions,
                out=out,
                model=model,
                base_url=base_url,
                api_key=_key(api_key, base_url),
                prefill=prefill,
                template=template,
                format=format,
                limit=limit,
                offset=offset,
                spread=spread,
                max_tokens=max_tokens,
                samples=samples,
                temperature=temperature,
                seed=seed,
                top_logprobs=top_logprobs,
                reasoning=reasoning,
                probe_every=probe_every,
                probe_tokens=probe_tokens,
                batch=batch,
                concurrency=concurrency,
                threads=threads,
            )
        )
    except FAILURES as error:
        typer.secho(f"stopping record: {error}", fg="red", err=True)
        raise typer.Exit(1) from error


app.command()(replay)
app.command()(bench)


def main() -> None:
    """Run the command line."""
    app()
