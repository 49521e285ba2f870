"""Query engines over the wrapped LLM: on a scripted server, and on the real embedded model."""

from __future__ import annotations

import time
from typing import Any

import pytest
from llama_index.core import Document, QueryBundle, VectorStoreIndex
from llama_index.core.base.response.schema import AsyncStreamingResponse, StreamingResponse
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.llms.openai_like import OpenAILike

from llama_index.llms.stopping import AdaptiveLLM, adaptive_llm
from stopping_core import AdaptiveStopping, Completion
from stopping_core.budgets import FixedBudget, GeometricBudget
from stopping_core.cli.demo.corpus import Bm25Index, Corpus, load_reference
from stopping_core.embedded import EmbeddedServer
from stopping_core.policies import Never
from tests.integration_llama_index.asking import adaptive, ask, scripted, text_of, told
from tests.support.sse_server import CountingServer, patient

ANSWER = ['{"city"', ': "Paris"', "}"]
TRAILING = [" Let", " me", " explain", " why", " that", " is", " so", "."] * 4
QUESTION = "Where must an expression-less except clause stand?"


class Passages(BaseRetriever):
    """Finds the demo's passages by their words: no embeddings."""

    def __init__(self, corpus: Corpus, k: int = 1) -> None:
        super().__init__()
        self._index, self._k = Bm25Index(corpus.passages), k

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = self._index.search(query_bundle.query_str, self._k)
        return [NodeWithScore(node=TextNode(id_=one.id, text=one.text), score=1.0) for one in found]


def engines(llm: AdaptiveLLM, **settings: Any) -> list[Any]:
    """A query engine from an index, and one from a retriever."""
    documents = [Document(text="Paris is the capital of France.")]
    index = VectorStoreIndex.from_documents(documents, embed_model=MockEmbedding(4))
    return [
        index.as_query_engine(llm=llm, **settings),
        RetrieverQueryEngine.from_args(index.as_retriever(), llm=llm, **settings),
    ]


@pytest.mark.parametrize("mode", ["compact", "refine", "simple_summarize", "tree_summarize"])
@pytest.mark.parametrize("chat_model", [True, False], ids=["chat model", "completion model"])
def test_a_query_is_cut(mode: str, chat_model: bool) -> None:
    """Whatever synthesises the answer, the trailing text is not generated."""
    heard = len(ANSWER) + 2
    with CountingServer([patient([*ANSWER, *TRAILING], heard)], delay=0.02) as server:
        llm = adaptive(server, inner={"is_chat_model": chat_model})
        for number, engine in enumerate(engines(llm, response_mode=ResponseMode(mode)), start=1):
            assert "".join(ANSWER) == str(engine.query("What is the capital?"))
            assert number == server.disconnected
            assert server.sent <= number * heard


async def test_an_async_query_is_cut() -> None:
    """The same, awaited."""
    with CountingServer([[*ANSWER, *TRAILING]], delay=0.02) as server:
        for engine in engines(adaptive(server)):
            assert "".join(ANSWER) == str(await engine.aquery("What is the capital?"))
        assert 2 == server.disconnected


def test_a_streamed_query_is_cut() -> None:
    """The stream of a query ends where the answer does."""
    with CountingServer([[*ANSWER, *TRAILING]], delay=0.02) as server:
        for engine in engines(adaptive(server), streaming=True):
            response = engine.query("What is the capital?")
            assert isinstance(response, StreamingResponse)
            assert "".join(ANSWER) == "".join(response.response_gen)
        assert 2 == server.disconnected


async def test_an_async_streamed_query_is_cut() -> None:
    """The same, awaited."""
    with CountingServer([[*ANSWER, *TRAILING]], delay=0.02) as server:
        for engine in engines(adaptive(server), streaming=True):
            response = await engine.aquery("What is the capital?")
            assert isinstance(response, AsyncStreamingResponse)
            pieces = [piece async for piece in response.async_response_gen()]
            assert "".join(ANSWER) == "".join(pieces)
        assert 2 == server.disconnected


