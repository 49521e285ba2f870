"""LangChain's own contract for chat models, none of whose tests is overridden."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.unit_tests import ChatModelUnitTests
from pydantic import SecretStr

from langchain_stopping import AdaptiveChatModel
from stopping_core import AdaptiveStopping


class TestStandard(ChatModelUnitTests):
    """The wrapper around a ChatOpenAI."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        """The class under test."""
        return AdaptiveChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        """What it is made from."""
        inner = ChatOpenAI(model="gpt-4o-mini", api_key=SecretStr("none"))
        return {"inner": inner, "stopping": AdaptiveStopping()}
