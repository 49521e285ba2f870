"""With all our loggers at DEBUG no prompt, answer or key is in a log, a span or an error."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_stopping import AdaptiveChatModel
from stopping_core import AdaptiveStopping, NotCertified, Request, Session, StoppingError
from stopping_core.completeness import AnswerPresent, JsonSchema, JsonText
from stopping_core.errors import BudgetExhausted, TransportFailed
from stopping_core.policies import Never
from stopping_core.results import Completion
from tests.calibration.certified import ASKED, made_certificate
from tests.support.sse_server import CountingServer, Drop, Script
from tests.telemetry.asking import ONE_SENTENCE, Recorded, go

PROMPT, QUESTION, CONTEXT = "my-prompt-3141", "my-question-2718", "my-context-1618"
ANSWER, THOUGHT = "my-answer-1414", "my-thought-1732"
KEY = "sk-live-5772"
SECRETS = (PROMPT, QUESTION, CONTEXT, ANSWER, THOUGHT, KEY)

REQUEST = Request(
    prompt=f"{CONTEXT} {PROMPT} {QUESTION}?",
    question=f"{QUESTION}?",
    context=CONTEXT,
    model="small",
    sampling={"temperature": 0, "api_key": KEY},
    metadata={"tenant": "acme", "api_key": KEY},
)
SAID = f"<think>{THOUGHT}</think>\n\n{ANSWER} is it. And more of {ANSWER}."
RESET = ConnectionError("reset by peer")


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """What our loggers have said at DEBUG and above, traces and all."""
    for name in ("stopping_core", "langchain_stopping"):
        caplog.set_level(logging.DEBUG, name)

    def told() -> str:
        formatter = logging.Formatter()
        return "\n".join(formatter.format(record) for record in caplog.records)

    return told


def told_of(error: BaseException | None) -> str:
    """All that is shown of an error: its text, its form, and the trace with its causes."""
    if error is None:
        return ""
    return f"{error} {error!r} {''.join(traceback.format_exception(error))}"


def broken_hook(request: Request, completion: Completion) -> None:
    raise RuntimeError(f"{request.prompt} {request.context}: {completion.text}")


WAYS: dict[str, tuple[tuple[Any, ...], dict[str, Any], type[BaseException] | None]] = {
    "an answer": ((SAID,), {}, None),
    "an audit": ((SAID,), {"audit": 0.5}, None),
    "a shadow stop": ((SAID,), {"mode": "shadow"}, None),
    "a retry": (([ANSWER, RESET], SAID), {}, None),
    "a failed first byte": (([RESET], [RESET], [RESET]), {}, ConnectionError),
    "a failed transport": (([f"{ANSWER} ", RESET], [RESET], [RESET]), {}, StoppingError),
    "an exhausted budget": (
        (SAID, SAID, SAID),
        {"completeness": JsonText(), "policy": Never(), "on_exhausted": "raise"},
        StoppingError,
    ),
    "an unfinished answer": (
        (ANSWER,) * 3,
        {"completeness": AnswerPresent(), "policy": Never(), "on_exhausted": "raise"},
        StoppingError,
    ),
    "a broken hook": ((SAID,), {"hooks": (broken_hook,)}, None),
}


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_the_drivers(way: str, asynchronous: bool, logged: Callable[[], str]) -> None:
    """However a request ends."""
    scripts, settings, expected = WAYS[way]
    recorded, error = Recorded(), None
    try:
        go(recorded.hook, *scripts, request=REQUEST, asynchronous=asynchronous, **settings)
    except Exception as raised:
        error = raised
    assert expected is None if error is None else isinstance(error, expected or ())
    spans = "".join(span.to_json() for span in recorded.spans())
    assert [] == found(spans, logged(), told_of(error))


def test_what_is_logged_is_seen(logged: Callable[[], str]) -> None:
    """The tests here are none that always hold."""
    go(broken_hook, SAID, request=REQUEST)
    assert "a hook failed" in logged()
    assert "RuntimeError in broken_hook (test_secrets_in_logs.py:" in logged()
    logging.getLogger("stopping_core.any").debug("said: %s", ANSWER)
    assert [ANSWER] == found(logged())


def test_what_a_provider_says_is_not_quoted_by_our_error(logged: Callable[[], str]) -> None:
    """It may quote the key and the prompt; it is the cause, which has them in full."""
    says = ConnectionError(f"no route for {KEY}: {PROMPT}")
    recorded = Recorded()
    with pytest.raises(TransportFailed) as failed:
        go(recorded.hook, [f"{ANSWER} ", says], [says], [says], request=REQUEST)
    assert says is failed.value.__cause__
    assert "ConnectionError" in str(failed.value)
    spans = "".join(span.to_json() for span in recorded.spans())
    assert [] == found(spans, logged(), str(failed.value), repr(failed.value))


def test_what_a_check_says_is_not_quoted_by_our_error(logged: Callable[[], str]) -> None:
    """It quotes the answer, and is for those who read the completion."""
    check = JsonSchema({"properties": {"a": {"type": "integer"}}})
    settings: dict[str, Any] = {"policy": Never(), "on_exhausted": "raise"}
    recorded = Recorded()
    said = json.dumps({"a": ANSWER})
    with pytest.raises(BudgetExhausted) as exhausted:
        go(recorded.hook, said, said, said, request=REQUEST, completeness=check, **settings)
    completion = exhausted.value.completion
    assert completion is not None
    assert ANSWER in completion.verdict.reason
    spans = "".join(span.to_json() for span in recorded.spans())
    assert [] == found(spans, logged(), str(exhausted.value), repr(exhausted.value))


def test_half_a_character_breaks_no_request_and_is_not_quoted(
    tmp_path: Path, logged: Callable[[], str]
) -> None:
    """A prompt that no file can hold is of no template; in shadow it is answered."""
    made_certificate().write(tmp_path / "certificate.json")
    said = ASKED.prompt.replace("Which", f"{ANSWER}\ud83d which")
    asked = replace(ASKED, prompt=said, question=said)
    stopping = AdaptiveStopping.load(tmp_path / "certificate.json", mode="shadow")
    assert "template" in Session(stopping, asked).completion.uncertified
    with pytest.raises(NotCertified) as refused:
        Session(stopping.replace(mode="active"), asked)
    assert [] == found(logged(), told_of(refused.value))


@pytest.mark.parametrize("mode", ["active", "shadow"])
def test_a_request_that_is_not_certified(
    mode: Any, tmp_path: Path, logged: Callable[[], str]
) -> None:
    """Says what differs by name and kind, and nothing of what was asked."""
    made_certificate().write(tmp_path / "certificate.json")
    stopping = AdaptiveStopping.load(tmp_path / "certificate.json", mode=mode)
    other = replace(
        ASKED,
        prompt=REQUEST.prompt,
        question=REQUEST.question,
        context=REQUEST.context,
        sampling={"temperature": 0, "api_key": KEY},
        metadata=REQUEST.metadata,
    )
    error: BaseException | None = None
    try:
        Session(stopping, other)
    except NotCertified as refused:
        error = refused
    assert "template" in str(error) + logged()
    assert [] == found(logged(), told_of(error))


CALLS: dict[str, Callable[[AdaptiveChatModel], object]] = {
    "invoke": lambda model: model.invoke(f"{CONTEXT} {PROMPT}"),
    "stream": lambda model: list(model.stream(f"{CONTEXT} {PROMPT}")),
    "ainvoke": lambda model: asyncio.run(model.ainvoke(f"{CONTEXT} {PROMPT}")),
}


@pytest.mark.parametrize("way", CALLS)
@pytest.mark.parametrize("ends", ["well", "reset", "nobody listens"])
def test_langchain_over_http(way: str, ends: str, logged: Callable[[], str]) -> None:
    """A real client with its key on a real server, which answers, breaks off, or is not there."""
    recorded = Recorded()
    tokens = [f"{ANSWER} ", "is ", "it. ", "And ", "more."]
    script = Script(tokens, faults={2: Drop(reset=True)} if ends == "reset" else {})
    stopping = AdaptiveStopping(
        policy=Never() if ends == "reset" else ONE_SENTENCE,
        hooks=(recorded.hook, broken_hook),
        backoff=(0.0, 0.0),
        on_exhausted="raise",
    )
    with CountingServer([script], delay=0) as server:
        model = AdaptiveChatModel(
            inner=ChatOpenAI(
                base_url="http://127.0.0.1:1/v1" if ends == "nobody listens" else server.base_url,
                model=server.model,
                api_key=SecretStr(KEY),
                max_retries=0,
                default_headers={"Connection": "close"},
            ),
            stopping=stopping,
        )
        error = None
        try:
            CALLS[way](model)
        except Exception as raised:
            error = raised
    assert (ends == "well") == (error is None)
    assert "a hook failed" in logged()
    spans = "".join(span.to_json() for span in recorded.spans())
    assert [] == found(spans, logged(), told_of(error), repr(model), repr(stopping))


def found(*texts: str) -> list[str]:
    """The secrets that are in one of the texts."""
    return [secret for secret in SECRETS if any(secret in text for text in texts)]
