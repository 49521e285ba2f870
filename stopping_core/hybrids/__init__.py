"""Several generations for one question: samples, beams, rounds, under one budget."""

from stopping_core.hybrids.best_of import BestOf
from stopping_core.hybrids.decided_vote import DecidedVote
from stopping_core.hybrids.polling import Decided, Poll, apoll, poll, vote_of
from stopping_core.hybrids.purse import Purse, Spent
from stopping_core.hybrids.rounds import Ending, Rounds, RoundState
from stopping_core.hybrids.scoring import Scored, Scorer, Scoring, check_scorer
from stopping_core.hybrids.vote_certificate import VoteCertificate, VoteLevel

__all__ = [
    "BestOf",
    "Decided",
    "DecidedVote",
    "Ending",
    "Poll",
    "Purse",
    "RoundState",
    "Rounds",
    "Scored",
    "Scorer",
    "Scoring",
    "Spent",
    "VoteCertificate",
    "VoteLevel",
    "apoll",
    "check_scorer",
    "poll",
    "vote_of",
]
