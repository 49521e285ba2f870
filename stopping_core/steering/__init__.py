"""Which certified level a request gets: by user, load and feedback, and by what it has lost."""

from stopping_core.steering.bandit import LevelBandit
from stopping_core.steering.catalogue import Catalogue, Entry
from stopping_core.steering.duel import Comparison, Duel
from stopping_core.steering.losses import GoldLoss, JudgedLoss
from stopping_core.steering.pacer import Objective, Pacer, Smoothed
from stopping_core.steering.pilot import Pilot
from stopping_core.steering.recorder import RunRecorder
from stopping_core.steering.releases import Release, Releases
from stopping_core.steering.satisfaction import Satisfaction
from stopping_core.steering.savings import Savings
from stopping_core.steering.tickets import Tickets

__all__ = [
    "Catalogue",
    "Comparison",
    "Duel",
    "Entry",
    "GoldLoss",
    "JudgedLoss",
    "LevelBandit",
    "Objective",
    "Pacer",
    "Pilot",
    "Release",
    "Releases",
    "RunRecorder",
    "Satisfaction",
    "Savings",
    "Smoothed",
    "Tickets",
]
