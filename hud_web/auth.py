"""Bearer tokens (RFC 6750, Authorization header only), compared in constant time.

Two tokens in a setting make a rotation without a gap. Called by the endpoints that write and by the viewing check.
"""

from __future__ import annotations

import hmac

from starlette.requests import Request

from hud_publisher.protocol.errors import UnauthorizedError


def require_token(request: Request, tokens: tuple[str, ...], *, always: bool = False) -> None:
    """Return if the request may write.

    Args:
        request: whose Authorization header is read.
        tokens: those that are accepted; with none set everybody may, unless `always`.
        always: for what needs a token even where writing needs none (takeover).

    Raises:
        UnauthorizedError: no token or a wrong one.
    """
    if not tokens:
        if always:
            raise UnauthorizedError("expected a token, got a server without one: set HUD_TOKEN on the server first")
        return
    if not bears_token(request, tokens):
        raise UnauthorizedError(
            "expected 'Authorization: Bearer <token>' with the server's HUD_TOKEN, got something else"
        )


def bears_token(request: Request, tokens: tuple[str, ...]) -> bool:
    """Return whether the Authorization header holds one of these tokens."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    candidate = given.strip().encode("utf-8", "replace") if scheme.lower() == "bearer" else b""
    # Every token is compared, so the time does not tell which one nearly fits.
    matches = [hmac.compare_digest(candidate, token.encode("utf-8")) for token in tokens]
    return any(matches)
