"""Text of servers, models and files, as a terminal may have it."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def as_text(text: object) -> str:
    r"""Show control characters in place of obeying them; line breaks and tabs stay.

    Examples:
        >>> as_text("\x1b[2J gone\n")
        '\\x1b[2J gone\n'
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", str(text))
