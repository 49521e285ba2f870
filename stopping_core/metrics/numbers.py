"""Grades by the last number of an answer, for arithmetic."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

from stopping_core.metrics.cuts import settled_length

_LONGEST = 40  # characters of one number; a longer run of digits is a loop
_REACH = 2 * _LONGEST  # a number that was begun before is too long in any case
_DIGITS = r"(?:\d{1,3}(?:,\d{3})++(?!\d)(?:\.\d++)?|\d++(?:\.\d++)?|(?<!\.)\.\d++)"
_NUMBER = re.compile(
    rf"""
    (?<!\w)                                            # not inside a word or another number
    (?P<sign>(?<![)\]}}%])[-−])?                       # after an operand it is a minus
    (?:\\?[$€£][ ]?(?P<inner>[-−])?)?
    (?: (?P<whole>\d++)[ ](?P<above>\d++)/(?P<below>\d++)
      | (?P<over>{_DIGITS})/(?P<under>{_DIGITS})
      | \\[dt]?frac\{{(?P<top>\d++)\}}\{{(?P<bottom>\d++)\}}
      | (?P<plain>{_DIGITS})
    )
    """,
    re.VERBOSE | re.ASCII,
)


def last_number(text: str, gold: Sequence[str], *, open_end: bool = False) -> bool:
    r"""Whether the last number of the answer equals a gold number.

    Numbers are read as English writes them, and compared as numbers: ``1,600.0`` is ``$1600``. A
    fraction is a number (``3/4``, ``1 1/2``, ``\frac{3}{4}``), a percent sign is not read: 50% is
    50. A minus counts where no operand stands before it: ``7-5`` ends in 5.

    Args:
        text: The answer.
        gold: The gold numbers.
        open_end: Whether the text was cut inside its last word: then a number there equals nothing.

    Raises:
        ValueError: A gold answer holds no number.

    References:
        Cobbe et al. (2021), Training Verifiers to Solve Math Word Problems, for answers that end
        in their number. arXiv:2110.14168. Kojima et al. (2022), Large Language Models are Zero-Shot
        Reasoners, read the first number after "the answer is". arXiv:2205.11916.

    Examples:
        >>> last_number("16 - 8 = 8 eggs, so she makes $1,600.00.", ["1600"])
        True
    """
    wanted = [_gold_number(one) for one in gold]
    found = _find_last(text)
    if found is None or (open_end and found.end() > settled_length(text)):
        return False
    return _value(found) in wanted


def _find_last(text: str) -> re.Match[str] | None:
    """Search from a little before the last digit to the brace that may follow it."""
    end = max(text.rfind(digit) for digit in string.digits)
    found = list(_NUMBER.finditer(text, max(0, end - _REACH), end + 2))
    return found[-1] if found else None


def _value(found: re.Match[str]) -> Fraction | None:
    """Compute the number; None where it is too long, or divides by zero."""
    if len(found[0]) > _LONGEST:
        return None
    part = {name: text.replace(",", "") for name, text in found.groupdict("").items()}
    if part["plain"]:
        value = Fraction(part["plain"])
    else:
        below = Fraction(part["below"] or part["under"] or part["bottom"])
        if not below:
            return None
        value = Fraction(part["above"] or part["over"] or part["top"]) / below
        value += Fraction(part["whole"] or 0)
    return -value if part["sign"] or part["inner"] else value


@lru_cache(maxsize=4096)
def _gold_number(gold: str) -> Fraction:
    found = _find_last(gold)
    value = None if found is None else _value(found)
    if value is None:
        raise ValueError(f"gold must hold a number, got {gold!r}")
    return value
