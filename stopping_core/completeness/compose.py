"""Several checks as one."""

from __future__ import annotations

from dataclasses import dataclass

from stopping_core.protocols import CompletenessCheck
from stopping_core.results import Draft, Verdict
from stopping_core.types import Request


@dataclass(frozen=True, slots=True)
class _Parts:
    """Checks in the order in which they are asked, the slow ones last."""

    checks: tuple[CompletenessCheck, ...]

    def __post_init__(self) -> None:
        if not self.checks:
            raise ValueError("checks must be one or more, got none")
        for check in self.checks:
            if not callable(check):
                raise ValueError(f"checks must be callable, got {check!r}")
        object.__setattr__(self, "checks", tuple(sorted(self.checks, key=_is_slow)))

    @property
    def slow(self) -> bool:
        """Whether one of the checks takes long."""
        return any(map(_is_slow, self.checks))


@dataclass(frozen=True, slots=True)
class _AllOf(_Parts):
    """Complete where every check says so."""

    @property
    def fast(self) -> CompletenessCheck | None:
        """The checks that take no time, which can already be asked before a cut."""
        quick = tuple(check for check in self.checks if not _is_slow(check))
        return _AllOf(quick) if quick else None

    def __call__(self, request: Request, draft: Draft, /) -> Verdict:
        failed: list[str] = []
        passed: list[str] = []
        for check in self.checks:
            if failed and _is_slow(check):
                break
            verdict = check(request, draft)
            (passed if verdict.complete else failed).append(verdict.reason)
        return Verdict(not failed, _join(failed or passed))


@dataclass(frozen=True, slots=True)
class _AnyOf(_Parts):
    """Complete where one check says so."""

    def __call__(self, request: Request, draft: Draft, /) -> Verdict:
        failed: list[str] = []
        for check in self.checks:
            verdict = check(request, draft)
            if verdict.complete:
                return verdict
            failed.append(verdict.reason)
        return Verdict(False, _join(failed))


def all_of(*checks: CompletenessCheck) -> CompletenessCheck:
    """Complete where every check says so; the reason names everything that is missing.

    Cheap checks come first, and slow ones are asked only where all cheap ones pass.

    Args:
        checks: One or more checks. The slow ones among them are asked after the stream has ended.

    Raises:
        ValueError: If there are none, or one cannot be called.

    Examples:
        >>> from stopping_core.completeness import AnswerPresent, ClosedFences
        >>> check = all_of(ClosedFences(), AnswerPresent())
        >>> check(Request(), Draft("```")).reason
        'code fence opened on line 1 is not closed; no final answer is stated'
    """
    return _AllOf(checks)


def any_of(*checks: CompletenessCheck) -> CompletenessCheck:
    """Complete where at least one check says so; the reason, else, joins all of theirs.

    Cheap checks come first, and the first that passes ends the asking.

    Args:
        checks: One or more checks. The whole is slow where one of them is.

    Raises:
        ValueError: If there are none, or one cannot be called.

    Examples:
        >>> from stopping_core.completeness import AnswerPresent, EndsSentence
        >>> any_of(EndsSentence(), AnswerPresent())(Request(), Draft("Answer: Paris")).complete
        True
    """
    return _AnyOf(checks)


def _is_slow(check: CompletenessCheck) -> bool:
    return bool(getattr(check, "slow", False))


def _join(reasons: list[str]) -> str:
    return "; ".join(dict.fromkeys(filter(None, reasons)))


def fast_part(check: CompletenessCheck | None) -> CompletenessCheck | None:
    """Return what is asked before a cut: of a slow check what is fast of it, None where nothing."""
    return getattr(check, "fast", None) if getattr(check, "slow", False) else check
