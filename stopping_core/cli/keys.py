"""The key that an endpoint is given."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import typer

KEY_HELP = (
    "The endpoint's key; never printed. Left out, OPENAI_API_KEY is sent, but only to "
    "https://api.openai.com."
)


def key_for(base_url: str | None, given: str | None) -> str:
    """Say the key for an endpoint. The environment's is OpenAI's, and goes nowhere else.

    Raises:
        typer.BadParameter: The given key is blank.
    """
    if given is not None:
        if not given.strip():
            raise typer.BadParameter("--api-key must not be blank: leave it out for no key")
        return given
    parts = urlsplit(base_url or "")
    at_openai = (parts.scheme, parts.hostname) == ("https", "api.openai.com")
    return (os.environ.get("OPENAI_API_KEY") if at_openai else None) or "none"
