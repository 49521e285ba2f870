"""The command ``doctor``, as the command line shows it."""

from __future__ import annotations

from typing import Annotated

import typer

from stopping_core.cli.keys import KEY_HELP, key_for
from stopping_core.cli.told import told


def doctor(
    base_url: Annotated[
        str, typer.Option(help="The endpoint, as OpenAI's client takes it: http://HOST:PORT/v1.")
    ],
    model: Annotated[str, typer.Option(help="The model's name at that endpoint.")],
    api_key: Annotated[str | None, typer.Option(help=KEY_HELP)] = None,
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
    with told("doctor", extra="demo"):
        from stopping_core.cli.doctor.run import Settings, run

        run(
            Settings(
                base_url=base_url,
                model=model,
                api_key=key_for(base_url, api_key),
                as_json=as_json,
                within=max_tokens,
                timeout=timeout,
            )
        )
