"""``stopping dashboard``: the real server, opened in a real browser."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from websockets.sync.client import ClientConnection, connect

from stopping_core.feedback import Feedback, Outcome, OutcomeStore
from tests.cli.dashboard_process import EVIL, TOKEN, reaches, served

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
NOW = datetime.now(UTC)


def outcomes() -> list[Outcome]:
    """A fortnight of 20 requests a day, of which a quarter is stopped and half of that audited."""
    found = []
    for number in range(280):
        one = Outcome(
            f"request-{number}",
            time=NOW - timedelta(hours=14 * 24 - 1.2 * number),
            tenant=("acme", "globex", EVIL)[number % 3],
            use_case=("faq", "sql")[number % 2],
            model="small-model",
            risk=0.05,
            audit_share=0.5,
            generated=60 + number % 50,
            seconds=0.5 + number % 7 / 5,
            attempts=1 + (number % 20 == 0),
        )
        if number % 8 == 0:
            one = replace(one, arm="audit", loss=float(number % 64 == 0), would_stop_tokens=30)
        elif number % 8 == 4:
            one = replace(one, reason="learned", avoided=120)
        found.append(one)
    evil = dict.fromkeys(
        ("user", "use_case", "model", "reason", "uncertified", "prompt", "text"), EVIL
    )
    last: Any = {"request_id": "evil", "features": {EVIL: 1.0}, **evil}
    return [*found, replace(found[-1], **last)]


def thumbs() -> list[Feedback]:
    """Feedback on every request, three of four good, on the day of the request."""
    return [
        Feedback(one.request_id, "thumbs", float(number % 4 > 0), one.time, EVIL)
        for number, one in enumerate(outcomes()[:-1])
    ]


class Tab:
    """A tab of a browser, over its own protocol."""

    def __init__(self, socket_: ClientConnection) -> None:
        self._socket, self._calls = socket_, 0
        self.asked: list[str] = []
        """What the page asked for over the network."""
        self.dialogs = 0
        """How often the page opened one: nothing of ours does."""

    def call(self, method: str, **values: Any) -> dict[str, Any]:
        """Let the browser do something, and wait until it has."""
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": values}))
        while True:
            said = json.loads(self._socket.recv(timeout=60))
            if said.get("id") == self._calls:
                result: dict[str, Any] = said["result"]
                return result
            if said.get("method") == "Network.requestWillBeSent":
                self.asked.append(said["params"]["request"]["url"])
            if said.get("method") == "Page.javascriptDialogOpening":
                self.dialogs += 1
            if said.get("method") == "Network.webSocketCreated":
                self.asked.append(said["params"]["url"])

    def value(self, script: str) -> Any:
        """Run a script in the page."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get(
            "value"
        )

    def text(self) -> str:
        """What can be read on the page."""
        return str(self.value("document.body ? document.body.innerText : ''"))

    def wait(self, ready: Callable[[], bool], seconds: float = 60) -> None:
        """Wait for the page, and show what it holds when it does not come."""
        end = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < end, self.text()
            time.sleep(0.1)

    def lines(self, first: str, count: int) -> list[str]:
        """Return lines of the page, from the first of that text on."""
        found = [line.strip() for line in self.text().splitlines() if line.strip()]
        place = found.index(first) if first in found else len(found)
        return found[place : place + count]

    def click(self, selector: str) -> None:
        """Click on the first element of that kind."""
        script = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        box = self.value(f"(box => [box.x + box.width / 2, box.y + box.height / 2])({script})")
        for kind in ("mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=box[0],
                y=box[1],
                button="left",
                clickCount=1,
            )

    def write(self, selector: str, text: str) -> None:
        """Write into the first field of that kind, and press Enter."""
        self.click(selector)
        self.call("Input.insertText", text=text)
        self.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", text="\r")

    def picture(self, path: Path) -> None:
        """Write what the tab shows to a PNG file."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


@contextmanager
def browsed(folder: Path, address: str, height: int = 2300) -> Iterator[Tab]:
    """Open an address in a browser that reaches this machine only."""
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += [f"--user-data-dir={folder}", "--remote-debugging-port=0"]
    command += [f"--window-size=1400,{height}", "about:blank"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            port = next(
                urlsplit(line.split()[-1]).port
                for line in process.stderr
                if line.startswith("DevTools listening on")
            )
            with connect_to(port) as socket_:
                tab = Tab(socket_)
                for domain in ("Network", "Page"):
                    tab.call(f"{domain}.enable")
                tab.call("Page.navigate", url=address)
                yield tab
        finally:
            process.terminate()


def connect_to(port: int | None) -> ClientConnection:
    """Connect to the first tab of the browser."""
    with urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
        tabs = json.loads(answer.read())
    page = next(tab for tab in tabs if tab["type"] == "page")
    return connect(page["webSocketDebuggerUrl"], max_size=None, proxy=None)


MADE_OF_IT = (
    "img[src=x], img[src*=evil], a[href*=evil], a[href^=javascript], .katex, "
    "[data-testid=stMain] b, [data-testid=stMain] em, [data-testid=stMarkdownContainer] strong, "
    ".stMarkdownColoredText, [data-testid=stMarkdownContainer] code"
)
"""What there would be on the page, were a stored text more than a text."""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome; .ci/run installs one")
def test_a_browser_shows_it(tmp_path: Path) -> None:
    """On loopback only, asking for the token first, offline, and with hostile names as text."""
    url = f"sqlite:///{tmp_path}/stopping.db"
    with OutcomeStore(url) as store:
        store.add(outcomes(), [*thumbs(), Feedback("evil", "edited", 0.0, note=EVIL)])
    with (
        served(tmp_path, url) as at,
        browsed(tmp_path / "browser", f"http://127.0.0.1:{at.port}") as tab,
    ):
        assert not reaches("127.0.0.2", at.port)
        tab.wait(lambda: "Token" in tab.text())
        assert "Requests" not in tab.text()
        tab.write("input[type=password]", TOKEN)
        tab.wait(lambda: ["Requests", "281"] == tab.lines("Requests", 2))
        assert ["Tokens saved", "15.2%"] == tab.lines("Tokens saved", 2)
        tab.wait(lambda: tab.value("document.querySelectorAll('.main-svg').length") >= 4)
        everything = "document.documentElement.outerHTML + location.href"
        tab.wait(lambda: TOKEN not in str(tab.value(everything)))
        for number in range(3):
            field = f"document.querySelectorAll('[data-testid=stSelectbox] input')[{number}]"
            tab.value(f"{field}.id = 'choice{number}'")
            tab.click(f"#choice{number}")
            tab.wait(lambda: EVIL in tab.text())
            tab.click("h1")
            tab.wait(lambda: EVIL not in tab.text())
        tab.write("[data-testid=stMain] input[type=text]", "evil")
        tab.wait(lambda: 2 == tab.text().count(EVIL))
        for number in range(4):
            tab.value(f"document.querySelectorAll('[role=tab]')[{number}].click()")
            tab.picture(tmp_path / f"page-{number}.png")
        assert 0 == tab.value(f"document.querySelectorAll({json.dumps(MADE_OF_IT)}).length")
        assert {"127.0.0.1"} == {urlsplit(one).hostname for one in tab.asked if one[:4] != "data"}
        assert ("Stopping", 0) == (tab.value("document.title"), tab.dialogs)
    assert min(one.stat().st_size for one in tmp_path.glob("*.png")) > 10_000
