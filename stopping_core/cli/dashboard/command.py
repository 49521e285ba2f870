"""The command ``dashboard``, as the command line shows it."""

from __future__ import annotations

from typing import Annotated

import typer

from stopping_core.cli.told import told


def dashboard(
    store: Annotated[
        str,
        typer.Option(
            envvar="STOPPING_DASHBOARD_STORE",
            help="The store, as OutcomeStore takes it. A URL with a password belongs into the "
            "variable: other users can see a command line.",
        ),
    ] = "sqlite:///stopping.db",
    port: Annotated[int, typer.Option(help="In [1, 65535].")] = 8501,
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that others reach needs a token.")
    ] = "127.0.0.1",
    token: Annotated[
        str | None,
        typer.Option(
            envvar="STOPPING_DASHBOARD_TOKEN",
            help="What the page asks for before it shows anything. Better set by the variable.",
            show_default=False,
        ),
    ] = None,
    days: Annotated[int, typer.Option(help="How far back it looks, in [1, 3650].")] = 30,
) -> None:
    """Show what came of the requests: a page in the browser, on this machine only.

    Tokens saved, the loss of audited stops with its confidence sequence, satisfaction, latency,
    retries, drift and reasons; by tenant, use case and model; and every single request with its
    feedback. Prompts and answers are shown where the store keeps them.

    It reads at most the latest 100,000 requests, writes nothing, and sends nothing to the internet.
    It speaks plain HTTP: with a --host that others reach put it behind a proxy with TLS, which has
    to pass WebSockets on. Ctrl-C ends it.
    """
    with told("dashboard", extra="dashboard"):
        from stopping_core.cli.dashboard.run import Settings, run

        run(Settings(store, port, host, token, days))
