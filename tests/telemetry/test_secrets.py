"""By default no prompt, no answer and no key leaves the process, by whatever way."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from stopping_core import Request, StoppingError
from stopping_core.completeness import JsonText
from stopping_core.policies import Never
from stopping_core.telemetry import Telemetry, serve
from tests.telemetry.asking import Recorded, go, scrape

PROMPT = "my-prompt-3141"
QUESTION = "my-question-2718"
CONTEXT = "my-context-1618"
ANSWER = "my-answer-1414"
THOUGHT = "my-thought-1732"
KEY = "sk-live-5772"
USER = "user-0577"
SECRETS = (PROMPT, QUESTION, CONTEXT, ANSWER, THOUGHT, KEY, USER)

REQUEST = Request(
    prompt=PROMPT,
    question=QUESTION,
    context=CONTEXT,
    model="small",
    sampling={"stop": [PROMPT], "api_key": KEY},
    metadata={"tenant": "acme", "user": USER, "api_key": KEY, "headers": {"Authorization": KEY}},
)
SAID = f"<think>{THOUGHT}</think>\n\n{ANSWER} is it. And more of {ANSWER}."


def ask(telemetry: Telemetry, *, asynchronous: bool) -> None:
    """Requests whose every part holds a secret: answers, audits, errors, refusals, verdicts."""
    settings: dict[str, Any] = {"request": REQUEST, "asynchronous": asynchronous}
    done = go(telemetry, SAID, **settings)
    go(telemetry, SAID, audit=0.5, **settings)
    go(telemetry, SAID, mode="shadow", **settings)
    for error in (ConnectionError(f"key {KEY}"), ValueError(f"prompt {PROMPT}: {KEY}")):
        with contextlib.suppress(StoppingError, ValueError, ConnectionError):
            go(telemetry, [ANSWER, error], [error], [error], **settings)

    def broken(request: Request, draft: object) -> Any:
        raise RuntimeError(f"cannot judge {ANSWER} with {KEY}")

    with contextlib.suppress(RuntimeError):
        go(telemetry, SAID, completeness=broken, policy=Never(), **settings)
    with contextlib.suppress(StoppingError):
        go(telemetry, SAID, SAID, SAID, completeness=JsonText(), **settings)
    named = type(f"Error {KEY}", (Exception,), {})()
    with contextlib.suppress(Exception):
        go(telemetry, [named], **settings)
    telemetry(REQUEST, replace(done, uncertified=f"the prompt {PROMPT} of {KEY}"))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_nothing_secret_is_in_metrics_or_spans(asynchronous: bool) -> None:
    """Neither in names nor in attributes, descriptions or events."""
    recorded = Recorded({"loss": lambda request, audit: 0.0})
    ask(recorded.hook, asynchronous=asynchronous)
    data = recorded.reader.get_metrics_data()
    assert data is not None
    spans = "".join(span.to_json() for span in recorded.spans())
    assert "acme" in data.to_json()
    assert "acme" in spans
    assert [] == [secret for secret in SECRETS if secret in data.to_json()]
    assert [] == [secret for secret in SECRETS if secret in spans]


def test_nothing_secret_is_in_a_scrape() -> None:
    """The token of the endpoint is none of it either."""
    with serve(port=0, token=KEY) as endpoint:
        ask(Telemetry(endpoint.meter_provider), asynchronous=False)
        text = scrape(endpoint.url, KEY)
    assert "acme" in text
    assert [] == [secret for secret in SECRETS if secret in text]


def test_an_error_of_a_strange_name_has_none() -> None:
    """A class whose name is no name could hold anything."""
    recorded = Recorded()
    named = type(f"Error {KEY}", (Exception,), {})()
    with contextlib.suppress(Exception):
        go(recorded.hook, [named])
    assert "_OTHER" == (recorded.span().attributes or {})["error.type"]


def test_texts_that_are_kept_hold_no_key() -> None:
    """Prompt and answer are asked for; the message of an error and the metadata are not."""
    recorded = Recorded({"keep_texts": True})
    ask(recorded.hook, asynchronous=False)
    spans = "".join(span.to_json() for span in recorded.spans())
    assert [PROMPT, ANSWER, THOUGHT] == [secret for secret in SECRETS if secret in spans]


@pytest.mark.parametrize(
    ("missing", "code", "package", "extra"),
    [
        ("opentelemetry", "import stopping_core.telemetry", "opentelemetry-api", "telemetry"),
        (
            "opentelemetry.sdk",
            "from stopping_core.telemetry import serve; serve(0)",
            "opentelemetry-exporter-prometheus",
            "prometheus",
        ),
        (
            "prometheus_client",
            "from stopping_core.telemetry import serve; serve(0)",
            "opentelemetry-exporter-prometheus",
            "prometheus",
        ),
    ],
)
def test_a_missing_package_is_named(missing: str, code: str, package: str, extra: str) -> None:
    """With the extra that brings it; the rest works without it."""
    lines = (
        f"import sys; sys.modules[{missing!r}] = None",
        "from stopping_core import MissingPackage",
        f"try:\n    {code}",
        "except MissingPackage as error:\n    print(error.package, error)",
    )
    ran = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert (
        f"{package} {package} is needed here and is not installed: "
        f"pip install 'stopping-core[{extra}]'\n"
    ) == ran.stdout


def test_the_api_is_enough_to_measure() -> None:
    """Telemetry and dashboard need no SDK, no conventions package and no exporter."""
    code = (
        "import sys\n"
        "for name in ('sdk', 'semconv', 'exporter'):\n"
        "    sys.modules[f'opentelemetry.{name}'] = None\n"
        "sys.modules['prometheus_client'] = None\n"
        "from stopping_core.telemetry import Telemetry, dashboard\n"
        "print(type(Telemetry()).__name__, len(dashboard()) > 1000)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Telemetry True\n" == ran.stdout
