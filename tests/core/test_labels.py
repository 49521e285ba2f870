"""Labels that say who asks, and the name of a request."""

from __future__ import annotations

import asyncio
import threading
from contextvars import copy_context
from typing import Any

import pytest

from stopping_core import AdaptiveStopping, Request, Session, labelled, report
from stopping_core.labels import current_labels


def labels_of(request: Request) -> dict[str, object]:
    return dict(Session(AdaptiveStopping(), request).request.metadata)


def test_a_block_labels_the_requests_that_begin_in_it() -> None:
    """The inner block wins, and the request's own word before both."""
    with labelled(tenant="acme", user="ann"), labelled(user="bob"):
        assert {"tenant": "acme", "user": "bob"} == labels_of(Request())
        own = Request(metadata={"user": "eve", "more": 1})
        assert {"tenant": "acme", "user": "eve", "more": 1} == labels_of(own)
    assert {} == labels_of(Request())


def test_tasks_and_threads_keep_their_own() -> None:
    """Two tasks at once, and a thread in a copied context."""

    async def ask(user: str) -> object:
        with labelled(user=user):
            await asyncio.sleep(0)
            return labels_of(Request())["user"]

    async def both() -> list[object]:
        return list(await asyncio.gather(ask("ann"), ask("bob")))

    assert ["ann", "bob"] == asyncio.run(both())
    seen: list[object] = []
    with labelled(user="cat"):
        context = copy_context()
        thread = threading.Thread(
            target=context.run, args=(lambda: seen.append(labels_of(Request())["user"]),)
        )
        thread.start()
        thread.join()
    assert ["cat"] == seen
    assert {} == dict(current_labels())


def test_a_label_is_a_text() -> None:
    """It is named where it is not."""
    wrong: Any = 7
    with pytest.raises(TypeError, match="user must be a text, got 7"), labelled(user=wrong):
        pass


def test_every_request_has_a_name() -> None:
    """Its own, or one that is given to it, which the report tells."""
    first, second = (Session(AdaptiveStopping(), Request()).completion for _ in range(2))
    assert len({first.request_id, second.request_id, ""}) == 3
    named = Session(AdaptiveStopping(), Request(metadata={"request_id": "mine"})).completion
    assert "mine" == named.request_id == report(named)["request_id"]
