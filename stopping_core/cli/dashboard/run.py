"""Starts the page: Streamlit in this process, on loopback unless there is a token."""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from streamlit import net_util
from streamlit.web import cli

from stopping_core.feedback import OutcomeStore

STORE, TOKEN, DAYS = (f"STOPPING_DASHBOARD_{name}" for name in ("STORE", "TOKEN", "DAYS"))
"""The variables that tell the page its settings: no command line shows them."""

_PAGE = Path(__file__).with_name("page.py")

_OPTIONS = {
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "server.enableCORS": "true",
    "server.enableXsrfProtection": "true",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",
    "global.developmentMode": "false",
    "runner.magicEnabled": "false",
}
"""Given on the call, so that no configuration file of the user's changes them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked for.

    Args:
        store: URL of the store.
        port: In [1, 65535].
        host: Address or name to listen on.
        token: What the page asks for, or None.
        days: How far back it looks, in [1, 3650].

    Raises:
        ValueError: An argument is out of its interval, or others would reach a page without token.
        OSError: The host has no address.
    """

    store: str = field(repr=False)
    port: int = 8501
    host: str = "127.0.0.1"
    token: str | None = field(default=None, repr=False)
    days: int = 30

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise ValueError(f"port must be in [1, 65535], got {self.port}")
        if not 1 <= self.days <= 3650:
            raise ValueError(f"days must be in [1, 3650], got {self.days}")
        if not self.host:
            raise ValueError(f"host must be an address or a name, got {self.host!r}")
        if self.token is not None and not self.token.strip():
            raise ValueError("token must not be empty")
        if self.token is None and not _is_loopback(self.host, self.port):
            raise ValueError(
                f"host {self.host!r} can be reached by others, so the page needs a token: "
                f"set {TOKEN}, or leave --host at 127.0.0.1"
            )


def _check_there(store: str) -> None:
    """Refuse the name of a file that is none: the page writes nothing, so it makes none either."""
    try:
        url = sa.make_url(store)
    except sa.exc.ArgumentError:
        return  # the store itself says what is wrong with it
    file = url.database if url.get_backend_name() == "sqlite" else None
    if file and file != ":memory:" and not file.startswith("file:") and not Path(file).is_file():
        raise ValueError(f"store must be one that is there, got no file {file!r}")


def run(settings: Settings) -> None:
    """Serve the page until the process is told to end.

    Raises:
        ValueError: The store cannot be opened, or there is none.
    """
    _check_there(settings.store)
    try:
        with OutcomeStore(settings.store):
            pass
    except sa.exc.SQLAlchemyError as error:
        raise ValueError(f"the store cannot be opened: {type(error).__name__}") from None
    os.environ[STORE], os.environ[DAYS] = settings.store, str(settings.days)
    os.environ.pop(TOKEN, None)
    if settings.token is not None:
        os.environ[TOKEN] = settings.token
    # Streamlit would ask a server of Amazon for this machine's address when a page of another
    # origin wants to connect.
    net_util.get_external_ip = _unknown
    options = _OPTIONS | {"server.address": settings.host, "server.port": str(settings.port)}
    flags = [f"--{name}={value}" for name, value in options.items()]
    cli.main(["run", str(_PAGE), *flags], standalone_mode=False)


def _unknown() -> None:
    """Stand in for the address of this machine on the internet."""


def _is_loopback(host: str, port: int) -> bool:
    """Tell whether a name leads to this machine only, by all of its addresses."""
    known = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = {str(entry[4][0]).partition("%")[0] for entry in known}
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)
