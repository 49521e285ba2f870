"""The same retrieval-augmented question answering in LangChain and in LlamaIndex.

Each stack asks one question and says what the answer cost. With ``stopping`` the model is wrapped;
that line is the only difference. Both send the same messages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from stopping_core.cli.demo.corpus import Bm25Index, Passage
from stopping_core.results import Completion
from stopping_core.stopping import AdaptiveStopping
from stopping_core.types import Request

PROMPT = "{context}\n\nAccording to the text above, {question}"
"""The passage comes first, so that a server's prefix cache can keep it."""

RESAMPLE = {"temperature": 0.7, "seed": 1}
"""For the calls that must come out differently; seeded, so that the demo can be repeated."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible endpoint, and whether it continues a last assistant message."""

    base_url: str
    model: str
    prefill: bool
    api_key: str = field(default="none", repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer and its cost.

    Args:
        text: The answer.
        tokens: Output tokens, as the provider or our ledger counts them.
        seconds: Wall-clock seconds, retrieval included.
        reason: Why it ended: the policy's reason, or the provider's finish reason.
        retries: Calls beyond the first.
        pieces: The text as it was streamed, where the stack records it.
    """

    text: str
    tokens: int
    seconds: float
    reason: str
    retries: int = 0
    pieces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """Where both frameworks get their passages and their tokens.

    Args:
        endpoint: The model.
        index: The passages.
        k: Passages a question is given.
    """

    endpoint: Endpoint
    index: Bm25Index
    k: int

    def passages(self, question: str) -> tuple[Passage, ...]:
        """Find the passages for a question."""
        return self.index.search(question, self.k)

    def warm(self, question: str) -> None:
        """Have the endpoint read a question's prompt, so that a prefix cache holds it."""
        from openai import OpenAI

        context = _join(self.passages(question))
        with OpenAI(base_url=self.endpoint.base_url, api_key=self.endpoint.api_key) as client:
            client.chat.completions.create(
                model=self.endpoint.model,
                messages=[
                    {"role": "user", "content": PROMPT.format(context=context, question=question)}
                ],
                max_tokens=1,
            )


class Stack(Protocol):
    """A framework, set up to answer."""

    name: str

    def ask(self, question: str) -> Answer: ...


@dataclass(slots=True)
class _Recorder:
    """A hook that keeps the last completion."""

    last: Completion | None = None

    def __call__(self, request: Request, completion: Completion) -> None:
        self.last = completion

    def answer(self, text: str, seconds: float) -> Answer:
        """The cost of what was just asked."""
        done = self.last
        if done is None:
            raise RuntimeError("the suite was not told about a request it should have run")
        return Answer(
            text=text,
            tokens=done.usage.generated,
            seconds=seconds,
            reason=done.reason or str(done.finish_reason),
            retries=len(done.attempts) - 1,
        )


@dataclass(slots=True)
class LangChainStack:
    """``retriever | prompt | model | parser``."""

    source: Source
    max_tokens: int
    stopping: AdaptiveStopping | None = None
    name: str = "langchain"
    _recorder: _Recorder = field(default_factory=_Recorder, init=False)
    _chain: Any = field(default=None, init=False)

    def __post_init__(self) -> None:
        from langchain_core.language_models import BaseChatModel
        from langchain_core.output_parsers import StrOutputParser
        from langchain_core.prompts import ChatPromptTemplate
        from langchain_core.runnables import RunnableLambda, RunnablePassthrough
        from langchain_openai import ChatOpenAI
        from pydantic import SecretStr

        # The listener below wants the plain run in pieces; a wrapped model streams by itself.
        streaming: dict[str, Any] = {} if self.stopping else {"streaming": True}
        model: BaseChatModel = ChatOpenAI(
            base_url=self.source.endpoint.base_url,
            model=self.source.endpoint.model,
            api_key=SecretStr(self.source.endpoint.api_key),
            temperature=0,
            stream_usage=True,
            max_retries=0,
            max_completion_tokens=self.max_tokens,
            **streaming,
        )
        if self.stopping is not None:
            from langchain_stopping import AdaptiveChatModel

            hooked = self.stopping.replace(hooks=(*self.stopping.hooks, self._recorder))
            model = AdaptiveChatModel(
                inner=model,
                stopping=hooked,
                prefill=self.source.endpoint.prefill,
                resample_kwargs=RESAMPLE,
            )

        def retrieve(question: str) -> str:
            return _join(self.source.passages(question))

        prompt = ChatPromptTemplate.from_messages([("user", PROMPT)])
        inputs = {"context": RunnableLambda(retrieve), "question": RunnablePassthrough()}
        self._chain = inputs | prompt | model | StrOutputParser()

    def ask(self, question: str) -> Answer:
        """Answer one question."""
        start = time.perf_counter()
        if self.stopping is not None:
            text = self._chain.invoke(question)
            return self._recorder.answer(text, time.perf_counter() - start)
        listener = _listener()
        text = self._chain.invoke(question, config={"callbacks": [listener]})
        seconds = time.perf_counter() - start
        return Answer(text, listener.tokens, seconds, listener.reason, 0, tuple(listener.pieces))


def _listener() -> Any:
    """Make a callback that notes the stream of a plain run, and the provider's own count."""
    from langchain_core.callbacks import BaseCallbackHandler

    class Listener(BaseCallbackHandler):
        def __init__(self) -> None:
            self.pieces: list[str] = []
            self.tokens = 0
            self.reason = ""

        def on_llm_new_token(self, token: Any, **_: Any) -> None:
            self.pieces += [str(token)] if token else []

        def on_llm_end(self, response: Any, **_: Any) -> None:
            message = response.generations[0][0].message
            self.tokens = (message.usage_metadata or {}).get("output_tokens", len(self.pieces))
            self.reason = message.response_metadata.get("finish_reason", "")

    return Listener()


@dataclass(slots=True)
class LlamaIndexStack:
    """A query engine over a retriever."""

    source: Source
    max_tokens: int
    stopping: AdaptiveStopping | None = None
    name: str = "llama_index"
    _recorder: _Recorder = field(default_factory=_Recorder, init=False)
    _engine: Any = field(default=None, init=False)
    _ends: list[Any] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        from llama_index.core import ChatPromptTemplate
        from llama_index.core.base.llms.types import ChatMessage
        from llama_index.core.instrumentation.event_handlers import BaseEventHandler
        from llama_index.core.instrumentation.events import BaseEvent
        from llama_index.core.instrumentation.events.llm import LLMChatEndEvent
        from llama_index.core.llms import LLM
        from llama_index.core.query_engine import RetrieverQueryEngine
        from llama_index.core.retrievers import BaseRetriever
        from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
        from llama_index.llms.openai_like import OpenAILike
        from llama_index_instrumentation import get_dispatcher

        llm: LLM = OpenAILike(
            api_base=self.source.endpoint.base_url,
            model=self.source.endpoint.model,
            api_key=self.source.endpoint.api_key,
            is_chat_model=True,
            temperature=0.0,
            max_retries=0,
            max_tokens=self.max_tokens,
            # The wrapped model always streams; the provider's own count comes only when asked for.
            additional_kwargs={"stream_options": {"include_usage": True}} if self.stopping else {},
        )
        if self.stopping is not None:
            from llama_index.llms.stopping import adaptive_llm

            hooked = self.stopping.replace(hooks=(*self.stopping.hooks, self._recorder))
            llm = adaptive_llm(
                llm, hooked, prefill=self.source.endpoint.prefill, resample_kwargs=RESAMPLE
            )
        source, ends = self.source, self._ends

        class Bm25Retriever(BaseRetriever):
            def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
                passages = source.passages(query_bundle.query_str)
                return [
                    NodeWithScore(node=TextNode(id_=p.id, text=p.text), score=1.0) for p in passages
                ]

        class Listener(BaseEventHandler):
            def handle(self, event: BaseEvent, **_: Any) -> None:
                if isinstance(event, LLMChatEndEvent):
                    ends.append(event.response)

        if self.stopping is None:
            get_dispatcher().add_event_handler(Listener())
        template = PROMPT.replace("{context}", "{context_str}").replace("{question}", "{query_str}")
        self._engine = RetrieverQueryEngine.from_args(
            Bm25Retriever(),
            llm=llm,
            text_qa_template=ChatPromptTemplate([ChatMessage(role="user", content=template)]),
        )

    def ask(self, question: str) -> Answer:
        """Answer one question."""
        self._ends.clear()
        start = time.perf_counter()
        text = str(self._engine.query(question))
        seconds = time.perf_counter() - start
        if self.stopping is not None:
            return self._recorder.answer(text, seconds)
        raw = self._ends[-1].raw
        tokens = raw.usage.completion_tokens if raw.usage is not None else 0
        return Answer(text, tokens, seconds, raw.choices[0].finish_reason or "")


def stacks(
    source: Source, *, max_tokens: int, stopping: AdaptiveStopping
) -> list[tuple[str, Stack]]:
    """Set up both frameworks, plain and adaptive."""
    makers: Sequence[Callable[..., Stack]] = (LangChainStack, LlamaIndexStack)
    return [
        (mode, make(source, max_tokens, chosen))
        for make in makers
        for mode, chosen in (("plain", None), ("adaptive", stopping))
    ]


def _join(passages: Sequence[Passage]) -> str:
    return "\n\n".join(passage.text for passage in passages)
