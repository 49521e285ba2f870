"""What all tests share: one embedded model, started when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from stopping_core.embedded import EmbeddedServer

# A busy machine must not fail a test: the time of one example is nobody's promise.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


@pytest.fixture(scope="session")
def embedded_server() -> Iterator[EmbeddedServer]:
    """SmolLM2 behind the OpenAI protocol, two requests at a time.

    Shared by the whole run, so compare ``tokens_generated()`` before and after; do not stop it.
    """
    with EmbeddedServer(threads=1, parallel=2) as server:
        yield server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses the real model as ``model``, so that none is forgotten."""
    for item in items:
        if "embedded_server" in getattr(item, "fixturenames", ()):
            item.add_marker("model")
