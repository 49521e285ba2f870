"""Every place of many runs where a policy may be asked, as arrays: a row a place."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from stopping_core.metrics import cuts_word
from stopping_core.metrics.cuts import is_word
from stopping_core.policies.learned.evidence import Evidence
from stopping_core.protocols import CompletenessCheck, Signal
from stopping_core.traces.rows import read, read_rows, walk
from stopping_core.traces.run import Run
from stopping_core.traces.stream import TAGS, Tags, answer_of, closing_tokens
from stopping_core.types import Boundary, Channel, Probe

T = TypeVar("T")
Mask: TypeAlias = NDArray[np.bool_]
Counts: TypeAlias = NDArray[np.int64]
Readings: TypeAlias = NDArray[np.float64]

NO_PROBE = Probe("", tokens=0, reread=0)

_BY_ROW = ("rows", "run", "tokens", "offset", "boundary", "seconds", "place", "fed", "probed")


@dataclass(frozen=True, slots=True, eq=False)
class Stops:
    """Where a policy would stop, row by row, had it not stopped before.

    Args:
        where: Rows at which it stops.  # (n,)
        forced: Those of them at which the stop is forced.  # (n,)
    """

    where: Mask
    forced: Mask

    def __or__(self, other: Stops) -> Stops:
        """As :class:`~stopping_core.policies.AnyOf`: where either does; forced goes first."""
        return Stops(self.where | other.where, self.forced | other.forced)

    def __and__(self, other: Stops) -> Stops:
        """As :class:`~stopping_core.policies.AllOf`: where both do; forced where one is."""
        where = self.where & other.where
        return Stops(where, where & (self.forced | other.forced))


class Columns:
    """The places of some runs at which any policy may be asked, in order, run after run.

    A row stands for a mark of the segmenter or for a token: the engine asks after marks and at
    counts of tokens. ``asked`` keeps the rows at which it asks one policy, with that policy's
    marks; ``Policy.stops`` and ``Policy.asks`` are given such a selection. One place may have
    several rows: a line end that also ends a paragraph is marked twice.

    The rows come from the segmenter and the splitter that production uses, one pass a run. The
    readings of a signal are taken by the signal itself, in one pass over all runs, when they are
    first asked for; they are kept, for all selections and for all signals with the same settings.

    Args:
        runs: The runs.
        channel: The channel that the policies act on; the other one has no rows.
        tags: Tags that mark reasoning in the text; None where it has none.
        every: Tokens between two checkpoints inside a sentence, >= 1.

    Attributes:
        runs: The runs.
        lengths: Raw tokens of each run.  # (runs,)
        prompts: Input tokens of each request, 0 where unknown.  # (runs,)
        everything: The columns that this is a selection of, or itself.
        rows: Number of each row in ``everything``.  # (n,)
        run: Number of its run.  # (n,)
        starts: Where the rows of each run begin, and n.  # (runs + 1,)
        tokens: Tokens of the channel up to there: ``Checkpoint.tokens``.  # (n,)
        offset: Characters of the channel up to there.  # (n,)
        boundary: What ends there, a :class:`~stopping_core.types.Boundary`.  # (n,)
        seconds: When the last token had come, after the request; NaN where unknown.  # (n,)
        place: Raw tokens, of both channels, up to there.  # (n,)
        fed: Raw tokens that had come when the policy was asked there, >= ``place``.  # (n,)
        probed: Number of the row's probe among ``probes``, or -1.  # (n,)
        probes: The probes of all runs, in order.

    Raises:
        ValueError: ``every`` is out of its interval.
    """

    def __init__(
        self,
        runs: Iterable[Run],
        *,
        channel: Channel = "answer",
        tags: Tags = TAGS,
        every: int = 16,
    ) -> None:
        if every < 1:
            raise ValueError(f"every must be >= 1, got {every}")
        self.runs: Sequence[Run] = tuple(runs)
        self.lengths: Counts = np.array([len(run) for run in self.runs], dtype=np.int64)
        prompts = [run.prompt_tokens or 0 for run in self.runs]
        self.prompts: Counts = np.array(prompts, dtype=np.int64)
        self.channel = channel
        self.tags = tags
        self.every = every
        self.everything: Columns = self
        self._kept: dict[Hashable, Readings] = {}
        self._made: dict[Hashable, Any] = {}
        self._asked: dict[tuple[int, ...], Columns] = {}
        self._pinned: list[Signal] = []
        self._answers: dict[int, str] = {}
        self._verdicts: dict[int, tuple[CompletenessCheck, dict[int, bool]]] = {}
        walked = [walk(run, channel, tags) for run in self.runs]
        lengths = [len(rows) for rows in walked]
        self.starts: Counts = np.cumsum([0, *lengths], dtype=np.int64)
        self.run: Counts = np.repeat(np.arange(len(lengths)), lengths)
        table = np.concatenate([np.empty((0, 5), np.int64), *walked]).T.copy()
        self.tokens, self.offset, self.boundary, self.place, self.fed = table
        self.rows: Counts = np.arange(len(self.run))
        self.seconds: Readings = self._seconds()
        self.probes: list[Probe] = []
        self._closing: list[int] = []
        self.probed: Counts = self._find_probes()
        self._bills: Counts = self._bills_of_probes()

    def __len__(self) -> int:
        return len(self.rows)

    def of_run(self, number: int) -> slice:
        """The rows of one run."""
        return slice(int(self.starts[number]), int(self.starts[number + 1]))

    def asked(self, marks: Iterable[int] = ()) -> Columns:
        """Select the rows at which the engine asks a policy with these marks."""
        if self.everything is not self:
            return self.everything.asked(marks)
        named = tuple(sorted({mark for mark in marks if mark > 0}))
        if named not in self._asked:
            counted = self._counts(named)
            before = np.where(self._begins(), 0, np.roll(counted, 1))
            self._asked.clear()  # the last is kept: the settings of a rule mostly share it
            self._asked[named] = self._select((self.boundary != 0) | (counted > before))
        return self._asked[named]

    def of_runs(self, where: Mask) -> Columns:
        """Select the rows of some runs, which are numbered anew; ``everything`` stays.

        Args:
            where: The runs to keep.  # (runs,)
        """
        return self.once(("of_runs", where.tobytes()), lambda columns: columns._of_runs(where))

    def at(self, boundary: Boundary) -> Mask:
        """Rows at which one of these kinds ends."""
        here: Mask = (self.boundary & int(boundary)) != 0
        return here

    def nowhere(self) -> Mask:
        """No row: a mask to begin with."""
        return np.zeros(len(self), dtype=np.bool_)

    def stops(self, where: Mask, forced: Mask | None = None) -> Stops:
        """Say where to stop, and where the stop is forced; nowhere by default."""
        return Stops(where, self.nowhere() if forced is None else where & forced)

    def streak(self, mask: Mask) -> Counts:
        """Length of the streak of True that ends at each row, within its run.  # (n,)."""
        rows = np.arange(len(self))
        broken = np.maximum.accumulate(np.where(mask, -1, rows)) if len(self) else rows
        streak: Counts = np.where(mask, rows - np.maximum(broken, self.starts[self.run] - 1), 0)
        return streak

    def first(self, mask: Mask) -> Counts:
        """The first True row of each run, or -1.  # (runs,)."""
        first = np.full(len(self.runs), -1, dtype=np.int64)
        rows = np.flatnonzero(mask)[::-1]
        first[self.run[rows]] = rows
        return first

    def reading(self, signal: Signal) -> Readings:
        """What the signal reads at each row, NaN where it has no reading.  # (n,)."""
        self.extract((signal,))
        readings: Readings = self._kept[self.key(signal)][self.rows]
        return readings

    def rows_of(
        self, evidence: Evidence, where: Mask | None = None, *, probed: bool = False
    ) -> Readings:
        """The features of some evidence at each row, NaN where they are not wanted.

        Only the runs of this selection are read. What comes of it is kept with the selection.

        Args:
            evidence: What is read.
            where: The rows that are wanted; all by default.  # (n,)
            probed: Whether to add the features of the probe at each row.

        Returns:
            # (n, d).
        """
        wanted = ~self.nowhere() if where is None else where
        key = "rows_of", self.key(evidence), wanted.tobytes(), probed
        return self.once(key, lambda columns: columns._rows_of(evidence, wanted, probed))

    def extract(self, signals: Iterable[Signal]) -> None:
        """Take the readings of several signals in one pass, for ``reading`` to find.

        Evidence of several numbers is passed over: ``rows_of`` reads it, where it is wanted.
        """
        single = (signal for signal in signals if not isinstance(signal, Evidence))
        missing = {self.key(signal): signal for signal in single}
        missing = {key: signal for key, signal in missing.items() if key not in self._kept}
        if missing:
            self._pinned += missing.values()
            runs = self.everything.runs
            readings = read(runs, tuple(missing.values()), self.channel, self.tags)
            self._kept.update(zip(missing, readings, strict=True))

    def key(self, signal: Signal) -> Hashable:
        """Class and settings of a signal; where they cannot be told, the object itself."""
        try:
            return type(signal), pickle.dumps(signal)
        except (pickle.PicklingError, AttributeError, TypeError):
            return id(signal)

    def once(self, key: Hashable, make: Callable[[Columns], T]) -> T:
        """What ``make`` makes of these rows, made at the first call with this key and kept.

        For what the settings of a rule have in common: it is kept with this selection, as long as
        rules with the same marks are asked.

        Args:
            key: Names what is made, and the settings that it depends on.
            make: Makes it.
        """
        if key not in self._made:
            self._made[key] = make(self)
        made: T = self._made[key]
        return made

    @property
    def has_probe(self) -> Mask:
        """Rows at which a probe was recorded."""
        mask: Mask = self.probed >= 0
        return mask

    def probe(self, row: int) -> Probe:
        """The probe of a row, or an empty one where none was recorded.

        A replay that comes to a row without a probe, and asks for it, is refused by ``cut``; what
        a policy makes of the empty one has no effect.
        """
        return self.probes_at(np.array([row]))[0]

    def probes_at(self, rows: Counts) -> list[Probe]:
        """The probes of some rows, likewise."""
        numbers = self.probed[rows].tolist()
        return [NO_PROBE if number < 0 else self.probes[number] for number in numbers]

    def bills_of_probes(self, rows: Counts) -> Counts:
        """What the probes of some rows took, 0 where there is none.

        Returns:
            Output tokens, input tokens, and the tokens of the words that closed the reasoning, as
            :func:`~stopping_core.traces.stream.closing_tokens` counts them.  # (3, k)
        """
        bills: Counts = self._bills[:, self.probed[rows]]
        return bills

    def answer(self, number: int) -> str:
        """The answer of a full run."""
        if number not in self._answers:
            self._answers[number] = answer_of(self.runs[number], self.tags)
        return self._answers[number]

    def answer_at(self, row: int) -> str:
        """The answer that a stop at a row leaves.

        The text up to there; on the channel ``"reasoning"`` what the probe there answered.
        """
        if self.channel == "reasoning":
            return self.probe(row).text
        return self.answer(int(self.run[row]))[: int(self.offset[row])]

    def open_end(self, row: int) -> bool:
        """Whether a stop at a row cuts inside a word, as the graders want to know.

        Never of a probe's answer: where its limit ended it, the recording does not show it.
        """
        if self.channel == "reasoning":
            return False
        return self.ends_open(int(self.run[row]), int(self.offset[row]))

    def full_open_end(self, number: int) -> bool:
        """Whether the answer of a full run ends inside a word, at the run's cap."""
        return self.ends_open(number, len(self.answer(number)))

    def ends_open(self, number: int, length: int) -> bool:
        """Whether the first ``length`` characters of a full run's answer end inside a word.

        What would have followed the last word of a run that ended at its cap is not known: it is
        taken to go on.
        """
        answer = self.answer(number)
        if length < len(answer):
            return cuts_word(answer[:length], answer[length : length + 2])
        capped = self.runs[number].finish_reason == "length"
        return capped and answer != "" and is_word(answer[-1])

    def verdicts(self, check: CompletenessCheck) -> dict[int, bool]:
        """What a check was found to say of the text up to a row of ``everything``, to be kept."""
        return self._verdicts.setdefault(id(check), (check, {}))[1]

    # -- how it is made

    def _rows_of(self, evidence: Evidence, wanted: Mask, probed: bool) -> Readings:
        whole = self.everything
        read_at = whole.nowhere()
        read_at[self.rows[wanted]] = True
        numbers = np.unique(whole.run[read_at]).tolist()
        width = len(evidence.names) + (len(evidence.probe_names) if probed else 0)
        features = np.full((len(self), width), math.nan)
        features[wanted] = read_rows(
            [whole.runs[number] for number in numbers],
            evidence,
            self.channel,
            self.tags,
            [read_at[whole.of_run(number)] for number in numbers],
            whole.probes_at(np.flatnonzero(read_at)) if probed else None,
        )
        return features

    def _select(self, where: Mask) -> Columns:
        view, rows = copy.copy(self), np.flatnonzero(where)
        view.starts, view._made = np.searchsorted(rows, self.starts), {}
        for name in _BY_ROW:
            setattr(view, name, getattr(self, name)[rows])
        return view

    def _of_runs(self, where: Mask) -> Columns:
        view = self._select(where[self.run])
        view.run = (np.cumsum(where) - 1)[view.run]
        view.starts = np.append(view.starts[:-1][where], len(view))
        view.runs = tuple(compress(self.runs, where))
        view.lengths, view.prompts = self.lengths[where], self.prompts[where]
        view._answers = {}
        return view

    def _begins(self) -> Mask:
        """The first row of each run."""
        begins = self.nowhere()
        begins[self.starts[:-1][np.diff(self.starts) > 0]] = True
        return begins

    def _counts(self, marks: Sequence[int]) -> Counts:
        """How many counts that fall due had been reached at each row; the marks are sorted."""
        named = np.array(marks, dtype=np.int64)
        counts: Counts = self.tokens // self.every + np.searchsorted(named, self.tokens, "right")
        return counts

    def _seconds(self) -> Readings:
        seconds = np.full(len(self), math.nan)
        for number, run in enumerate(self.runs):
            if run.seconds is not None:
                rows = self.of_run(number)
                seconds[rows] = run.seconds[self.fed[rows] - 1]
        return seconds

    def _find_probes(self) -> Counts:
        """Number the probes, and give each row the one that :func:`probe_place` finds."""
        probed = np.full(len(self), -1, dtype=np.int64)
        for number, run in enumerate(self.runs):
            if run.probes:
                rows = self.of_run(number)
                places = np.array(sorted(run.probes), dtype=np.int64)
                line = self.at(Boundary.LINE)[rows]  # asked for after the line break
                asked = np.where(line, self.fed[rows], self.place[rows])
                after = np.searchsorted(places, asked)
                found = np.append(places, np.iinfo(np.int64).max)[after] <= self.fed[rows]
                probed[rows] = np.where(found, after + len(self.probes), -1)
                self.probes += (run.probes[place] for place in places.tolist())
                self._closing += (closing_tokens(run, place) for place in places.tolist())
        return probed

    def _bills_of_probes(self) -> Counts:
        """The table of ``bills_of_probes``, a column a probe and one for none."""
        bills = [
            (probe.tokens, probe.reread, closing)
            for probe, closing in zip(self.probes, self._closing, strict=True)
        ]
        return np.array([*bills, (0, 0, 0)], dtype=np.int64).T.copy()
