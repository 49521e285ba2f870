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
from stopping_core.traces.plan import part_file, parts_of, plan_file, read_plan
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

    def compare(self, path: Path, name: str, row: Asked) -> None:
        """Refuse a row of a file, on the question of that id, that says otherwise."""
        where = f"{path}: the question {name!r}"
        hint = ""
        if name.isdecimal():
            hint = ": where ids are the numbers of the lines, give the questions ids of their own"
        for field in fields(self):
            now, was = getattr(self, field.name), getattr(row, field.name)
            if now != was:
                raise ValueError(
                    f"{where} was recorded with another {field.name}: {reprlib.repr(was)}, asked "
                    f"for is {reprlib.repr(now)}{hint}"
                )


class Journal:
    """Collects the runs of a trace file batch by batch; use it in a ``with`` block.

    Each batch is a part file, written under another name, brought to the disk and then renamed, in
    a folder ``FILE.parts`` beside the plan that says what belongs to which batch. So whatever kills
    the process, and whenever: a run is whole or it is not there, and none is there twice. The same
    batches are made again after a kill, so that the file equals that of an undisturbed recording.
    :meth:`finish` puts the parts behind what the file held before, in the order of the questions.

    On entering the file is locked, and what is there is read: so a file that cannot be recorded to
    is refused before a model is loaded or a call is paid for.

    Args:
        path: The trace file. Where it exists, it is extended by what it lacks.

    Raises:
        ValueError: On entering: the file's folder cannot be made or written, the file is no trace
            file or its plan is damaged, or another process is recording it.
        OSError: On entering: the file cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._header: Header
        self._parts = parts_of(self.path)
        self._lock = filelock.FileLock(self.path.with_name(f".{self.path.name}.lock"))
        self._recorded: pa.Table | None = None
        self._before: dict[Path, Header] = {}
        self._plan: dict[str, Any] = {}

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise ValueError(f"{self.path}: another process is recording this file") from error
        except OSError as error:
            raise ValueError(f"{self.path}: its folder cannot be written: {error}") from error
        try:
            if self.path.exists():
                self._recorded, self._before[self.path] = load_table(self.path)
            if plan := read_plan(self._parts):
                self._plan = plan
                self._before[self._parts] = header_of(plan_file(self._parts), plan["header"])
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
        header: Header,
        asked: Mapping[Key, Asked],
        batched: Callable[[list[Key]], Sequence[Sequence[Key]]],
    ) -> dict[int, list[Key]]:
        """Plan what is to be done, or take up the plan that there is.

        Args:
            header: What all runs have in common. ``holds``, and ``reasoning_tags`` where they are
                None, are told from the runs at the end; ``asked_reasoning_tags`` are those given
                here.
            asked: All runs that the file is to hold, in order.
            batched: Shares out runs into batches. Only asked where there is no plan yet.

        Returns:
            The batches without a part, by their numbers.

        Raises:
            ValueError: The file or its parts are of another model, template or setting, which the
                message names; a question of the file reads otherwise now, or the unfinished plan is
                about other questions.
        """
        self._header = replace(header, asked_reasoning_tags=header.reasoning_tags)
        for where, before in self._before.items():
            _compare(where, plain_header(before), plain_header(self._header))
        recorded = self._rows()
        if set(map(tuple, self._plan.get("order", ()))) <= recorded.keys():
            self._clear()  # left by a kill between the last rename and the removal
        for key, row in recorded.items():
            if key in asked:
                asked[key].compare(self.path, key[0], row)
        digest = _digest(asked)
        if not self._plan:
            missing = [key for key in asked if key not in recorded]
            if not missing:
                return {}
            self._plan = {
                "header": plain_header(self._header),
                "questions": digest,
                "order": missing,
                "batches": [list(batch) for batch in batched(missing)],
            }
            plan = json.dumps(self._plan).encode()
            self._parts.mkdir(exist_ok=True)
            replace_file(plan_file(self._parts), lambda stream: stream.write(plan))
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
            if not part_file(self._parts, number).exists() and not set(batch) <= recorded.keys()
        }

    def add(self, number: int, runs: Sequence[Run]) -> None:
        """Keep the runs of a batch; when this returns they are on the disk."""
        part = part_file(self._parts, number)
        save_table(part, to_table(part, runs, self._header))

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
                if (part := part_file(self._parts, number)).exists()
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
            save_table(self.path, with_header(whole, _told(self._header, whole)))
        self._clear()
        return len(whole)

    def _clear(self) -> None:
        """Remove what is done with, or useless: the plan last, as it tells what the parts are."""
        self._plan = {}
        for file in self._parts.glob("*.parquet"):
            file.unlink()
        plan_file(self._parts).unlink(missing_ok=True)

    def _leave(self) -> None:
        """Unlock; without a plan nothing of the folder is of use."""
        if not plan_file(self._parts).exists():
            shutil.rmtree(self._parts, ignore_errors=True)
        # Whoever opens the file from here on locks a new one, and a lock on this one is refused.
        with contextlib.suppress(PermissionError):  # Windows removes it on release
            Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()

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


def _compare(where: Path, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to mix what was recorded under one header with what is asked under another."""
    for name in was:
        if name not in _TOLD and was[name] != now[name]:
            raise ValueError(
                f"{where}: was recorded with {_said(was, name)}, asked for is {_said(now, name)}"
                f"{_apart(was, now, name)}: a file holds one model under one template and setting"
            )


def _apart(was: Mapping[str, Any], now: Mapping[str, Any], name: str) -> str:
    """What tells two things of one name apart."""
    whose = name.removesuffix("_fingerprint")
    if whose == name or was[whose] != now[whose]:
        return ""
    if whose == "template":
        return ", other words under the same name"
    kinds = ["local weights" if one["threads"] else "an endpoint" for one in (was, now)]
    if kinds[0] != kinds[1]:
        return f", {kinds[0]} then and {kinds[1]} now"
    return ", other weights, tokenizer or settings under the same name"


def _said(header: Mapping[str, Any], name: str) -> str:
    """A header's value, and what people call it."""
    whose = name.removesuffix("_fingerprint")
    known_as = f" ({header[whose]})" if whose != name else ""
    return f"{name}={header[name]!r}{known_as}"


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
