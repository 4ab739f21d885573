"""A target: one receiver of alerts, named by an Apprise URL, which is a secret.

No message, log line or repr shows any part of the URL: a target's name is its position and its service. Requests go to
the URL's receiver only, redirects are not followed. Called by `config`, `courier` and `hud alert test`.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import warnings
from dataclasses import dataclass, field

import apprise
from apprise.attachment.memory import AttachMemory

#: Bounds of a message's length, in characters: a short message of SMS, and more than anybody reads.
MIN_CHARS = 120
MAX_CHARS = 8_000

#: Times to connect and to wait for an answer, in seconds, if the URL has no `cto=` or `rto=`: a slow receiver that is
#: given up has the message nevertheless, and would get it again. Shorter than an attempt of the courier.
CONNECT_S, ANSWER_S = 5.0, 35.0

#: Without its own time limit, Apprise uses no thread: the courier limits the time, and learns of late answers.
_ASSET = apprise.AppriseAsset(
    app_id="HUD", app_desc="Live display for reinforcement learning", app_url="", image_url_mask=False,
    async_mode=False, interpret_escapes=False, interpret_emojis=False, http_redirects=False, storage_mode="memory",
    pgp_autogen=False, pem_autogen=False, service_timeout=0,
)  # fmt: skip
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]{0,30})://", re.IGNORECASE)
_STATUS = re.compile(r"error=(\d{3})\b|\b([45]\d\d) Client|\b([45]\d\d) Server")
#: A part of an exception's text → the failure and its fix.
_FAILURES = (
    ("timed out", "it did not answer in time: check that this machine reaches it"),
    ("resolve", "its host name cannot be resolved: correct the URL, or the name servers of this machine"),
    ("name or service", "its host name cannot be resolved: correct the URL, or the name servers of this machine"),
    ("refused", "it refused the connection: check the host and the port, and that the receiver runs"),
    ("certificate", "its TLS certificate is not trusted: install its authority, or add ?verify=no to the URL"),
    ("unreachable", "its network cannot be reached: check routes, proxies and network policies"),
    ("aborted", "it closed the connection without an answer: check the receiver"),
    ("reset", "it closed the connection without an answer: check the receiver"),
    ("authentication", "it refused the user or the password: correct the URL"),
)


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded picture that goes with a message."""

    data: bytes = field(repr=False)
    mime: str = "image/jpeg"


@dataclass(frozen=True, slots=True)
class Target:
    """One receiver.

    Attributes:
        id: names it in Redis: a digest that is slow to compute, since a URL may hold a short password.
        name: for people, such as "target 2 (Discord)".
        takes_pictures: whether the service supports attachments.
        most_chars: of a message's body; Apprise may add the title, and escape characters.
    """

    id: str
    name: str
    takes_pictures: bool
    most_chars: int
    _service: apprise.NotifyBase = field(repr=False)

    def send(self, title: str, body: str, picture: Picture | None = None, *, is_good: bool = False) -> str | None:
        """Send a message as plain text; blocks for as long as the receiver needs.

        Args:
            title: one line.
            body: plain text.
            picture: sent if the service supports attachments.
            is_good: whether it reports that all is well again.

        Returns:
            None if the receiver accepted it, else the failure and its fix, without any part of the URL.
        """
        attach = None
        if picture is not None and self.takes_pictures:
            name = f"frame.{picture.mime.rpartition('/')[2]}"
            attach = AttachMemory(picture.data, name, picture.mime)  # type: ignore[no-untyped-call]
        kind = apprise.NotifyType.SUCCESS if is_good else apprise.NotifyType.WARNING
        sender = apprise.Apprise(asset=_ASSET)
        sender.add(self._service)
        with _Reasons() as reasons:
            try:
                is_sent = sender.notify(body, title, kind, body_format=apprise.NotifyFormat.TEXT, attach=attach)
            except Exception as error:  # a plugin of Apprise may raise anything
                return reasons.explain(type(error).__name__)
        return None if is_sent else reasons.explain("")


def make_target(url: str, number: int) -> Target:
    """Return the target of an Apprise URL.

    Args:
        url: the URL, a secret.
        number: of the target, for its name.

    Raises:
        ValueError: Apprise does not know such a URL; the message has no part of it except its scheme.
    """
    service = None
    with _Reasons(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the first URL loads all plugins, with their use of old modules
        try:
            service = apprise.Apprise.instantiate(url, asset=_ASSET, suppress_exceptions=True)
        except Exception:  # a plugin of Apprise may raise anything
            service = None
    if not isinstance(service, apprise.NotifyBase):
        found = _SCHEME.match(url)
        shown = f" of the scheme {found[1].lower()}:// that it does not accept" if found else ""
        raise ValueError(
            f"expected a URL of Apprise, such as ntfys://HOST/TOPIC or jsons://HOST/PATH, got one{shown}: see "
            "https://appriseit.com/services/ and check that it is complete"
        )
    if "cto=" not in url:
        service.socket_connect_timeout = CONNECT_S
    if "rto=" not in url:
        service.socket_read_timeout = ANSWER_S
    digest = hashlib.pbkdf2_hmac("sha256", url.encode("utf-8", "replace"), b"target of HUD_ALERTS", 50_000, 6).hex()
    most_chars = max(MIN_CHARS, min(MAX_CHARS, service.body_maxlen * 3 // 4 - 150))
    name = f"target {number} ({service.service_name})"
    return Target(digest, name, bool(service.attachment_support), most_chars, service)


class _Reasons(logging.Handler):
    """Collects the log records of Apprise in this thread; nothing of them is logged, since they name URLs."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._thread = threading.get_ident()
        self._seen: list[str] = []

    def __enter__(self) -> _Reasons:
        _silence()
        logging.getLogger("apprise").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("apprise").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record that tells why a message failed."""
        told = isinstance(record.msg, str) and ("Exception" in record.msg or record.levelno >= logging.WARNING)
        if told and record.thread == self._thread and len(self._seen) < 50:
            self._seen.append(record.getMessage()[:2000])

    def explain(self, otherwise: str) -> str:
        """Return the failure and its fix, from a fixed list, so that no text of Apprise is shown."""
        for text in self._seen:
            if status := _STATUS.search(text):
                code = next(part for part in status.groups() if part)
                return f"it answered {code}{_fix_of(int(code))}"
        lower = "\n".join(self._seen).lower()
        for part, failure in _FAILURES:
            if part in lower:
                return failure
        error = f" ({otherwise})" if otherwise else ""
        return f"the message could not be sent{error}: try the URL with the command `apprise -vv`"


def _fix_of(status: int) -> str:
    if status in (401, 403):
        return ": correct the token or the password in its URL"
    if status in (404, 410):
        return ": the webhook or the topic does not exist, correct its URL"
    if status == 429:
        return ": it limits the rate of messages, and takes them later"
    if 300 <= status < 400:
        return ": it redirects, which is not followed, so name the final address in its URL"
    return ": check the receiver" if status >= 500 else ": correct its URL"


def _silence() -> None:
    """Keep URLs out of the log: Apprise names parts of them at every level, urllib3 the whole path at debug."""
    log = logging.getLogger("apprise")
    log.propagate = False
    log.setLevel(logging.DEBUG)
    if not log.handlers:
        log.addHandler(logging.NullHandler())
    for name in ("urllib3", "requests", "requests_oauthlib", "oauthlib"):
        logging.getLogger(name).setLevel(logging.WARNING)
