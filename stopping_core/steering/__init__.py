"""Which certified level a request gets: by user, load and feedback, and by what it has lost."""

from stopping_core.steering.bandit import LevelBandit
from stopping_core.steering.duel import Duel
from stopping_core.steering.losses import GoldLoss, JudgedLoss
from stopping_core.steering.pacer import Objective, Pacer, Smoothed
from stopping_core.steering.pilot import Pilot
from stopping_core.steering.releases import Release, Releases
from stopping_core.steering.satisfaction import Satisfaction
from stopping_core.steering.tickets import Tickets

__all__ = [
    "Duel",
    "GoldLoss",
    "JudgedLoss",
    "LevelBandit",
    "Objective",
    "Pacer",
    "Pilot",
    "Release",
    "Releases",
    "Satisfaction",
    "Smoothed",
    "Tickets",
]
