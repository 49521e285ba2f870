"""A recording under way: what is done is on the disk, and a kill costs the batch in work."""

from __future__ import annotations

import contextlib
import hashlib
import json
import reprlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

from stopping_core.errors import MissingPackage
from stopping_core.traces.header import header_of, plain_header
from stopping_core.traces.run import Header, Run
from stopping_core.traces.store import (
    load_table,
    replace_file,
    save_table,
    to_table,
    with_header,
)
from stopping_core.types import Need

try:
    import filelock
    import pyarrow as pa
    import pyarrow.compute as pc
except ModuleNotFoundError as error:
    raise MissingPackage(error.name or "pyarrow", "traces") from error

Key: TypeAlias = tuple[str, int]
"""A question's id, and the number of the sample."""

THINKING = ("<think>", "</think>")
"""Tags that are looked for in the runs where none are given."""

_TOLD = frozenset({"holds", "reasoning_tags", "model", "template"})
"""Keys of a header that the runs tell, and names for people: these may differ."""

_READINGS: tuple[Need, ...] = ("logprobs", "top_logprobs", "end_probability")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question's rows say of it; a file that says otherwise is about another question."""

    question: str
    context: str
    gold: tuple[str, ...]
    grader: str
    group: str
    family: str

    def compare(self, where: str, row: Asked) -> None:
        """Refuse a row that says otherwise."""
        for field in fields(self):
            now, was = getattr(self, field.name), getattr(row, field.name)
            if now != was:
                raise ValueError(
                    f"{where} was recorded with another {field.name}: {reprlib.repr(was)}, asked "
                    f"for is {reprlib.repr(now)}"
                )


class Journal:
    """Collects the runs of a trace file batch by batch; use it in a ``with`` block.

    Each batch is a part file, written under another name, brought to the disk and then renamed, in
    a folder ``FILE.parts`` beside the plan that says what belongs to which batch. So whatever kills
    the process, and whenever: a run is whole or it is not there, and none is there twice. The same
    batches are made again after a kill, so that the file equals that of an undisturbed recording.
    :meth:`finish` puts the parts behind what the file held before, in the order of the questions.

    Args:
        path: The trace file. Where it exists, it is extended by what it lacks.
        header: What all its runs have in common. ``holds``, and ``reasoning_tags`` where they are
            None, are told from the runs at the end; ``asked_reasoning_tags`` are those given here.

    Raises:
        ValueError: On entering: the file or its parts are of another model, template or setting,
            which the message names, or are damaged, or another process is writing them.
    """

    def __init__(self, path: str | Path, header: Header) -> None:
        self.path = Path(path)
        self.header = replace(header, asked_reasoning_tags=header.reasoning_tags)
        self._parts = self.path.with_name(f"{self.path.name}.parts")
        self._lock = filelock.FileLock(self.path.with_name(f".{self.path.name}.lock"))
        self._recorded: pa.Table | None = None
        self._plan: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise ValueError(f"{self.path}: another process is recording this file") from error
        try:
            self._parts.mkdir(exist_ok=True)
            if self.path.exists():
                self._recorded, header = load_table(self.path)
                self._compare(self.path, header)
            if (plan := self._parts / "plan.json").exists():
                self._plan = _read_plan(plan)
                self._compare(self._parts, header_of(plan, self._plan["header"]))
            if set(map(tuple, self._plan.get("order", ()))) <= self._rows().keys():
                self._clear()  # left by a kill between the last rename and the removal
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()

    def begin(
        self,
        asked: Mapping[Key, Asked],
        batched: Callable[[list[Key]], Sequence[Sequence[Key]]],
    ) -> dict[int, list[Key]]:
        """Plan what is to be done, or take up the plan that there is.

        Args:
            asked: All runs that the file is to hold, in order.
            batched: Shares out runs into batches. Only asked where there is no plan yet.

        Returns:
            The batches without a part, by their numbers.

        Raises:
            ValueError: A question of the file reads otherwise now, or the unfinished plan is about
                other questions.
        """
        recorded = self._rows()
        for key, row in recorded.items():
            if key in asked:
                asked[key].compare(f"{self.path}: the question {key[0]!r}", row)
        digest = _digest(asked)
        if not self._plan:
            missing = [key for key in asked if key not in recorded]
            if not missing:
                return {}
            self._plan = {
                "header": plain_header(self.header),
                "questions": digest,
                "order": missing,
                "batches": [list(batch) for batch in batched(missing)],
            }
            plan = json.dumps(self._plan).encode()
            replace_file(self._parts / "plan.json", lambda stream: stream.write(plan))
        elif self._plan["questions"] != digest:
            raise ValueError(
                f"{self._parts}: an unfinished recording of other questions: finish it with its "
                f"own questions, limit and spread, or remove the folder"
            )
        batches = {
            number: [(name, sample) for name, sample in batch]
            for number, batch in enumerate(self._plan["batches"])
        }
        return {
            number: batch
            for number, batch in batches.items()
            if not self._part(number).exists() and not set(batch) <= recorded.keys()
        }

    def add(self, number: int, runs: Sequence[Run]) -> None:
        """Keep the runs of a batch; when this returns they are on the disk."""
        part = self._part(number)
        save_table(part, to_table(part, runs, self.header))

    def finish(self) -> int:
        """Put all parts into the file, and remove them.

        Batches without a part are left for another recording, which will plan anew.

        Returns:
            The number of runs that the file holds now, 0 where there is none.
        """
        tables = [] if self._recorded is None else [self._recorded]
        if self._plan:
            there = self._rows().keys()
            place = {tuple(key): at for at, key in enumerate(self._plan["order"])}
            parts = [
                load_table(part)[0]
                for number in range(len(self._plan["batches"]))
                if (part := self._part(number)).exists()
            ]
            if parts:
                fresh = pa.concat_tables([part.replace_schema_metadata() for part in parts])
                keys = _keys(fresh)
                rows = [row for row, key in enumerate(keys) if key not in there]
                rows.sort(key=lambda row: place[keys[row]])
                tables.append(fresh.take(pa.array(rows, pa.int64())))
        if not tables:
            self._clear()
            return 0
        whole = pa.concat_tables([table.replace_schema_metadata() for table in tables])
        if self._plan:
            whole = _without_empty(whole)
            save_table(self.path, with_header(whole, _told(self.header, whole)))
        self._clear()
        return len(whole)

    def _clear(self) -> None:
        """Remove what is done with, or useless: the plan last, as it tells what the parts are."""
        self._plan = {}
        for name in ("*.parquet", "plan.json"):
            for file in self._parts.glob(name):
                file.unlink()

    def _leave(self) -> None:
        """Unlock; without a plan nothing of the folder is of use."""
        if not (self._parts / "plan.json").exists():
            shutil.rmtree(self._parts, ignore_errors=True)
        # Whoever opens the file from here on locks a new one, and a lock on this one is refused.
        with contextlib.suppress(PermissionError):  # Windows removes it on release
            Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()

    def _part(self, number: int) -> Path:
        return self._parts / f"{number:06d}.parquet"

    def _rows(self) -> dict[Key, Asked]:
        """What the finished file holds, and of which questions."""
        if self._recorded is None:
            return {}
        columns = {field.name: self._recorded[field.name].to_pylist() for field in fields(Asked)}
        columns["gold"] = [tuple(gold) for gold in columns["gold"]]
        return {
            key: Asked(*row)
            for key, row in zip(
                _keys(self._recorded), zip(*columns.values(), strict=True), strict=True
            )
        }

    def _compare(self, where: Path, recorded: Header) -> None:
        """Refuse to mix what was recorded under one header with what is asked under another."""
        was, now = plain_header(recorded), plain_header(self.header)
        for name in was:
            if name not in _TOLD and was[name] != now[name]:
                raise ValueError(
                    f"{where}: was recorded with {_said(was, name)}, asked for is "
                    f"{_said(now, name)}: a file holds one model under one template and setting"
                )


