"""A real Prometheus scrapes the endpoint and answers every question of the dashboard."""

from __future__ import annotations

import json
import math
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stopping_core.telemetry import Telemetry, dashboard, serve
from tests.telemetry.asking import every_kind

TOKEN = "t0ken"
_VARIABLES = {"$mode": ".+", "$model": ".*", "$tenant": ".*", "$use_case": ".*"}
_TIMES = ("$__range", "$__rate_interval", "$window")
_SECONDS = 20.0


class Prometheus:
    """A server of the test's own."""

    def __init__(self, binary: str, folder: Path, target: str) -> None:
        config = {
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
            "scrape_configs": [
                {
                    "job_name": "stopping",
                    "static_configs": [{"targets": [target]}],
                    "authorization": {"credentials": TOKEN},
                }
            ],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.process = subprocess.Popen(
            [
                binary,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self.address}",
            ],
            stderr=subprocess.DEVNULL,
        )

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The result of a query; empty while it does not answer yet."""
        asked = urllib.parse.urlencode({"query": expression})
        url = f"http://{self.address}/api/v1/query?{asked}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                answer = json.load(response)
        except ConnectionError:
            return []
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode()}") from error
        except urllib.error.URLError:
            return []
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def wait_for(self, expression: str) -> list[dict[str, Any]]:
        """The result of a query once there is one."""
        until = time.monotonic() + _SECONDS
        while not (found := self.ask(expression)):
            assert time.monotonic() < until, f"no answer to {expression}"
            time.sleep(0.1)
        return found


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Scrapes an endpoint while requests of every kind are answered."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("no Prometheus: apt-get install prometheus, as .ci/run does")
    with serve(port=0, token=TOKEN) as endpoint:
        telemetry = Telemetry(endpoint.meter_provider, loss=lambda request, audit: 0.0)
        every_kind(telemetry)
        target = urllib.parse.urlsplit(endpoint.url).netloc
        server = Prometheus(binary, tmp_path_factory.mktemp("prometheus"), target)
        try:
            counted = server.wait_for("sum(stopping_requests_total)")
            for _ in range(3):
                every_kind(telemetry)
                time.sleep(0.5)
            more = f"sum(stopping_requests_total) > {counted[0]['value'][1]}"
            server.wait_for(more)
            time.sleep(0.5)
            yield server
        finally:
            server.process.terminate()
            server.process.wait(10)


def _expressions() -> list[str]:
    found = []
    for panel in json.loads(dashboard())["panels"]:
        for target in panel["targets"]:
            expression = str(target["expr"])
            for name, value in _VARIABLES.items():
                expression = expression.replace(f'"{name}"', f'"{value}"')
            for name in _TIMES:
                expression = expression.replace(f"[{name}]", "[1m]")
            found.append(expression)
    return found


@pytest.mark.parametrize("expression", _expressions())
def test_every_panel_shows_a_number(prometheus: Prometheus, expression: str) -> None:
    """As Grafana asks for it, with all tenants, models and use cases."""
    assert "$" not in expression
    values = [float(one["value"][1]) for one in prometheus.wait_for(expression)]
    assert any(math.isfinite(value) for value in values), values


def test_shares_are_shares(prometheus: Prometheus) -> None:
    """What is divided is divided by what it is a part of."""
    shares = [one for one in _expressions() if ") / (" in one or "uncertified" in one]
    assert shares
    for expression in shares:
        values = [float(one["value"][1]) for one in prometheus.wait_for(expression)]
        assert all(0 <= value <= 1 for value in values if math.isfinite(value)), expression
