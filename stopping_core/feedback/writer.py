"""Writes outcomes off the hot path: to the spool at once, from there to the store in batches."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import tenacity

from stopping_core.errors import MissingPackage
from stopping_core.faults import unquoted
from stopping_core.feedback.lines import Record, from_line, to_line
from stopping_core.feedback.outcomes import Feedback, Outcome, outcome_of
from stopping_core.feedback.spool import Batch, Spool, SpoolFull, left_behind
from stopping_core.feedback.store import OutcomeStore
from stopping_core.results import Audit, Completion
from stopping_core.types import Request

try:
    from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError
except ModuleNotFoundError as error:
    raise MissingPackage(error.name or "sqlalchemy", "feedback") from error

_log = logging.getLogger(__name__)

_BATCH_BYTES = 4 * 2**20
_LONGEST_WAIT = 30.0  # seconds between two tries while the database is away
_LOOK_SECONDS = 60.0  # between two looks for spools that the dead left behind
_WARN_SECONDS = 60.0
_CLOSE_SECONDS = 10.0


class OutcomeWriter:
    """Records outcomes and feedback without making anybody wait; a hook as well.

    ``record`` appends one line to a spool file of this process and returns, after some tens of
    microseconds; so async code calls it as it is, and there is no async twin. What it has returned
    from survives a kill of the process, though not a failure of the power. One thread moves the
    lines to the store in batches. While the database is away the lines wait on the disk, and it
    tries again, forever. What a killed process left in the folder, the next writer that is opened
    there moves, or one that runs, within a minute. What is moved twice is stored once.

    Use it in a ``with`` block, or close it. A process that ends without does its best to. After a
    fork the child has a spool and a thread of its own, from its first record on.

    Args:
        store: Where it all goes. It is left open.
        spool: Folder of the spools, on a local disk. Processes that write to one store share it.
        make: Makes the outcome of a request that has ended, where the writer is a hook: called as
            ``make(request, completion, keep_texts=...)``. To say more about a request:
            ``functools.partial(outcome_of, template=..., price=...)``.
        loss: What a stop has lost of an audited request, in [0, 1], or None where that is not
            known: as of :class:`~stopping_core.steering.Pilot`. It is kept with the outcome.
        keep_texts: Whether prompts and answers are kept. They are taken off every outcome if not.
            Notes are kept anyway.
        max_spool_bytes: The most that may wait in this process's spool, >= 1.
        on_full: What to do beyond: ``raise`` SpoolFull, or ``drop``, count it in ``dropped`` and
            log a warning once a minute.
        batch: Records in one transaction, >= 1.
        linger: Seconds to wait for more before a batch is moved, >= 0.
        clock: Seconds, for the warnings.

    Attributes:
        dropped: Records that were dropped as the spool was full.

    Raises:
        ValueError: An argument is out of its interval.
        OSError: The folder cannot be made or written.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with OutcomeStore(f"sqlite:///{folder}/stopping.db") as store:
        ...         with OutcomeWriter(store, f"{folder}/spool") as writer:
        ...             writer.record(Outcome("17", tenant="acme"))
        ...         [one.tenant for one in store.outcomes()]
        ['acme']
    """

    def __init__(
        self,
        store: OutcomeStore,
        spool: str | Path = "stopping-spool",
        *,
        make: Callable[..., Outcome] = outcome_of,
        loss: Callable[[Request, Audit], float | None] | None = None,
        keep_texts: bool = False,
        max_spool_bytes: int = 256 * 2**20,
        on_full: Literal["raise", "drop"] = "raise",
        batch: int = 500,
        linger: float = 0.05,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value, least in (
            ("max_spool_bytes", max_spool_bytes, 1),
            ("batch", batch, 1),
            ("linger", linger, 0),
        ):
            if not value >= least:
                raise ValueError(f"{name} must be >= {least}, got {value}")
        if on_full not in ("raise", "drop"):
            raise ValueError(f"on_full must be raise or drop, got {on_full!r}")
        self.dropped = 0
        self._store = store
        self._folder = Path(spool).absolute()
        self._make = make
        self._loss = loss
        self._keep_texts = keep_texts
        self._max_bytes = max_spool_bytes
        self._on_full = on_full
        self._batch = batch
        self._linger = linger
        self._clock = clock
        self._warned: float | None = None
        self._closed = False
        self._spool: Spool | None
        self._thread: threading.Thread | None
        self._reset()
        self._mine()
        _writers.add(self)
        atexit.register(self.close)

    def __repr__(self) -> str:
        return f"OutcomeWriter({self._store!r}, {str(self._folder)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __call__(self, request: Request, completion: Completion, /) -> None:
        """Record what came of a request: ``AdaptiveStopping(hooks=(writer,))``."""
        graded = {} if self._loss is None else {"loss": self._graded(request, completion.audit)}
        self.record(self._make(request, completion, keep_texts=self._keep_texts, **graded))

    def _graded(self, request: Request, audit: Audit | None) -> float | None:
        """Grade an audit; None where that fails, as the outcome is to be kept all the same."""
        if self._loss is None or audit is None:
            return None
        try:
            loss = self._loss(request, audit)
            return loss if loss is not None and 0 <= loss <= 1 else None
        except Exception as error:
            _log.error("loss failed: %r: %s", self._loss, unquoted(error))
            return None

    def record(self, outcome: Outcome) -> None:
        """Record an outcome; when this returns, a kill does not lose it.

        Raises:
            SpoolFull: Too much waits for the database, and ``on_full`` is ``raise``.
            OSError: The disk is full, or failed.
            ValueError: The writer is closed.
        """
        if not self._keep_texts and not (outcome.prompt is None and outcome.text is None):
            outcome = replace(outcome, prompt=None, text=None)
        self._append(outcome)

    def give_feedback(self, feedback: Feedback) -> None:
        """Record feedback, as :meth:`record` does an outcome; it raises the same."""
        self._append(feedback)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until the store has what was recorded, and what had been left behind at the start.

        Args:
            timeout: Seconds, or None to wait forever.

        Returns:
            Whether it has all of it; False where the time ran out.
        """
        spool = self._spool
        if spool is None:
            return True
        target = spool.appended
        self._hurried.set()
        self._wake.set()
        try:
            with self._progress:
                return self._progress.wait_for(
                    lambda: self._adopted and self._moved >= target, timeout
                )
        finally:
            self._hurried.clear()

    def close(self, timeout: float = _CLOSE_SECONDS) -> None:
        """Flush and end; what the store does not have then waits in the spool, and is logged.

        Args:
            timeout: Seconds to wait for the store.
        """
        self._closed = True
        atexit.unregister(self.close)
        spool, thread = self._spool, self._thread
        if spool is None or thread is None:
            return
        done = self.flush(timeout)
        for event in (self._closing, self._hurried, self._wake):
            event.set()
        thread.join(1.0 if done else 0.1)
        spool.close()
        self._spool = self._thread = None
        if not done:
            left = spool.appended - self._moved
            _log.warning("%d records wait in %s for the next writer", left, self._folder)

    def _append(self, record: Record) -> None:
        line = to_line(record)
        try:
            (self._spool or self._mine()).append(line)
        except SpoolFull:
            if self._on_full == "raise":
                raise
            self._drop()
            return
        if not self._wake.is_set():
            self._wake.set()

    def _drop(self) -> None:
        with self._opening:
            self.dropped += 1
            now = self._clock()
            due = self._warned is None or now - self._warned >= _WARN_SECONDS
            if due:
                self._warned = now
        if due:
            _log.warning("the spool %s is full: %d records dropped", self._folder, self.dropped)

    def _mine(self) -> Spool:
        """Open a spool and start its thread, where this process has none."""
        with self._opening:
            if self._closed:
                raise ValueError("the writer is closed")
            if self._spool is None:
                spool = Spool(self._folder, self._max_bytes)
                self._thread = threading.Thread(
                    target=self._run, args=(spool,), name="stopping-outcomes", daemon=True
                )
                self._thread.start()
                self._spool = spool
            return self._spool

    def _reset(self) -> None:
        """Begin without spool and thread: newly made, or in the child of a fork."""
        self._opening = threading.Lock()
        self._progress = threading.Condition()
        self._wake, self._hurried = threading.Event(), threading.Event()
        self._closing = threading.Event()
        self._spool = self._thread = None
        self._moved = 0
        self._adopted = False
        self._away = tenacity.Retrying(
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=_LONGEST_WAIT),
            stop=tenacity.stop_when_event_set(self._closing),
            sleep=tenacity.sleep_using_event(self._closing),
            before_sleep=self._tell,
        )

    def _run(self, spool: Spool) -> None:
        """Move lines until the writer is closed. Nothing but that ends it."""
        look = 0.0
        while not self._closing.is_set():
            try:
                if time.monotonic() >= look:
                    look = time.monotonic() + _LOOK_SECONDS
                    self._adopt(spool)
                if not self._wake.wait(_LOOK_SECONDS):
                    continue
                self._wake.clear()
                if not self._hurried.is_set():
                    self._hurried.wait(self._linger)
                while batch := spool.first():
                    self._move(batch)
                    spool.remove(batch)
                    self._advance(batch.last)
            except tenacity.RetryError:  # closing; the lines stay where they are
                return
            except Exception as error:
                said = error if isinstance(error, OSError) else type(error).__name__
                _log.warning("the spool %s cannot be read: %s", self._folder, said)
                self._closing.wait(1.0)
                self._wake.set()

    def _adopt(self, spool: Spool) -> None:
        try:
            for batches in left_behind(self._folder, spool.name):
                for batch in batches:
                    self._move(batch)
        finally:
            self._adopted = True
            self._advance(self._moved)

    def _advance(self, moved: int) -> None:
        with self._progress:
            self._moved = moved
            self._progress.notify_all()

    def _move(self, batch: Batch) -> None:
        """Bring a file's lines to the store."""
        while lines := batch.lines(self._batch, _BATCH_BYTES):
            good: list[tuple[Record, bytes]] = []
            bad: list[bytes] = []
            for line in lines:
                time.sleep(0)  # so that whoever records need not wait for the interpreter
                try:
                    good.append((from_line(line), line))
                except ValueError:
                    bad.append(line)
            if bad:
                batch.set_aside(bad)
            if good:
                self._put(batch, good)
            batch.done()

    def _put(self, batch: Batch, good: Sequence[tuple[Record, bytes]]) -> None:
        """Store records; those that the database refuses, whenever it is asked, are set aside."""
        outcomes = [one for one, _ in good if isinstance(one, Outcome)]
        feedback = [one for one, _ in good if isinstance(one, Feedback)]
        if self._away(self._stored, outcomes, feedback):
            return
        if len(good) == 1:
            batch.set_aside([good[0][1]])
            return
        half = len(good) // 2
        self._put(batch, good[:half])
        self._put(batch, good[half:])

    def _stored(self, outcomes: list[Outcome], feedback: list[Feedback]) -> bool:
        """Store records; False where it is they that are refused, and not the database away."""
        try:
            self._store.add(outcomes, feedback)
        except (DataError, IntegrityError, OverflowError, UnicodeError):
            return False
        except StatementError as error:
            if isinstance(error, DBAPIError):
                raise
            return False
        return True

    def _tell(self, state: tenacity.RetryCallState) -> None:
        """Log a failed try; not its message, in which a driver may quote anything."""
        error = state.outcome.exception() if state.outcome else None
        cause = getattr(error, "orig", None) or error
        wait = state.next_action.sleep if state.next_action else 0.0
        _log.warning(
            "%r is away (%s); outcomes wait in %s, next try in %.1f s",
            self._store,
            type(cause).__name__,
            self._folder,
            wait,
        )


_writers: weakref.WeakSet[OutcomeWriter] = weakref.WeakSet()


def _in_child() -> None:
    """Leave the parent its spool and its thread."""
    for writer in list(_writers):
        spool = writer._spool
        writer._reset()
        if spool is not None:
            spool.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