def _said(header: Mapping[str, Any], name: str) -> str:
    """A header's value, and what people call it."""
    whose = name.removesuffix("_fingerprint")
    known_as = f" ({header[whose]})" if whose != name else ""
    return f"{name}={header[name]!r}{known_as}"


def _read_plan(path: Path) -> dict[str, Any]:
    """Read a plan, which names header, order and batches."""
    try:
        plan = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: the plan cannot be read: {error}") from error
    if not isinstance(plan, dict) or not {"header", "order", "batches"} <= plan.keys():
        raise ValueError(f"{path}: the plan is damaged; remove its folder to begin anew")
    return plan


def _keys(table: pa.Table) -> list[Key]:
    return list(zip(table["question_id"].to_pylist(), table["sample"].to_pylist(), strict=True))


def _digest(asked: Mapping[Key, Asked]) -> str:
    content = json.dumps([(key, asdict(one)) for key, one in asked.items()])
    return hashlib.sha256(content.encode()).hexdigest()


def _without_empty(table: pa.Table) -> pa.Table:
    """Null the readings of which no run has one: then nobody takes them for recorded."""
    for name in ("margin", "end_probability"):
        values = table[name].combine_chunks().flatten()
        if not pc.any(pc.is_finite(values)).as_py():
            column = pa.nulls(len(table), table.schema.field(name).type)
            table = table.set_column(table.column_names.index(name), name, column)
    return table


def _known(row: Any) -> bool:
    """Whether a run's readings, a number or a list of numbers a token, hold any."""
    numbers = row.values
    if numbers is not None and pa.types.is_list(numbers.type):
        numbers = numbers.flatten()
    return numbers is not None and bool(pc.any(pc.is_finite(numbers)).as_py())


def _told(header: Header, table: pa.Table) -> Header:
    """Complete a header by what the runs show."""
    silent = [not tokens for tokens in table["tokens"].to_pylist()]
    holds: set[Need] = {
        need
        for need in _READINGS
        if not all(silent)
        and all(empty or _known(row) for empty, row in zip(silent, table[need], strict=True))
    }
    if any(table["probes"].to_pylist()):
        holds.add("probes")
    if header.samples > 1:
        holds.add("samples")
    tags = header.reasoning_tags
    if tags is None and any(
        "".join(tokens).lstrip().startswith(THINKING[0]) for tokens in table["tokens"].to_pylist()
    ):
        tags = THINKING
    return replace(header, holds=frozenset(holds), reasoning_tags=tags)
