"""``stopping dashboard`` over the network: where it listens, whom it answers, and what it tells."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.testing.v1 import AppTest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from stopping_core.cli.dashboard import page, run
from stopping_core.feedback import Feedback, Outcome, OutcomeStore
from tests.cli.dashboard_process import TOKEN, Served, served

STORED = "stored-3141592653"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store with one request, every text of which can be looked for."""
    made = f"sqlite:///{tmp_path}/stopping.db"
    one = Outcome(STORED, time=datetime.now(UTC), tenant=STORED, reason=STORED, text=STORED)
    with OutcomeStore(made) as store:
        store.add([one], [Feedback(STORED, "thumbs", 1.0, note=STORED)])
    return made


@contextmanager
def opened(at: Served, *, origin: str = "", query: str = "") -> Iterator[ClientConnection]:
    """Open the connection over which the page comes, as a browser does."""
    address = f"ws://127.0.0.1:{at.port}/_stcore/stream{query}"
    with connect(
        address,
        origin=Origin(origin or f"http://127.0.0.1:{at.port}"),
        subprotocols=[Subprotocol("streamlit")],
        proxy=None,
    ) as one:
        yield one


def page_of(
    connection: ClientConnection, *, query: str = "", token: str | None = None, field: str = ""
) -> tuple[bytes, str]:
    """Ask for the page, or give the token: all that comes, and the id of the field for it."""
    asked = BackMsg()
    asked.rerun_script.query_string = query
    if token is not None:
        asked.rerun_script.widget_states.widgets.add(id=field, string_value=token)
    connection.send(asked.SerializeToString())
    came = b""
    while True:
        received = connection.recv(timeout=60)
        assert isinstance(received, bytes)
        came += received
        message = ForwardMsg()
        message.ParseFromString(received)
        field = message.delta.new_element.text_input.id or field
        ended = message.WhichOneof("type") == "script_finished"
        if ended and message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
            return came, field


def test_it_listens_on_loopback_and_nowhere_else(tmp_path: Path, url: str) -> None:
    """All sockets of the process that listen are bound to 127.0.0.1."""
    with served(tmp_path, url) as at:
        assert {("127.0.0.1", at.port)} == set(listening(at.process))


def listening(process: int) -> Iterator[tuple[str, int]]:
    """Yield address and port of each socket of a process that listens, as the kernel has them."""
    for connection in psutil.Process(process).net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN:
            yield connection.laddr.ip, connection.laddr.port


def test_without_the_token_nothing_stored_is_sent(tmp_path: Path, url: str) -> None:
    """Not to whoever asks, nor with a wrong token, nor with the right one in the address."""
    with served(tmp_path, url) as at:
        with opened(at) as one:
            came, field = page_of(one)
            assert b"Token" in came
            wrong, _ = page_of(one, token=f"{TOKEN}x", field=field)
            assert b"This is not the token." in wrong
        with opened(at, query=f"?token={TOKEN.replace(' ', '%20')}") as one:
            asked, _ = page_of(one, query=f"token={TOKEN}")
    assert STORED.encode() not in came + wrong + asked


def test_the_token_is_given_back_nowhere(tmp_path: Path, url: str) -> None:
    """Not in the page that it opens, nor on the command line; the log has nothing stored either."""
    with served(tmp_path, url) as at:
        with opened(at) as one:
            _, field = page_of(one)
            came, _ = page_of(one, token=TOKEN, field=field)
        command = Path(f"/proc/{at.process}/cmdline")
        told = command.read_bytes() if command.exists() else b""
    assert STORED.encode() in came
    assert TOKEN.encode() not in came + told
    log = at.log.read_text("utf-8")
    assert "127.0.0.1" in log
    assert [] == [secret for secret in (TOKEN, STORED, url) if secret in log]


def test_pages_of_others_are_refused(tmp_path: Path, url: str) -> None:
    """A page of another origin that the user has open cannot ask in the user's name."""
    with served(tmp_path, url, token=None) as at:
        for origin in ("http://evil.invalid", f"http://evil.invalid:{at.port}", "null"):
            with pytest.raises(InvalidStatus, match="HTTP 403"), opened(at, origin=origin):
                pass
        with opened(at) as one:
            assert STORED.encode() in page_of(one)[0]


def test_the_token_is_compared_in_constant_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the library's own comparison, and by that alone."""
    seen: list[tuple[bytes, bytes]] = []

    def compare(given: bytes, expected: bytes) -> bool:
        seen.append((given, expected))
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)
    monkeypatch.setenv(run.STORE, url)
    monkeypatch.setenv(run.TOKEN, TOKEN)
    found = AppTest.from_file(page.__file__, default_timeout=60).run()
    for given in ("wrong", TOKEN):
        found.text_input[0].set_value(given).run()
    assert [(b"wrong", TOKEN.encode()), (TOKEN.encode(), TOKEN.encode())] == seen
    assert 0 == len(found.metric)
