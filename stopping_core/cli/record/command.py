"""The command ``record``, as the command line shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stopping_core.cli.keys import KEY_HELP, key_for
from stopping_core.cli.told import told


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
    api_key: Annotated[str | None, typer.Option(help=KEY_HELP)] = None,
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
        int | None,
        typer.Option(min=1, help="Of a local model. Left out, torch decides; 1 with --workers."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes on Ray that share the work; 2 where --ray is given."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            help="HOST:PORT of a Ray cluster that this machine is part of. Left out with "
            "--workers: local, a cluster of this machine for as long as it takes."
        ),
    ] = None,
) -> None:
    """Run questions through a model to the natural end, and keep all that is seen of it.

    The trace holds prompt, question, context and gold answers, and of every token its text,
    log-probability, the most likely tokens', entropy, margin, the probability that the text ends,
    and the time. A cut only shortens a run, so every stopping rule can be tried on it later.

    Killed, it goes on where it was: the same command again. One file holds one model under one
    template and setting; anything else is refused.

    With --workers each process loads the model, or makes --concurrency calls; one that dies loses
    the batches in its hands, which others take over. The file is the same.
    """
    with told("record", extra="record"):
        from stopping_core.cli.record.run import Settings, run

        run(
            Settings(
                questions=questions,
                out=out,
                model=model,
                base_url=base_url,
                api_key=key_for(base_url, api_key),
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
                workers=workers,
                ray=ray,
            )
        )
