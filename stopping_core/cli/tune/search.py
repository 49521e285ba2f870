"""The search itself: trials that are kept in a database, and go on where they were left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from stopping_core.cli.bench.scores import Point
from stopping_core.cli.tune.rounds import DIRECTIONS, POLICY, WHY, Measured, propose, tried
from stopping_core.cli.tune.trying import REFUSED, NoPolicy, in_a_line, made, why
from stopping_core.cli.tune.turn import Turn, shown, taken
from stopping_core.policies import Policy

if TYPE_CHECKING:
    from stopping_core.cli.tune.space import Space

NAME = "stopping tune"
"""Of the study in its database."""

SAMPLER = "TPE"
"""What proposes the settings."""

_STARTUP = 10  # trials that are drawn at random before anything is proposed
_HELD = "search"  # the study's attribute that says what it searches
_BEFORE = {"--batch": 1}  # what a search did that does not say so yet


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting that was tried.

    Args:
        number: Its number in the search.
        policy: How it prints itself, not fitted, on one line.
        params: What the space was given.
        lost: Points of the searched runs whose full answer is right and whose cut one is not.
        saving: Percent of their tokens, probes paid.
    """

    number: int
    policy: str
    params: Mapping[str, Any]
    lost: float
    saving: float


class Search:
    """Searches a space for what saves much and loses little, one trial after the other.

    Settings are proposed by TPE for several objectives, each parameter by the trials that have it.
    NSGA-II crosses over only parameters that all trials have, which in a space of different rules
    is the name of the rule and little else.

    Every trial has a sampler of its own, seeded by the seed and by how many trials were finished
    before. So a search that was interrupted goes on as if it had not been: it proposes what the
    undisturbed one would have, under numbers that the interrupted trials push up.

    Args:
        url: Of the database, as SQLAlchemy has it.
        held: What is searched, by the names of the arguments: a search of anything else is not
            gone on with.
        seed: Of the proposals.

    Raises:
        ValueError: On entering: the database cannot be used or holds another search, or another
            call is at work on it.
    """

    def __init__(self, url: str, held: Mapping[str, Any], seed: int) -> None:
        self._url = url
        self._held = dict(held)
        self._seed = seed
        self._turn = Turn(url)
        self._storage: RDBStorage
        self._study: optuna.Study

    def __enter__(self) -> Self:
        self._turn.take()
        try:
            with _usable(self._url, ImportError, RuntimeError):
                self._storage = _storage(self._url)
                self._study = optuna.create_study(
                    storage=self._storage,
                    study_name=NAME,
                    directions=list(DIRECTIONS),
                    load_if_exists=True,
                )
                self._check()
                self._turn.hold(self._study)
                for trial in self._study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
                    self._study.tell(trial.number, state=TrialState.FAIL)
        except BaseException:
            self._turn.end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._turn.end(self._study)
        self._storage.remove_session()
        self._storage.engine.dispose()

    def go_on(
        self,
        space: Space,
        measure: Callable[[Policy], Point],
        trials: int,
        seconds: float | None,
        done: Callable[[], None],
    ) -> None:
        """Try settings until so many are finished in all.

        A setting that cannot be tried is finished too.

        Args:
            space: Where they come from.
            measure: Says what a policy does to the searched runs.
            trials: In all, >= 1.
            seconds: After which no trial begins; None for no end.
            done: Called after each trial.

        Raises:
            ValueError: The space returns no policy, the database fails, or another call has ended
                the running trial.
        """
        began = time.monotonic()
        while (finished := self.finished) < trials:
            if seconds is not None and time.monotonic() - began >= seconds:
                return
            with _usable(self._url):
                self._turn.hold(self._study)
                self._study.sampler = _sampler(self._seed, finished)
                try:
                    self._try(self._study.ask(), space, measure)
                except UpdateFinishedTrialError as error:
                    raise ValueError(f"{taken(self._url)}: it ended the running trial") from error
            done()

    def go_on_in_rounds(
        self,
        space: Space,
        measured: Measured,
        batch: int,
        trials: int,
        seconds: float | None,
        done: Callable[[], None],
    ) -> None:
        """Likewise, so many settings at a time: each is proposed by the rounds before its own.

        A round that was broken off goes on with what is left of it. With one setting a round, all
        is as without.

        Args:
            space: Where they come from.
            measured: Says what policies do to the searched runs.
            batch: Settings a round, >= 1.
            trials: In all, >= 1.
            seconds: After which no round begins; None for no end.
            done: Called after each trial.

        Raises:
            ValueError: The space returns no policy, the database fails, or another call is at work.
            ConnectionError: Those who measure are lost.
        """
        began = time.monotonic()
        while (finished := self.finished) < trials:
            if seconds is not None and time.monotonic() - began >= seconds:
                return
            with _usable(self._url):
                self._turn.hold(self._study)
                first = finished // batch * batch
                known = self._trials(TrialState.COMPLETE, TrialState.PRUNED)[:first]
                numbers = range(finished, min(first + batch, trials))
                proposed = propose(known, numbers, partial(_sampler, self._seed), space)
                for trial in tried(proposed, measured):
                    self._turn.hold(self._study)
                    self._study.add_trial(trial)
                    done()

    @property
    def finished(self) -> int:
        """How many trials are finished, those that could not be tried included."""
        return len(self._trials(TrialState.COMPLETE, TrialState.PRUNED))

    @property
    def interrupted(self) -> int:
        """How many trials were broken off."""
        return len(self._trials(TrialState.FAIL))

    @property
    def refused(self) -> tuple[str, ...]:
        """Why each trial that could not be tried could not."""
        pruned = self._trials(TrialState.PRUNED)
        return tuple(str(trial.user_attrs.get(WHY, "")) for trial in pruned)

    @property
    def tried(self) -> tuple[Trial, ...]:
        """The settings that were tried, in order."""
        return tuple(
            Trial(one.number, str(one.user_attrs[POLICY]), one.params, *one.values)
            for one in self._trials(TrialState.COMPLETE)
        )

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        with _usable(self._url):
            return self._study.get_trials(deepcopy=False, states=states)

    def _try(self, trial: optuna.Trial, space: Space, measure: Callable[[Policy], Point]) -> None:
        try:
            policy = made(space, trial)
            point = measure(policy)
        except NoPolicy:
            raise
        except REFUSED as error:
            trial.set_user_attr(WHY, why(error))
            self._study.tell(trial, state=TrialState.PRUNED)
            return
        trial.set_user_attr(POLICY, in_a_line(policy))
        self._study.tell(trial, [point.lost, point.saving])

    def _check(self) -> None:
        """Refuse another search; a new one is given what it searches.

        Raises:
            ValueError: Names the argument, its value then and now.
        """
        known = self._study.user_attrs.get(_HELD)
        if known is None and not self._study.get_trials(deepcopy=False):
            self._study.set_user_attr(_HELD, self._held)
            return
        for name, value in self._held.items():
            held = (known or {}).get(name, _BEFORE.get(name))
            if held != value:
                raise ValueError(
                    f"{name} must be {held!r}, as in the search that {shown(self._url)} holds, got "
                    f"{value!r}: give another --out for another search"
                )


def address(path: Path) -> str:
    """The address of a database in a file."""
    return sqlalchemy.URL.create("sqlite", database=str(path)).render_as_string()


def _storage(url: str) -> RDBStorage:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return RDBStorage(url)


def _sampler(seed: int, finished: int) -> TPESampler:
    """What proposes the next settings, given how many trials are finished."""
    own = int(np.random.SeedSequence((seed, finished)).generate_state(1)[0])
    return TPESampler(n_startup_trials=_STARTUP, constant_liar=False, seed=own)


@contextmanager
def _usable(url: str, *more: type[Exception]) -> Iterator[None]:
    """Tell a database that fails from all else.

    Raises:
        ValueError: It cannot be used.
    """
    failures: tuple[type[Exception], ...]
    failures = (sqlalchemy.exc.SQLAlchemyError, StorageInternalError, *more)
    try:
        yield
    except failures as error:
        why = str(error.__cause__ or error).partition("\n")[0]
        raise ValueError(
            f"--storage must be a database that can be used, got {shown(url)}: {why}"
        ) from error
