"""Several generations for one question: samples, beams, rounds, under one budget."""

from stopping_core.hybrids.decided_vote import DecidedVote
from stopping_core.hybrids.polling import Decided, Poll, apoll, poll, vote_of
from stopping_core.hybrids.purse import Purse, Spent
from stopping_core.hybrids.rounds import Ending, Rounds, RoundState

__all__ = [
    "Decided",
    "DecidedVote",
    "Ending",
    "Poll",
    "Purse",
    "RoundState",
    "Rounds",
    "Spent",
    "apoll",
    "poll",
    "vote_of",
]
