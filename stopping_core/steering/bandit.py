"""Which certified level to use: Thompson sampling over what users say and what tokens cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stopping_core.steering.satisfaction import Satisfaction
from stopping_core.steering.savings import Savings


class LevelBandit:
    """Chooses among certified levels by a sample of their worth.

    The worth of a level is the satisfaction of the user at it plus what is saved:

        worth(level) = satisfaction(level) + token_worth * price * saving(level)

    Satisfaction is drawn from its distribution for this user, so that a level is tried as often as
    it may be the best one (Thompson sampling). The saving is the certificate's own figure until
    requests have shown what it is in fact. Not to cut is a level like the others, with no saving.

    Nothing that is not offered can be chosen, whatever was learned.

    Args:
        satisfaction: What users said.
        token_worth: How much satisfaction a saving of all tokens is worth at a price of 1, >= 0:
            with 0.5, saving a fifth of the tokens makes up for one bad answer in ten.
        seed: Of the draws.
        savings: What levels have saved; None for nothing yet.

    Raises:
        ValueError: ``token_worth`` is no number >= 0.

    References:
        Russo, Van Roy, Kazerouni, Osband and Wen (2018), A Tutorial on Thompson Sampling,
        sections 3 and 4. arXiv:1707.02038.
    """

    def __init__(
        self,
        satisfaction: Satisfaction,
        token_worth: float = 0.5,
        seed: int | None = None,
        *,
        savings: Savings | None = None,
    ) -> None:
        if not (np.isfinite(token_worth) and token_worth >= 0):
            raise ValueError(f"token_worth must be >= 0, got {token_worth}")
        self.satisfaction = satisfaction
        self.savings = savings if savings is not None else Savings()
        self.token_worth = token_worth
        self._rng = np.random.default_rng(seed)

    def choose(
        self,
        offered: Sequence[tuple[float | None, float]],
        *,
        price: float = 1.0,
        tenant: str = "",
        user: str = "",
    ) -> float | None:
        """Choose a level.

        Args:
            offered: Risk and certified saving of each level that may be used, at least one; a risk
                of None is not to cut.
            price: Of a token, as of :class:`~stopping_core.steering.Pacer`.
            tenant: Who asks, ``""`` where unknown.
            user: Likewise.

        Raises:
            ValueError: Nothing is offered.
        """
        if not offered:
            raise ValueError(f"offered must hold at least one level, got {offered!r}")
        worth = [
            self._rng.beta(*self.satisfaction.posterior(name_of(risk), tenant=tenant, user=user))
            + self.token_worth * price * self._saving(risk, saving, tenant)
            for risk, saving in offered
        ]
        return offered[int(np.argmax(worth))][0]

    def _saving(self, risk: float | None, certified: float, tenant: str) -> float:
        if risk is None:
            return certified
        return self.savings.share(name_of(risk), certified, tenant=tenant)


def name_of(risk: float | None) -> str:
    """The name of a level among what is known of users."""
    return "none" if risk is None else f"{risk:g}"
