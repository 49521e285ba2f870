"""Databases for the tests of the store: a file, and a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.feedback.postgres import Server, binaries


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """PostgreSQL, started once; who stops it starts it again."""
    folder = binaries()
    if folder is None:
        pytest.skip("no PostgreSQL: apt-get install postgresql, as .ci/run does")
    started = Server(folder)
    yield started
    started.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/stopping.db"
    database: str = request.getfixturevalue("server").database()
    return database
