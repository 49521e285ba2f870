"""Which policies compete, and at which settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stopping_core.cli.bench.imported import imported
from stopping_core.hybrids import DecidedVote
from stopping_core.policies import Policy
from stopping_core.policies.baselines import BASELINES
from stopping_core.policies.learned import LearnedStopping
from stopping_core.policies.learned.loss_model import TIERS
from stopping_core.profiles import PROFILES
from stopping_core.protocols import CompletenessCheck
from stopping_core.stopping import AdaptiveStopping
from stopping_core.types import Channel

YOURS = "yours"
"""The tier of policies that the user names."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A policy with the settings that a sweep tries.

    Args:
        policy: What tables call it.
        tier: The evidence it lives on.
        settings: The objects to try, policies or rules of another kind; none where the rule needs
            something that only its caller can give.
        default: The one that its authors give; None where there is none.
        check: Asked before a cut that is not forced, as a session does.
        name: What tables call the setting, where there is only one and it is better named.
    """

    policy: str
    tier: str
    settings: tuple[Any, ...]
    default: Any = None
    check: CompletenessCheck | None = None
    name: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """What tables call each setting: how it prints itself, on one line."""
        shown = (self.name or " ".join(repr(setting).split()) for setting in self.settings)
        return tuple(shown)


def candidates(channel: Channel, named: Sequence[str] = ()) -> list[Candidate]:
    """Name everything that competes on a channel: baselines, the learned rule, profiles, yours.

    Args:
        channel: Where the policies act: a profile has one rule for each.
        named: Import paths of the user's policies, ``module:attribute``.

    Raises:
        ValueError: An import path leads to no policy.
    """
    return [
        *(_swept(baseline, baseline.title, baseline.tier) for baseline in BASELINES),
        _swept(DecidedVote, f"{DecidedVote.title} (this library)", DecidedVote.tier),
        *_learned(channel),
        *(_profile(name, channel) for name in PROFILES),
        *(_named(path) for path in named),
    ]


def find(name: str, channel: Channel) -> Candidate:
    """Find one policy by a profile's name, a baseline's class name, or an import path.

    Raises:
        ValueError: There is no such policy, or it needs settings.
    """
    if name in PROFILES:
        return _profile(name, channel)
    if ":" in name:
        return _yours(name)
    for baseline in BASELINES:
        if baseline.__name__ == name:
            return _swept(baseline, baseline.title, baseline.tier)
    known = ", ".join([*PROFILES, *sorted(baseline.__name__ for baseline in BASELINES)])
    raise ValueError(f"policy must be module:attribute or one of {known}; got {name!r}")


def _swept(kind: Any, title: str, tier: str) -> Candidate:
    settings = tuple(kind.grid())
    return Candidate(title, tier, settings, next(iter(settings), None))


def _learned(channel: Channel) -> list[Candidate]:
    """The rule that this library learns, for each of the tiers that it has on a channel."""
    tiers = TIERS[channel]
    grids = [LearnedStopping.grid(tier, channel) for tier in tiers]
    title = LearnedStopping.title
    return [
        Candidate(title if len(tiers) == 1 else f"{title}, {tier}", tier, settings)
        for tier, settings in zip(tiers, grids, strict=True)
    ]


def _profile(name: str, channel: Channel) -> Candidate:
    stopping = AdaptiveStopping.from_profile(name)
    rule = stopping.policy
    check: CompletenessCheck | None = stopping.completeness
    if channel == "reasoning":
        rule, check = stopping.reasoning, None
    return Candidate(f"profile {name}", "text", (rule,), rule, check, name)


def _named(path: str) -> Candidate:
    """Import what competes beside those that always do."""
    if path in PROFILES or path in {baseline.__name__ for baseline in BASELINES}:
        raise ValueError(
            f"policy must be one of yours, module:attribute, got {path!r}: profiles and published "
            "rules are always compared"
        )
    return _yours(path)


def _yours(path: str) -> Candidate:
    """Import a policy, a class of policies, or a sequence of settings of one."""
    found = imported(path, "policy")
    if isinstance(found, type) and issubclass(found, Policy):
        found = tuple(found.grid()) if hasattr(found, "grid") else _made(found, path)
    settings = tuple(found) if isinstance(found, list | tuple) else (found,)
    if not settings or not all(isinstance(one, Policy) for one in settings):
        raise ValueError(
            f"policy must name a Policy, a Policy class or a list of Policies, "
            f"got {path!r}: {found!r}"
        )
    return Candidate(path.partition(":")[2], YOURS, settings, settings[0])


def _made(kind: type[Policy], path: str) -> Policy:
    try:
        return kind()
    except TypeError as error:
        raise ValueError(f"policy must be a class with defaults, got {path!r}: {error}") from error
