"""Show the retries of a run to LangChain's tracers."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import chat_models
from tenacity import RetryCallState


def teller(
    run_manager: CallbackManagerForLLMRun | None,
) -> Callable[[RetryCallState], None]:
    """Make what a driver calls before every further call of a run."""

    def tell(state: RetryCallState) -> None:
        manager = run_manager or _manager_of_reader()
        if manager is not None:
            manager.on_retry(state)

    return tell


def ateller(
    run_manager: AsyncCallbackManagerForLLMRun | None,
) -> Callable[[RetryCallState], Awaitable[None]]:
    """Make the same for async drivers."""

    async def tell(state: RetryCallState) -> None:
        manager = run_manager or _manager_of_reader()
        if manager is not None:
            await manager.on_retry(state)

    return tell


def _manager_of_reader() -> Any:
    """The run manager of LangChain's function that reads the stream, which does not pass it on.

    It is looked for when there is a retry to tell of: that function is then waiting for us. None
    where somebody else reads.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == chat_models.__file__ and "run_manager" in frame.f_locals:
            return frame.f_locals["run_manager"]
        frame = frame.f_back
    return None
