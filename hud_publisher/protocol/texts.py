"""Makes text of foreign origin safe for a log line or a terminal.

Session names, a server's error details and Redis' error replies come from other machines. They may contain newlines,
which forge log lines, escape sequences, which control a terminal, or characters that reverse the reading direction.
"""

from __future__ import annotations


def without_arguments(text: str) -> str:
    """Return an error reply of Redis without the arguments that it repeats.

    A server that does not know AUTH answers "unknown command 'AUTH', with args beginning with: " and the password.
    """
    return text.partition(", with args beginning with")[0]


def one_line(text: str, most: int = 400) -> str:
    r"""Return the text with every character that is not printable escaped, such as `\n` or `\x1b`, cut to `most`.

    Printable is defined by `str.isprintable`: control and format characters, line separators and lone surrogates are
    not.
    """
    cut = text[:most]
    if cut.isprintable():
        return cut
    escaped = (char if char.isprintable() else ascii(char)[1:-1] for char in cut)
    return "".join(escaped)[:most]


def text(value: object) -> str:
    """Return a part of a reply of Redis as text, from bytes, text or a number."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
