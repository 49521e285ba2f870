"""The node of rounds in graphs of LangGraph: run, streamed, resumed, and with branches."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypedDict

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import InvalidUpdateError
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Send
from pydantic import BaseModel

import langchain_stopping
from langchain_stopping import AdaptiveChatModel, rounds_node
from stopping_core import AdaptiveStopping, MissingPackage
from stopping_core.hybrids import Purse, Rounds, RoundState
from tests.hybrids.two_hops import ANSWER, MOST, QUESTION, SETTLED, prompt, reply, retrieve
from tests.integration_langchain.setting import openai
from tests.support.sse_server import CountingServer

DRAFTS = ["It is Lyon.", "It is Rome.", "The answer is Paris.", "So, the answer is Paris."]
THREAD: Any = {"configurable": {"thread_id": "one"}}


@dataclass
class Budget:
    purse: Purse


class State(TypedDict, total=False):
    draft: str
    passages: list[str]
    answer: str
    rounds: dict[str, Any] | None
    made: int


def writer(drafts: list[str]) -> Any:
    """Make a node that writes draft after draft; how many it has made stands in the state."""

    def write(state: State) -> State:
        made = state.get("made", 0)
        return {"draft": drafts[made % len(drafts)], "made": made + 1}

    return write


def loop(write: Any, rounds: Rounds, schema: Any = State, **settings: Any) -> Any:
    """Make a graph that writes and judges, round after round."""
    graph = StateGraph(schema)
    graph.add_node("write", write)
    graph.add_node("judge", rounds_node(rounds, again="write", **settings))
    graph.add_edge(START, "write").add_edge("write", "judge")
    return graph


def run(graph: Any, way: str, given: Any, config: Any = None, **more: Any) -> dict[str, Any]:
    """Run a graph one of four ways; return what is in the state at the end."""

    async def astream() -> list[Any]:
        return [s async for s in graph.astream(given, config, stream_mode="values", **more)]

    if way == "ainvoke":
        return dict(asyncio.run(graph.ainvoke(given, config, **more)))
    if way == "astream":
        return dict(asyncio.run(astream())[-1])
    if way == "stream":
        return dict(list(graph.stream(given, config, stream_mode="values", **more))[-1])
    return dict(graph.invoke(given, config, **more))


ways = pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])


def hops(server: CountingServer, rounds: Rounds | None) -> Any:
    """Make a graph that retrieves and drafts, over HTTP; without rounds, MOST times."""

    def search(state: State) -> State:
        return {"passages": retrieve(QUESTION + state.get("draft", ""))}

    def draft(state: State, runtime: Runtime[Budget]) -> State:
        stopping = runtime.context.purse.settings(AdaptiveStopping(backoff=(0.0, 0.0)))
        model = AdaptiveChatModel(inner=openai(server), stopping=stopping)
        said = model.invoke(prompt(state["passages"])).text
        return {"draft": str(said), "made": state.get("made", 0) + 1}

    graph = StateGraph(State, Budget)
    graph.add_node("search", search)
    graph.add_node("draft", draft)
    graph.add_edge(START, "search").add_edge("search", "draft")
    if rounds is None:
        graph.add_conditional_edges("draft", lambda s: "search" if s["made"] < MOST else END)
    else:
        node = rounds_node(rounds, again="search", evidence="passages", purse="purse")
        graph.add_node("judge", node)
        graph.add_edge("draft", "judge")
    return graph.compile()


@ways
def test_two_hops_take_three_rounds_and_not_six(way: str) -> None:
    """The same answer for half of the calls; the purse has booked what the server wrote."""
    with CountingServer(reply, delay=0) as server:
        purse = Purse(tokens=1000)
        state = run(hops(server, Rounds(most=MOST)), way, {}, context=Budget(purse))
        calls, tokens = len(server.calls), server.sent
    with CountingServer(reply, delay=0) as server:
        full = run(hops(server, None), way, {}, context=Budget(Purse(tokens=1000)))
        assert MOST == len(server.calls)
        assert 2 * tokens <= server.sent + 2  # the first round says one word more than the others
    assert (ANSWER, SETTLED, "same answer") == (state["answer"], calls, state["rounds"]["why"])
    assert full["draft"] == state["answer"]
    assert (tokens, SETTLED) == (purse.spent.tokens, purse.spent.requests)


def test_an_empty_purse_ends_the_rounds() -> None:
    """The tokens of the rounds are counted together."""
    with CountingServer(reply, delay=0) as server:
        graph = hops(server, Rounds(most=MOST))
        state = run(graph, "invoke", {}, context=Budget(Purse(tokens=15)))
        assert (2, "budget") == (len(server.calls), state["rounds"]["why"])


@ways
def test_the_answer_is_in_the_output(way: str) -> None:
    """So is the count, where the schema declares it; the draft stays the last one."""
    state = run(loop(writer(DRAFTS), Rounds()).compile(), way, {})
    assert (DRAFTS[3], 4) == (state["answer"], state["made"])
    assert RoundState.from_dict(state["rounds"]).done
    unsettled = run(
        loop(writer(["Rome", "Oslo", "Rome", "Bonn"]), Rounds(most=4)).compile(), way, {}
    )
    assert ("Rome", "Bonn") == (unsettled["answer"], unsettled["draft"])
    assert "most rounds" == unsettled["rounds"]["why"]


@pytest.mark.parametrize("in_async", [False, True], ids=["sync", "async"])
def test_updates_stream_as_they_come(in_async: bool) -> None:
    """One of the writer and one of the rounds for each round, the answer in the last."""
    graph = loop(writer(DRAFTS), Rounds()).compile()

    async def gather() -> list[Any]:
        return [part async for part in graph.astream({}, stream_mode="updates")]

    parts = asyncio.run(gather()) if in_async else list(graph.stream({}, stream_mode="updates"))
    assert ["write", "judge"] * 4 == [name for part in parts for name in part]
    assert DRAFTS == [part["write"]["draft"] for part in parts[::2]]
    assert [False, False, False, True] == ["answer" in part["judge"] for part in parts[1::2]]


class Plain(TypedDict):
    draft: str


class Model(BaseModel):
    draft: str = ""
    answer: str = ""


@dataclass
class Data:
    draft: str = ""
    answer: str = ""


@pytest.mark.parametrize("schema", [Plain, Model, Data])
def test_any_schema_will_do(schema: Any) -> None:
    """Keys that it does not declare are added as private ones, and cannot get lost."""
    drafts = iter(DRAFTS)
    graph = loop(lambda state: {"draft": next(drafts)}, Rounds(), schema)
    compiled = graph.compile(checkpointer=InMemorySaver())
    state = compiled.invoke({"draft": ""}, THREAD)
    kept = compiled.get_state(THREAD).values
    assert ("same answer", DRAFTS[3]) == (kept["rounds"]["why"], kept["answer"])
    assert set(schema.__annotations__) == set(state)


def test_the_graph_knows_both_ways() -> None:
    """They are drawn, and a node that is not there is refused when the graph is compiled."""
    drawn = loop(writer(DRAFTS), Rounds()).compile().get_graph()
    ends = {edge.target for edge in drawn.edges if edge.source == "judge" and edge.conditional}
    assert {"write", "__end__"} == ends
    with pytest.raises(ValueError, match="unknown node `elsewhere`"):
        loop(writer(DRAFTS), Rounds(), done="elsewhere").compile()


@pytest.mark.parametrize("before", ["write", "judge"])
@ways
def test_a_run_that_is_interrupted_goes_on(way: str, before: str) -> None:
    """After each step it is taken up from the checkpoint by a new graph, to the same end."""
    saver, steps = InMemorySaver(), 0
    given: Any = {"made": 0}
    while steps < 20:
        graph = loop(writer(DRAFTS), Rounds()).compile(
            checkpointer=saver, interrupt_before=[before]
        )
        run(graph, way, given, THREAD)
        state = graph.get_state(THREAD)
        if not state.next:
            break
        given, steps = None, steps + 1
    assert 4 == steps
    whole = loop(writer(DRAFTS), Rounds()).compile().invoke({})
    assert whole == state.values
    assert whole["rounds"] == json.loads(json.dumps(whole["rounds"]))


def test_a_round_that_failed_is_not_counted() -> None:
    """The node after it did not run; when the run is resumed, the round is made once."""
    failures = iter([False, True, False, False, False])
    write = writer(DRAFTS)

    def fails(state: State) -> Any:
        if next(failures):
            raise ConnectionError("broken")
        return write(state)

    graph = loop(fails, Rounds()).compile(checkpointer=InMemorySaver())
    with pytest.raises(ConnectionError):
        graph.invoke({}, THREAD)
    state = graph.invoke(None, THREAD)
    assert DRAFTS == state["rounds"]["drafts"]


def test_each_question_of_a_thread_has_its_own_rounds() -> None:
    """What is over begins anew; what was broken off does where the input says so."""
    graph = loop(writer(DRAFTS), Rounds()).compile(checkpointer=InMemorySaver())
    for _ in range(2):
        assert 4 == len(graph.invoke({}, THREAD)["rounds"]["drafts"])
    graph.invoke({}, THREAD, interrupt_before=["judge"])
    graph.invoke(None, THREAD, interrupt_before=["judge"])
    state = graph.invoke({"rounds": None, "made": 0}, THREAD)
    assert DRAFTS == state["rounds"]["drafts"]


def branches(*, defer: bool) -> Any:
    """Make a graph whose rounds part into a short branch, which writes, and a longer one."""
    graph = StateGraph(State)
    graph.add_node("begin", lambda state: None)
    graph.add_node("write", writer(DRAFTS))
    graph.add_node("search", lambda state: {"passages": ["a"]})
    graph.add_node("rank", lambda state: None)
    graph.add_node("judge", rounds_node(Rounds(most=9), again="begin"), defer=defer)
    graph.add_edge(START, "begin").add_edge("begin", "write").add_edge("begin", "search")
    graph.add_edge("search", "rank").add_edge("rank", "judge").add_edge("write", "judge")
    return graph.compile()


@ways
def test_parallel_branches_are_one_round(way: str) -> None:
    """A deferred node waits for the longer branch, and each round counts once."""
    state = run(branches(defer=True), way, {})
    assert (DRAFTS, 4) == (state["rounds"]["drafts"], state["made"])


def test_a_branch_that_is_not_waited_for_is_told() -> None:
    """It would begin the rounds again and again; so the run ends with what to do about it."""
    with pytest.raises(ValueError, match="be deferred where branches of unequal length"):
        branches(defer=False).invoke({})


def test_a_run_may_ask_several_questions() -> None:
    """A node between them says that the next one begins."""
    graph = loop(writer(DRAFTS), Rounds(), done="next")
    graph.add_node("next", lambda state: {"rounds": None})
    graph.add_conditional_edges("next", lambda s: "write" if s["made"] < 12 else END)
    state = graph.compile().invoke({})
    assert (12, DRAFTS[3]) == (state["made"], state["answer"])


def test_branches_that_meet_are_one_round() -> None:
    """Two of the same length need no deferring: LangGraph runs the node once a step."""
    graph = loop(writer(DRAFTS), Rounds())
    graph.add_node("search", lambda state: {"passages": ["a"]})
    graph.add_edge(START, "search").add_edge("search", "judge")
    assert DRAFTS == graph.compile().invoke({})["rounds"]["drafts"]


def test_a_round_that_is_judged_twice_in_a_step_is_refused() -> None:
    """By LangGraph, as both would write the count: nothing is counted twice unseen."""
    graph = StateGraph(State)
    graph.add_node("judge", rounds_node(Rounds(), again="judge"))
    graph.add_conditional_edges(START, lambda s: [Send("judge", {"draft": d}) for d in "AB"])
    with pytest.raises(InvalidUpdateError, match="rounds"):
        graph.compile().invoke({})


class Found(MessagesState):
    found: list[Document]
    best: str


def test_messages_and_documents_are_read() -> None:
    """The draft is the last message; passages are what the documents say, and not who they are."""
    drafts: Iterator[str] = iter(DRAFTS)

    def write(state: Found) -> dict[str, Any]:
        return {
            "messages": [AIMessage([{"type": "text", "text": next(drafts)}])],
            "found": [Document(f"passage {len(state['messages']) // 2}", id="same")],
        }

    names = {"draft": "messages", "evidence": "found", "answer": "best", "keep": "count"}
    graph = loop(write, Rounds(dry=1), Found, **names).compile(checkpointer=InMemorySaver())
    state = graph.invoke({"messages": []}, THREAD)
    kept = graph.get_state(THREAD).values["count"]
    assert ("nothing new", DRAFTS[:2]) == (kept["why"], kept["drafts"])
    assert (DRAFTS[1], 2) == (state["best"], len(state["messages"]))


def test_text_of_any_kind_passes_a_checkpointer() -> None:
    """Half a character as well, which a stream that was cut may leave."""
    graph = loop(writer(["\ud83d"]), Rounds()).compile(checkpointer=InMemorySaver())
    assert "\ud83d" == graph.invoke({}, THREAD)["answer"]


def test_mistakes_are_named() -> None:
    """The settings at once, what the graph holds when it is run."""
    with pytest.raises(TypeError, match="rounds must be a Rounds, got 3"):
        rounds_node(3, again="write")  # type: ignore[arg-type]  # the mistake
    with pytest.raises(TypeError, match="purse must be its name in the context of the run, got <"):
        rounds_node(Rounds(), again="write", purse=Purse())  # type: ignore[arg-type]  # likewise
    with pytest.raises(TypeError, match=r"draft must hold texts, .* got int"):
        loop(lambda state: {"draft": 3}, Rounds()).compile().invoke({})
    for context in (None, {}, {"purse": 100}):
        graph = loop(writer(DRAFTS), Rounds(), purse="purse").compile()
        with pytest.raises(ValueError, match="purse must be a Purse in the run's context, got"):
            graph.invoke({}, context=context)


def test_the_context_may_be_a_mapping() -> None:
    """The purse is then under its name, and not an attribute."""
    graph = loop(writer(DRAFTS), Rounds(), purse="left").compile()
    assert DRAFTS[3] == graph.invoke({}, context={"left": Purse(tokens=9)})["answer"]


@pytest.mark.parametrize(
    ("package", "message"),
    [("langgraph.runtime", "langchain-stopping.agents"), ("numpy", "stopping-core.traces")],
)
def test_without_what_it_needs_the_error_says_so(
    package: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package is asked for when the name is; all else works without it."""
    for name in list(sys.modules):
        if name.startswith(("stopping_core.hybrids", "stopping_core.policies.baselines")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "langchain_stopping.rounds")
    with pytest.raises(MissingPackage, match=message):
        _ = langchain_stopping.rounds_node