def test_the_retrieved_context_is_packed_as_for_the_inner_llm() -> None:
    """The wrapper reports the inner LLM's sizes, so a prompt is as long as without it."""
    documents = [Document(text="Paris is a city. " * 400)]
    index = VectorStoreIndex.from_documents(documents, embed_model=MockEmbedding(4))
    with CountingServer([ANSWER], delay=0) as server:
        inner = scripted(server, context_window=1000, max_tokens=100)
        stopping = AdaptiveStopping(budget=GeometricBudget(first=500))
        for llm in (inner, adaptive_llm(inner, stopping)):
            index.as_query_engine(llm=llm, response_mode=ResponseMode.COMPACT).query("Where?")
        prompts = [body["messages"] for body in server.requests]
    half = len(prompts) // 2
    assert prompts[:half] == prompts[half:]


# -- the real model


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load_reference()


def local(server: EmbeddedServer, **fields: Any) -> OpenAILike:
    """The embedded model, greedy."""
    return OpenAILike(
        model=server.model,
        api_base=server.base_url,
        api_key="unused",
        is_chat_model=True,
        temperature=0.0,
        **fields,
    )


def counted(server: EmbeddedServer, least: int) -> int:
    """The server's count, which follows the end of a call: wait until it is up to date."""
    deadline = time.monotonic() + 5
    while server.tokens_generated() < least and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)  # time enough for twenty tokens more, if it went on generating
    return server.tokens_generated()


def test_a_query_on_the_real_model_is_cut(embedded_server: EmbeddedServer, corpus: Corpus) -> None:
    """An answer of one sentence is generated as one sentence: the server counts fewer tokens."""
    told: list[Completion] = []
    stopping = AdaptiveStopping.from_profile(
        "realtime_chat", hooks=(lambda request, completion: told.append(completion),)
    )
    counts, texts = [], []
    start = embedded_server.tokens_generated()
    for stop in (stopping.replace(mode="off"), stopping):
        llm = adaptive_llm(local(embedded_server, max_tokens=96), stop, prefill=True)
        engine = RetrieverQueryEngine.from_args(Passages(corpus), llm=llm)
        texts.append(str(engine.query(QUESTION)))
        counts.append(counted(embedded_server, start + told[-1].usage.generated) - start)
        start += counts[-1]
    assert texts[0].startswith(texts[1])
    assert ["", "sentence"] == [completion.reason for completion in told]
    assert 0 < told[1].usage.generated <= counts[1] <= told[1].usage.generated + 2
    assert counts[1] < counts[0]


@pytest.mark.parametrize("method", ["chat", "astream_complete"])
def test_a_continued_answer_is_the_one_shot_answer(
    embedded_server: EmbeddedServer, method: str
) -> None:
    """Greedy, cut short by its budget and continued, the text is as if there had been no budget."""
    question = "Explain in two sentences why the sky is blue."
    llm = local(embedded_server)
    plain = AdaptiveStopping(policy=Never(), budget=FixedBudget(96))
    short = AdaptiveStopping(
        policy=Never(), budget=GeometricBudget(first=12, growth=2.0, ceiling=96), attempts=5
    )
    once = ask(adaptive_llm(llm, plain, prefill=True), method, question)
    several = ask(adaptive_llm(llm, short, prefill=True), method, question)
    assert text_of(once[-1]) == text_of(several[-1])
    assert len(told(several)["attempts"]) > 1
    assert {"continue"} == {attempt["kind"] for attempt in told(several)["attempts"][1:]}


def test_a_truncated_answer_of_the_real_model_comes_back_complete(
    embedded_server: EmbeddedServer, corpus: Corpus
) -> None:
    """Eight tokens are too few for this answer: the rest is asked for, and streamed on."""
    told: list[Completion] = []
    stopping = AdaptiveStopping(
        budget=GeometricBudget(first=8),
        attempts=6,
        hooks=(lambda request, completion: told.append(completion),),
    )
    llm = adaptive_llm(local(embedded_server), stopping, prefill=True)
    engine = RetrieverQueryEngine.from_args(Passages(corpus), llm=llm, streaming=True)
    response = engine.query(QUESTION)
    assert isinstance(response, StreamingResponse)
    text = "".join(response.response_gen)
    (completion,) = told
    assert completion.text == text
    assert completion.complete
    assert "length" == completion.attempts[0].finish_reason
    assert "length" != completion.finish_reason
