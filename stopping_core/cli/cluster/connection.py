"""The way to a Ray cluster: one that runs, or one of this machine for a while."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from stopping_core.errors import MissingPackage

try:
    import ray
    from ray._private import ray_constants
    from ray._private import worker as ray_worker
    from ray.exceptions import RayError
except ModuleNotFoundError as error:
    raise MissingPackage(error.name or "ray", "ray") from error

LOCAL = "local"
"""Instead of an address: a cluster of this machine."""

_LOOPBACK = "127.0.0.1"
_SECONDS = 5.0  # for an address to answer
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS = 4  # the kind of the frame that a server of HTTP/2 begins with


@contextmanager
def connected(address: str, cpus: int) -> Iterator[None]:
    """Be part of a cluster for as long as the block.

    One of this machine listens on loopback only, wants a key that this process and its workers
    alone know, and ends with the block. Where this process is killed it ends too, two idle agents
    of Ray's after a minute only, and leaves a folder ``ray-*`` of logs among the temporary files.
    No statistics are sent.

    Args:
        address: ``local``, or ``HOST:PORT`` of a running cluster that this machine belongs to.
        cpus: How many a cluster of this machine has, no matter how many the machine has.

    Raises:
        ValueError: The address is none.
        ConnectionError: There is no cluster, or one of other versions.
    """
    own: dict[str, Any] = {}
    # Of what Ray does with a machine that is no part of a cluster, loopback is the part wanted.
    ray_constants.ENABLE_RAY_CLUSTER = address != LOCAL
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what its warning asks for
    logging.getLogger("ray").setLevel(logging.ERROR)
    ray_worker.print_to_stdstream = _not_printed
    with ExitStack() as stack:
        if address == LOCAL:
            folder = tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)
            own = {
                "include_dashboard": False,
                "num_cpus": cpus,
                "num_gpus": 0,
                "_node_ip_address": _LOOPBACK,
                "_temp_dir": stack.enter_context(folder),
            }
            # Else a key is written to the user's home.
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        else:
            _reach(address)
        stack.callback(ray.shutdown)
        try:
            ray.init(address, log_to_driver=False, configure_logging=False, **own)
        except (RuntimeError, RayError, OSError) as error:
            raise ConnectionError(f"--ray {address}: {first_line(error)}") from error
        own_address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]  # Ray's own
        if address == LOCAL and own_address != _LOOPBACK:
            raise ConnectionError(f"--ray {LOCAL}: this version of Ray does not keep to loopback")
        yield


def room() -> int:
    """CPUs of the cluster, taken or not."""
    known = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray's own
    return int(known.get("CPU", 0))


def first_line(error: BaseException) -> str:
    """What an error of Ray's says before its explanations."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _reach(address: str) -> None:
    """Refuse an address where no server of gRPC answers: Ray would try it for minutes."""
    host, _, port = address.rpartition(":")
    if not host or "/" in address or not port.isdecimal():
        raise ValueError(f"--ray must be {LOCAL}, or HOST:PORT of a cluster, got {address!r}")
    try:
        with socket.create_connection((host, int(port)), _SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS") == "1":
                return
            connection.sendall(_PREFACE)
            answer = connection.recv(4)
        if answer[3:] != bytes((_SETTINGS,)):
            raise OSError("what answers there is none")
    except (OSError, OverflowError) as error:
        raise ConnectionError(f"--ray {address}: no cluster can be reached: {error}") from error


def _not_printed(data: Any, ignore_prefix: bool) -> None:
    """Let Ray's own account of a worker's death be: what matters of it is logged here."""
