"""Bearer tokens (RFC 6750, Authorization header only), compared in constant time.

Two tokens in a setting allow a rotation without a gap. Called by the endpoints that write and by the viewing check.
"""

from __future__ import annotations

import hmac

from starlette.requests import Request

from hud_publisher.protocol.errors import UnauthorizedError

#: The methods that change nothing in this server.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def require_token(request: Request, tokens: tuple[str, ...], *, always: bool = False) -> None:
    """Return if the request may write.

    Args:
        request: the request with the Authorization header.
        tokens: the accepted ones; if none is set, every request may write, unless `always`.
        always: for actions that need a token even if writing needs none (takeover).

    Raises:
        UnauthorizedError: no token or a wrong one.
    """
    if not tokens:
        if always:
            raise UnauthorizedError("this needs a token, and the server has none: set HUD_TOKEN on the server first")
        return
    if not bears_token(request, tokens):
        raise UnauthorizedError("the request lacks the server's HUD_TOKEN: send it as 'Authorization: Bearer <token>'")


def bears_token(request: Request, tokens: tuple[str, ...]) -> bool:
    """Return whether the Authorization header holds one of these tokens."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    candidate = given.strip().encode("utf-8", "replace") if scheme.lower() == "bearer" else b""
    # Every token is compared, so the time does not reveal which one nearly matches.
    matches = [hmac.compare_digest(candidate, token.encode("utf-8")) for token in tokens]
    return any(matches)
