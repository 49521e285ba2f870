"""The text of one request as it grows over its calls: what is settled, held back, thought."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from stopping_core.channels import ChannelSplitter
from stopping_core.engine import Engine
from stopping_core.protocols import Prober
from stopping_core.results import Audit, Call, Trial
from stopping_core.stitch import Stitcher
from stopping_core.stopping import AdaptiveStopping
from stopping_core.types import CONTINUE, Channel, Checkpoint, Decision, Probe, Request, Step

_LONGER = 16  # times the limit of a probe: what an audit asks for an early answer that it has cut


class Emission(NamedTuple):
    """What a step gives the user: settled answer text, reasoning, and whether to hang up now."""

    text: str = ""
    reasoning: str = ""
    stop: bool = False


class Answer:
    """Takes the steps of all calls of a request, each on its channel, through the policies.

    Args:
        stopping: What to do. In ``shadow`` mode the policy decides without effect, in ``off`` mode
            it is not asked; the text is then what the model sent, tags and all.
        request: What is known about the request.
        confirm: Asked before a stop that is not forced, of each channel.
        complete: Whether an answer would be complete, for the challenger's stops.
        prefill: Whether the model continues a prefix as its own text. If not, what it repeats of
            the prefix is removed.
        prober: Asks the model what it would answer now, for policies that want to know.
        audited: Whether a stop that is not forced is noted, and the call goes on to its end.

    Attributes:
        decision: What ended the current call, if anything but the model did.
        would_stop: Where ``active`` would have cut, in ``shadow`` mode.
        thought_tokens: Tokens of the current call that were reasoning.
        probed: Output tokens of the current call's probes.
        reread: Their input tokens.
        overran: Whether the call went on behind a stop, for an audit.
        unheard: Whether it could not, as nobody said what the early answer would have been.
    """

    _rival: Engine | None

    def __init__(
        self,
        stopping: AdaptiveStopping,
        request: Request,
        confirm: Mapping[Channel, Callable[[Decision], bool]],
        *,
        complete: Callable[[str, Decision], bool] = lambda text, decision: True,
        prefill: bool,
        prober: Prober | None = None,
        audited: bool = False,
    ) -> None:
        self.decision = CONTINUE
        self.would_stop: Checkpoint | None = None
        self.thought_tokens = 0
        self.probed = self.reread = 0
        self.overran = self.unheard = False
        self._audited = audited
        self._tail: list[str] = []  # of an audited answer, behind the stop; nobody sees it
        self._early: str | None = None  # what would be answered where the reasoning would end
        self._said: list[str] = []  # the answer, in shadow mode
        self._answered = 0  # tokens of the answer
        self._complete = complete
        self._stopping = stopping
        self._request = request
        self._confirm = confirm
        self._prefill = prefill
        self._prober = prober
        self._received: list[str] = []
        self._thoughts: list[str] = []
        self._earlier = ""  # thoughts of the calls before this one
        self._engine = self._new_engine("answer")
        self._rival = self._new_rival()
        self._stitcher: Stitcher | None = None

    @property
    def text(self) -> str:
        """All of the answer that was received and not dropped."""
        if self._stopping.mode != "active":
            return "".join(self._received)
        return self._engine.text + self._engine.held

    @property
    def settled(self) -> str:
        """The answer up to the last settled place, or up to the cut."""
        return self._engine.text

    @property
    def held(self) -> str:
        """What follows the settled text and was not shown yet."""
        return self._engine.held if self._stopping.mode == "active" else ""

    @property
    def reasoning(self) -> str:
        """The reasoning of all calls."""
        return "".join(self._thoughts)

    @property
    def written(self) -> str:
        """What the model wrote of its message: reasoning, where there is any, in its tags."""
        return self._message(self.reasoning, self.text)

    def begin(self, call: Call) -> None:
        """Get ready for the steps of a call."""
        self.decision = CONTINUE
        self.thought_tokens = self.probed = self.reread = 0
        self.overran = self.unheard = False
        self._early, self._tail, self._said = None, [], []
        self._earlier = self.reasoning
        self._splitter = ChannelSplitter(self._stopping.reasoning_tags, begun=bool(call.prefix))
        self._reasoner = self._new_engine("reasoning")
        self._stitcher = Stitcher(call.prefix) if call.prefix and not self._prefill else None

    def feed(self, step: Step, seconds: float) -> Emission:
        """Take one step; say what may be shown now."""
        if self._stopping.mode != "active":
            return self._watch(step, seconds)
        if (
            self._splitter.begun
            and self._stitcher is None
            and step.channel == "answer"
            and not self._audited
        ):
            text = self._engine.feed(step, seconds)
            self.decision = self._engine.decision
            return Emission(text, "", self.decision.stop)
        return self._take(self._splitter.feed(step), seconds)

    def drain(self, seconds: float) -> Emission:
        """Take what was held back between tags or as a repetition, when a call ends."""
        stopped = self._engine.decision.stop or self._reasoner.decision.stop
        if self._stopping.mode != "active" or (stopped and not self.overran):
            return Emission()
        emission = self._take(self._splitter.flush(), seconds)
        if self._stitcher is not None:
            rest, self._stitcher = self._stitcher.finish(), None
            more = self._take(iter([Step(rest, tokens=0)]), seconds)
            emission = emission._replace(text=emission.text + more.text)
        return emission

    def audit(self, finish_reason: str | None) -> Audit | None:
        """What a stop was noted to leave of a call that has ended by itself, or None."""
        shadow = self._stopping.mode == "shadow"
        if not (self.overran or shadow):
            return None
        answer, thoughts = self._engine.checkpoint, self._reasoner.checkpoint
        if thoughts is not None:
            if self._early is None:
                return None
            full = "".join(self._said) if shadow else self.text
            return Audit(thoughts, "reasoning", self._early, full, finish_reason)
        if answer is None:
            return None
        full = "".join(self._said) if shadow else self._engine.text + "".join(self._tail)
        return Audit(answer, "answer", self._engine.text, full, finish_reason)

    def trial(self, finish_reason: str | None) -> Trial | None:
        """What the challenger would have left of an answer whose call has ended by itself."""
        rival, engine = self._rival, self._engine
        if rival is None:
            return None
        shadow = self._stopping.mode == "shadow"
        full = "".join(self._said) if shadow else self.text + "".join(self._tail)
        text = rival.text if rival.decision.stop else full
        tokens = max(rival.tokens, engine.tokens, self._answered)
        return Trial(rival.checkpoint, text, full, tokens, finish_reason)

    def keep(self, length: int, tokens: int) -> None:
        """Drop the text after ``length`` characters; a cut is taken back, so that it can go on.

        Args:
            length: Characters to keep.
            tokens: What they cost.
        """
        text = self.text[:length]
        if len(text) == len(self.text) and not self._engine.decision.stop:
            return
        self.open(text, tokens)

    def open(self, text: str, tokens: int = 0) -> None:
        """Begin the answer with a text, in place of what there was."""
        self._engine = self._new_engine("answer")
        self._engine.preload(text, tokens)
        self._rival = self._new_rival()
        if self._rival is not None:
            self._rival.preload(text, tokens)
        self._answered = tokens

    def restart(self) -> None:
        """Drop everything."""
        self._engine = self._new_engine("answer")
        self._rival = self._new_rival()
        self._received, self._thoughts = [], []
        self.would_stop = None
        self._answered = 0

    def _new_engine(self, channel: Channel) -> Engine:
        stopping = self._stopping
        probers = {"answer": self._probe_answer, "reasoning": self._probe_reasoning}
        return Engine(
            stopping.policy if channel == "answer" else stopping.reasoning,
            self._request,
            every=stopping.checkpoint_every,
            confirm=self._confirm[channel],
            prober=probers[channel],
        )

    def _new_rival(self) -> Engine | None:
        """The challenger's, where the answer will be seen to its end."""
        stopping = self._stopping
        if stopping.challenger is None or not (self._audited or stopping.mode == "shadow"):
            return None
        every, confirm = stopping.checkpoint_every, self._confirm_rival
        return Engine(stopping.challenger, self._request, every=every, confirm=confirm)

    def _confirm_rival(self, decision: Decision) -> bool:
        rival = self._rival
        return rival is not None and self._complete(rival.text, decision)

    def _try(self, step: Step, seconds: float) -> None:
        """Show the challenger what comes of the answer."""
        self._answered += step.tokens
        if self._rival is not None:
            self._rival.feed(step, seconds)

    def _message(self, thoughts: str, text: str) -> str:
        opening, closing = self._stopping.reasoning_tags
        return f"{opening}{thoughts}{closing}\n\n{text}" if thoughts.strip() else text

    def _probe_answer(self, checkpoint: Checkpoint) -> Probe:
        thoughts = self._earlier + self._reasoner.text
        return self._probe(self._message(thoughts, self._engine.text), one_line=True)

    def _probe_reasoning(self, checkpoint: Checkpoint, limit: int | None = None) -> Probe:
        engine, (opening, closing) = self._reasoner, self._stopping.reasoning_tags
        thoughts = self._earlier + engine.text + engine.line_break(checkpoint.boundary)
        probe = self._probe(f"{opening}{thoughts}", one_line=False, limit=limit)
        begun = self._stopping.probe.partition(closing)[2].lstrip()
        return replace(probe, text=begun + probe.text)

    def _probe(self, written: str, *, one_line: bool, limit: int | None = None) -> Probe:
        if self._prober is None:
            raise RuntimeError("a policy asked for a probe where there is no prober")
        most = limit or self._stopping.probe_tokens
        probe = self._prober(written, self._stopping.probe, max_tokens=most, one_line=one_line)
        self.probed += probe.tokens
        self.reread += probe.reread
        return probe

    def _watch(self, step: Step, seconds: float) -> Emission:
        """Hand a step on as it is, for the modes that leave the text alone."""
        if self._stopping.mode == "shadow":
            for part in self._splitter.feed(step):
                if part.channel == "answer":
                    self._said.append(part.text)
                    self._try(part, seconds)
                if self.would_stop is None:
                    engine = self._engine if part.channel == "answer" else self._reasoner
                    engine.feed(part, seconds)
                    self.would_stop = engine.checkpoint
                    if engine is self._reasoner:
                        self._note_early()
        if step.channel == "reasoning":
            self._thoughts.append(step.text)
            self.thought_tokens += step.tokens
            return Emission(reasoning=step.text)
        self._received.append(step.text)
        return Emission(text=step.text)

    def _take(self, steps: Iterator[Step], seconds: float) -> Emission:
        text: list[str] = []
        thoughts: list[str] = []
        for step in steps:
            if step.channel == "reasoning":
                engine = self._reasoner
                self.thought_tokens += step.tokens
                if self._engine.decision.stop:  # behind an answer that nobody sees the rest of
                    continue
                if engine.decision.stop:  # noted before, for an audit
                    thoughts.append(step.text)
                    continue
                thoughts.append(engine.feed(step, seconds))
            elif self._engine.decision.stop:
                self._tail.append(step.text)
                self._try(step, seconds)
                continue
            else:
                engine, new = self._engine, step
                if self._stitcher is not None:
                    new = replace(step, text=self._stitcher.feed(step.text))
                text.append(engine.feed(new, seconds))
                self._try(new, seconds)
            if engine.decision.stop:
                if self._audited and not engine.decision.forced and self._overrun(engine):
                    thoughts += [engine.beyond] if engine is self._reasoner else []
                    continue
                self.decision = engine.decision
                if engine is self._reasoner and engine.checkpoint is not None:
                    thoughts.append(engine.line_break(engine.checkpoint.boundary))
                    text += self._bought(engine.probe, seconds)
                break
        self._thoughts += thoughts
        stop = self.decision.stop and not self.overran
        return Emission("".join(text), "".join(thoughts), stop)

    def _overrun(self, engine: Engine) -> bool:
        """Let the call go on behind the stop of an engine; return whether that tells anything."""
        if engine is self._reasoner:
            self._note_early()
            self.overran = self._early is not None
            self.unheard = not self.overran
        else:
            self.overran = True
            self.decision = engine.decision
            self._tail = [engine.beyond]
        return self.overran

    def _note_early(self) -> None:
        """Note what would be answered where the reasoning would end, if it can be asked for."""
        probe, place = self._reasoner.probe, self._reasoner.checkpoint
        if place is None or self._early is not None or self._prober is None:
            return
        closes = self._stopping.reasoning_tags[1] in self._stopping.probe
        limit = self._stopping.probe_tokens
        if probe is None and closes:
            probe = self._probe_reasoning(place)
        if probe is not None and probe.tokens >= limit and closes:
            limit *= _LONGER
            probe = self._probe_reasoning(place, limit)  # as a call of its own would answer
        self._early = None if probe is None or probe.tokens >= limit else probe.text

    def fall_back(self, seconds: float) -> str:
        """Give the early answer where an audit of the reasoning breaks off before its own."""
        early, self._early = self._early, None
        if early is None or self._engine.text or self._engine.held:
            return ""
        return self._engine.feed(Step(early, tokens=0), seconds)

    def _bought(self, probe: Probe | None, seconds: float) -> Iterator[str]:
        """The answer of the probe that ended the reasoning: it need not be asked for anew.

        Not one that the probe's limit has cut.
        """
        if probe is not None and probe.tokens < self._stopping.probe_tokens:
            yield self._engine.feed(Step(probe.text, tokens=0), seconds)
