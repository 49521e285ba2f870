"""Calls to an OpenAI-compatible endpoint."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, TypeAlias

from openai import (
    AsyncOpenAI,
    AsyncStream,
    BadRequestError,
    NotFoundError,
    UnprocessableEntityError,
)
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from stopping_core.cli.record.chunks import an_object, items, take
from stopping_core.cli.record.reply import Reply
from stopping_core.faults import is_transient, retry_after

Prompt: TypeAlias = str | list[dict[str, str]]
"""A text as it is, or the messages of a chat."""

_ATTEMPTS = 5
_LONGEST_WAIT = 60.0
_BACKOFF = wait_random_exponential(multiplier=0.5, max=20)


class Endpoint:
    """Makes the calls; keeps to what the endpoint has refused before.

    What comes is read as JSON and not by the client's types, which take anything for anything.

    Args:
        client: For one event loop.
        model: Its name there.
        top_logprobs: How many of the largest logprobs to ask for. With 0 an endpoint that refuses
            to tell any is asked for none.
    """

    def __init__(self, client: AsyncOpenAI, model: str, top_logprobs: int) -> None:
        self._client = client
        self._model = model
        self._top = top_logprobs
        self._budget_keyword = "max_tokens"
        self._usage = True
        self._logprobs = True

    async def ask(
        self, prompt: Prompt, max_tokens: int, temperature: float = 0.0, seed: int = 0
    ) -> Reply:
        """Ask, a chat for messages and a completion for a text.

        Where the failure may pass, ask again, after the time that the server wants.

        Raises:
            OpenAIError: The endpoint refused, or broke off.
            ConnectionError: The stream ended without a word on why the model did.
            ValueError: The stream is none, or does not show its tokens one by one.
        """
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(is_transient),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=_wait,
            reraise=True,
        ):
            with attempt:
                reply = await self._ask(prompt, max_tokens, temperature, seed)
        return reply

    async def listed(self) -> list[Mapping[str, Any]]:
        """Say which models the endpoint lists; none where it has no list.

        Raises:
            OpenAIError: The endpoint refused.
            ValueError: What it gives is no list of models.
        """
        try:
            told = await self._client.get("/models", cast_to=object)
        except NotFoundError:
            return []
        models = items(an_object(told, "the list of models"), "data")
        return [an_object(one, "a model of the list") for one in models]

    async def _ask(self, prompt: Prompt, max_tokens: int, temperature: float, seed: int) -> Reply:
        while True:
            request = self._request(prompt, max_tokens, temperature, seed)
            try:
                return await self._read(request)
            except (BadRequestError, UnprocessableEntityError) as error:
                why = str(error)
                if "stream_options" in request and "stream_options" in why:
                    self._usage = False
                elif "max_tokens" in request and "max_completion_tokens" in why:
                    self._budget_keyword = "max_completion_tokens"
                elif "logprobs" not in request or "logprobs" not in why:
                    raise
                elif self._top:
                    raise ValueError(
                        f"top_logprobs={self._top} is refused, 0 asks for none: {why}"
                    ) from error
                else:
                    self._logprobs = False

    def _request(
        self, prompt: Prompt, max_tokens: int, temperature: float, seed: int
    ) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self._model,
            "stream": True,
            self._budget_keyword: max_tokens,
            "temperature": temperature,
        }
        if temperature:
            request["seed"] = seed
        if self._usage:
            request["stream_options"] = {"include_usage": True}
        if isinstance(prompt, str):
            logprobs: dict[str, Any] = {"logprobs": self._top}
            request["prompt"] = prompt
        else:
            logprobs = {"logprobs": True} | ({"top_logprobs": self._top} if self._top else {})
            request["messages"] = prompt
        return request | (logprobs if self._logprobs else {})

    async def _read(self, request: dict[str, Any]) -> Reply:
        reply = Reply(time.perf_counter())
        stream = await self._client.post(
            "/completions" if "prompt" in request else "/chat/completions",
            body=request,
            cast_to=object,
            stream=True,
            stream_cls=AsyncStream[object],
        )
        async with stream:
            async for chunk in stream:
                take(chunk, reply)
        if reply.finish_reason is None:
            raise ConnectionError("the stream ended without a finish reason")
        reply.check()
        return reply


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    asked = retry_after(error)
    return _BACKOFF(state) if asked is None else min(asked, _LONGEST_WAIT)
