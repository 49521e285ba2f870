"""Rounds in LlamaIndex's own workflows: run, saved and resumed, with several workers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.workflow import Context, Event, StartEvent, StopEvent, Workflow, step
from pydantic import BaseModel

from llama_index.llms.stopping import AdaptiveLLM, judge_round
from stopping_core import AdaptiveStopping
from stopping_core.hybrids import Purse, Rounds, RoundState
from tests.hybrids.two_hops import ANSWER, MOST, QUESTION, SETTLED, prompt, reply, retrieve
from tests.integration_llama_index.asking import scripted
from tests.support.sse_server import CountingServer

DRAFTS = ["It is Lyon.", "It is Rome.", "The answer is Paris.", "So, the answer is Paris."]


async def ran(workflow: Workflow, **given: Any) -> Any:
    """Run a workflow; return what it stops with."""
    return await workflow.run(**given)


class Search(Event):
    draft: str


class Found(Event):
    passages: list[NodeWithScore]


class Hops(Workflow):
    """Retrieves and drafts, over HTTP; without rounds, MOST times."""

    def __init__(self, server: CountingServer, purse: Purse, rounds: Rounds | None) -> None:
        super().__init__(timeout=30)
        self.server, self.purse, self.rounds, self.made = server, purse, rounds, 0

    @step
    async def search(self, ev: StartEvent | Search) -> Found:
        passages = retrieve(QUESTION + (ev.draft if isinstance(ev, Search) else ""))
        return Found(passages=[NodeWithScore(node=TextNode(text=one)) for one in passages])

    @step
    async def draft(self, ctx: Context, ev: Found) -> Search | StopEvent:
        stopping = self.purse.settings(AdaptiveStopping(backoff=(0.0, 0.0)))
        inner = scripted(self.server)
        said = await AdaptiveLLM(llm=inner, stopping=stopping).acomplete(
            prompt([one.get_content() for one in ev.passages])
        )
        await inner._get_aclient().close()
        self.made += 1
        if self.rounds is None:
            return Search(draft=said.text) if self.made < MOST else StopEvent(result=said.text)
        state = await judge_round(self.rounds, ctx, said.text, ev.passages, purse=self.purse)
        return StopEvent(result=state) if state.done else Search(draft=said.text)


async def test_two_hops_take_three_rounds_and_not_six() -> None:
    """The same answer for half of the calls; the purse has booked what the server wrote."""
    with CountingServer(reply, delay=0) as server:
        purse = Purse(tokens=1000)
        state = await ran(Hops(server, purse, Rounds(most=MOST)))
        calls, tokens = len(server.calls), server.sent
    with CountingServer(reply, delay=0) as server:
        full = await ran(Hops(server, Purse(tokens=1000), None))
        assert MOST == len(server.calls)
        assert 2 * tokens <= server.sent + 2  # the first round says one word more than the others
    assert (ANSWER, SETTLED, "same answer") == (state.answer, calls, state.why)
    assert full == state.answer
    assert (tokens, SETTLED) == (purse.spent.tokens, purse.spent.requests)


async def test_an_empty_purse_ends_the_rounds() -> None:
    """The tokens of the rounds are counted together."""
    with CountingServer(reply, delay=0) as server:
        state = await ran(Hops(server, Purse(tokens=15), Rounds(most=MOST)))
        assert (2, "budget") == (len(server.calls), state.why)


class Again(Event):
    number: int


class Loop(Workflow):
    """Writes draft after draft, and judges each; pauses where it is told to."""

    pause_at: int | None = None
    paused: asyncio.Event

    @step
    async def write(self, ctx: Context, ev: StartEvent | Again) -> Again | StopEvent:
        number = ev.number if isinstance(ev, Again) else 0
        if number == self.pause_at:
            self.paused.set()
            await asyncio.sleep(60)
        state = await judge_round(Rounds(), ctx, DRAFTS[number])
        return StopEvent(result=state) if state.done else Again(number=number + 1)


async def test_what_is_kept_is_plain_data() -> None:
    """It stands in the store of the context, where JSON can hold it."""
    loop = Loop()
    ctx = Context(loop)
    state = await ran(loop, ctx=ctx)
    assert (DRAFTS[3], "same answer", 4) == (state.answer, state.why, len(state.drafts))
    kept = await ctx.store.get("rounds")
    assert state == RoundState.from_dict(json.loads(json.dumps(kept)))


@pytest.mark.parametrize("pause_at", [0, 1, 3])
async def test_a_run_that_is_interrupted_goes_on(pause_at: int) -> None:
    """A context that was saved in the middle of a round is taken up by a new workflow."""
    first = Loop()
    first.pause_at, first.paused = pause_at, asyncio.Event()
    handler = first.run()
    await first.paused.wait()
    saved = json.dumps(handler.ctx.to_dict())
    await handler.cancel_run()
    second = Loop()
    state = await ran(second, ctx=Context.from_dict(second, json.loads(saved)))
    assert (DRAFTS, "same answer") == (list(state.drafts), state.why)


async def test_each_question_of_a_context_has_its_own_rounds() -> None:
    """Rounds that are over begin anew; the rest of the store stays."""
    loop = Loop()
    ctx = Context(loop)
    for _ in range(2):
        assert DRAFTS == list((await ran(loop, ctx=ctx)).drafts)
        await ctx.store.set("mine", 1)
    assert 1 == await ctx.store.get("mine")


class Draft(Event):
    number: int


class Written(Event):
    text: str


class Workers(Workflow):
    """Writes four drafts at a time, and judges each by itself."""

    @step
    async def start(self, ctx: Context, ev: StartEvent) -> Draft | None:
        for number in range(4):
            ctx.send_event(Draft(number=number))
        return None

    @step(num_workers=4)
    async def write(self, ctx: Context, ev: Draft) -> Written:
        await asyncio.sleep(0)
        await judge_round(Rounds(most=9), ctx, f"It is {ev.number}.")
        return Written(text=str(ev.number))

    @step
    async def end(self, ctx: Context, ev: Written) -> StopEvent | None:
        done = ctx.collect_events(ev, [Written] * 4)
        return None if done is None else StopEvent(result=await ctx.store.get("rounds"))


async def test_steps_that_ask_at_the_same_time_are_each_counted() -> None:
    """None is lost, and none is counted twice."""
    kept = await ran(Workers())
    assert sorted(f"It is {number}." for number in range(4)) == sorted(kept["drafts"])


class Typed(BaseModel):
    count: dict[str, Any] | None = None


class TypedLoop(Workflow):
    @step
    async def write(self, ctx: Context[Typed], ev: StartEvent | Again) -> Again | StopEvent:
        number = ev.number if isinstance(ev, Again) else 0
        state = await judge_round(Rounds(), ctx, DRAFTS[number], keep="count")
        return StopEvent(result=state) if state.done else Again(number=number + 1)


async def test_a_typed_state_holds_it_in_a_field() -> None:
    """Under the name that the caller gives."""
    loop = TypedLoop()
    ctx = Context[Typed](loop)
    state = await ran(loop, ctx=ctx)
    assert DRAFTS == list(state.drafts)
    assert state.to_dict() == (await ctx.store.get_state()).count


class Once(Workflow):
    """Judges what it is given."""

    @step
    async def judge(self, ctx: Context, ev: StartEvent) -> StopEvent:
        for evidence in ev.evidence:
            state = await judge_round(Rounds(dry=1), ctx, f"{evidence}", evidence)
        return StopEvent(result=state)


async def test_nodes_are_told_apart_by_their_text() -> None:
    """Another id, or a score, makes no new passage; nor does a text in place of a node."""
    node = TextNode(text="a b")
    evidence = [[node], [NodeWithScore(node=TextNode(text="a b"), score=1.0), "a b"]]
    assert "nothing new" == (await ran(Once(), evidence=evidence)).why


async def test_what_is_no_passage_is_refused() -> None:
    """By the type; what it holds is not quoted."""
    with pytest.raises(TypeError, match="rounds must be a Rounds, got 5"):
        await judge_round(5, Context(Once()), "a")  # type: ignore[arg-type]  # the mistake
    with pytest.raises(TypeError, match="evidence must hold texts or nodes, got int"):
        await ran(Once(), evidence=[[3]])
