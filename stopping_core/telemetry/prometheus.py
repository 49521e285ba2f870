"""An endpoint that Prometheus scrapes: on loopback by default, with a token where you want one."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import re
import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, Final, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from stopping_core.errors import MissingPackage

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from opentelemetry.sdk.metrics import MeterProvider

logger = logging.getLogger(__name__)

_Application = Callable[["WSGIEnvironment", "StartResponse"], Iterable[bytes]]
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_IDLE: Final = 10.0  # seconds that a client may say nothing
_POLL: Final = 0.1  # seconds after which a closed server ends at the latest


class _Server(ThreadingMixIn, WSGIServer):
    """One thread a client, so that a slow one does not keep the next one waiting."""

    daemon_threads = True


class _ServerSix(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    """Serves one client, and logs none of it."""

    timeout = _IDLE

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: a scrape every few seconds is no news."""


class Endpoint:
    """A Prometheus endpoint and the meter provider whose metrics it shows. Made by :func:`serve`.

    Args:
        server: The listening server, not yet serving.
        meter_provider: What it shows.

    Attributes:
        meter_provider: For :class:`~stopping_core.telemetry.Telemetry`.
        port: Where it listens.
        url: What to scrape.
    """

    def __init__(self, server: WSGIServer, meter_provider: MeterProvider) -> None:
        host, self.port = _address(server), server.server_port
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}/metrics"
        self.meter_provider = meter_provider
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever, args=(_POLL,), name="stopping-prometheus", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving and measuring. A second time does nothing."""
        if not self._thread.is_alive():
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.meter_provider.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def serve(port: int = 9464, host: str = "127.0.0.1", token: str | None = None) -> Endpoint:
    """Serve metrics to Prometheus, from a thread of this process.

    It shows what is measured with its own ``meter_provider`` and nothing else of the process. Each
    process has to serve its own. It speaks plain HTTP, so anywhere but on loopback the token can be
    read on the way: put a proxy with TLS before it. The labels tell the names of tenants and use
    cases.

    Args:
        port: 0 for any free one; else in [1, 65535]. 9464 is the exporters' own.
        host: Address or name to listen on.
        token: What a scraper has to send as ``Authorization: Bearer <token>``: letters, digits and
            ``-._~+/``, then any ``=``. None lets everybody read who reaches the port.

    Returns:
        The endpoint, serving; a context manager that closes it.

    Raises:
        MissingPackage: The Prometheus exporter is not installed.
        OSError: The port is taken, or the host is not ours.
        ValueError: An argument is out of its interval. The token is not quoted.

    Examples:
        >>> from stopping_core.telemetry import Telemetry
        >>> with serve(port=0) as endpoint:
        ...     telemetry = Telemetry(endpoint.meter_provider)

    References:
        M. Jones and D. Hardt, The OAuth 2.0 Authorization Framework: Bearer Token Usage, RFC 6750
        (2012), sections 2.1 and 3.
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise ValueError(f"port must be in [0, 65535], got {port!r}")
    if not host:
        raise ValueError(f"host must be an address or a name, got {host!r}")
    if token is not None and not _TOKEN.fullmatch(token):
        raise ValueError("token must be letters, digits and -._~+/, then any =, and is none")
    try:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
        from opentelemetry.sdk.metrics import MeterProvider
        from prometheus_client import CollectorRegistry, make_wsgi_app
    except ImportError as error:
        raise MissingPackage("opentelemetry-exporter-prometheus", "prometheus") from error
    registry = CollectorRegistry()
    show = _one_by_one(make_wsgi_app(registry))
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    server = make_server(
        host,
        port,
        show if token is None else _guarded(show, token),
        _ServerSix if family is socket.AF_INET6 else _Server,
        _Handler,
    )
    address = _address(server)
    if token is None and not ipaddress.ip_address(address).is_loopback:
        logger.warning("metrics are served on %s to everybody who reaches it: no token", address)
    return Endpoint(server, MeterProvider([PrometheusMetricReader(registry=registry)]))


def _address(server: WSGIServer) -> str:
    host = server.server_address[0]
    return host if isinstance(host, str) else host.decode()


def _one_by_one(application: _Application) -> _Application:
    """Make scrapes wait for each other: the exporter mixes up two at a time."""
    lock = threading.Lock()

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with lock:
            return application(environ, start_response)

    return answer


def _guarded(application: _Application, token: str) -> _Application:
    """Let through who sends the token; how long it takes does not tell how much of it was right."""
    expected = token.encode()

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        given = str(environ.get("HTTP_AUTHORIZATION", ""))
        scheme, _, credentials = given.partition(" ")
        right = hmac.compare_digest(credentials.strip().encode("latin-1", "replace"), expected)
        if right and scheme.lower() == "bearer":
            return application(environ, start_response)
        challenge = 'Bearer error="invalid_token"' if given else "Bearer"
        start_response(
            "401 Unauthorized",
            [("WWW-Authenticate", challenge), ("Content-Type", "text/plain; charset=utf-8")],
        )
        return [b"a bearer token is needed\n"]

    return answer
