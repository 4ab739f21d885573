"""`Redactor`: replaces secrets in texts, trees and command lines before they leave the process.

It knows a secret by three signs. Its value: the environment variables of this process whose names are those of secrets,
the passwords in their URLs, and the values that the caller gives. Its name: `password=…`, `--token …`, a header, a
field of a mapping. Its shape: keys of known services, JWTs, PEM blocks, URLs with a password, long random strings.
Commit hashes, paths, names of runs and digests with their algorithm remain. Needs time linear in the text, reads at
most MAX_CHARS of it, and never raises. Called for all reports, configurations and command lines.
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote, urlsplit

#: Replaces a secret.
HIDDEN = "[redacted]"
#: Characters of one text that are read; the rest is cut off. The intake cuts texts at this length, too.
MAX_CHARS = 16_384
#: Levels of a tree; deeper values are replaced.
MAX_DEPTH = 16
#: Known values. More environment variables with such names are improbable.
MAX_VALUES = 256
#: A shorter value, such as "1" or "basic", occurs in many texts, and replacing it would destroy them.
LEAST_VALUE = 6
#: Values that are switches, also if the variable's name is that of a secret.
_SWITCHES = frozenset({
    "true", "false", "none", "null", "default", "disabled", "enabled", "required", "optional", "basic", "bearer",
    "default_value", "token", "password", "secret",
})  # fmt: skip

#: Variables of shells with the working directory, which is a part of most paths.
_FOLDERS = ("PWD", "OLDPWD")

# A name in snake case, with a `_` at both ends. Parts of words, such as in `dbpassword`, then whole words.
_SECRET_NAME = re.compile(
    r"passw(?:or)?d|passphrase|secret|credential|api_?key|private_?key|access_?key|auth_?key|signing_?key|account_?key"
    r"|(?:wandb|openai|anthropic|huggingface|comet|neptune|stripe|aws|azure|gcp|google|hub|hud)_?key|encryption_?key|master_?key|shared_?key|client_?key|service_?key|license_?key|ssh_?key|authori[sz]ation"
    r"|connection_?str|(?:access|auth|api|bearer|refresh|id|session|csrf|xsrf|bot|hub|hud|github|gitlab)_?token"
    r"|_(?:pwd|pass|creds?|auth|cookies?|jwt|dsn|bearer|webhook|webhook_url|session_?id|signature|sig|token|tokens)_$"
    r"|_(?:token|webhook|cookie)_|^_x_(?:amz|goog)_(?:signature|credential|security_token)_$"
)
#: Names of vocabulary tokens and of their counts, which are no secrets.
_TOKEN_OF_TEXT = re.compile(
    r"_(?:pad|eos|bos|unk|mask|sep|cls|special|image|stop|start|end|next|first|last|max|min|num|n|per|new|total|prompt"
    r"|completion|input|output|generated|reasoning|cached)_tokens?_|_tokens?_(?:ids?|types?|counts?|len|length|limit|per"
    r"|embeddings?|dim|budget|type|s)_|_tokens_per_|tokenizer"
)
#: Names of the place of a secret.
_PLACE = re.compile(r"_(?:file|path|dir|folder|name|type|class)_$")
#: Names of which only the end is telling: the value must look random, too.
_KEY_NAME = re.compile(r"_key_$")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

# -- pairs of a name and a value in a text ----------------------------------------------------------------------------

#: A header whose value is the rest of the line.
_HEADER = re.compile(
    r"(?i)(?<![\w-])((?:proxy-)?authorization|(?:set-)?cookie|x-api-key|x-auth-token)([\"']?\s?[:=]\s{0,2}[\"']?)"
    r"([^\r\n\"']{1,8192})"
)
#: A name and the separator after it; then the value: in quotes, in escaped quotes, or up to the next space.
_PAIR = re.compile(
    r"(?<![\w.\-])(-{0,2}(?:(?:[Aa][Pp][Ii]|[Aa]ccess|[Ss]ecret|[Pp]rivate) )?[A-Za-z_][\w.\-]{0,127})"
    r"(\\?[\"']?\]?\s{0,3}(?:=>|:=|==|=|:)\s{0,3}|[ \t]{1,3}|%3[dD])"
)
_VALUE = re.compile(
    r"[bBrRuUfF]{0,2}(?:\\[\"'](?P<escaped>[^\"'\\]{0,8192})|\"(?:[^\"\\]|\\.){0,8192}\"?|'(?:[^'\\]|\\.){0,8192}'?)"
    r"|(?:(?:[Bb]earer|[Bb]asic|[Tt]oken|[Dd]igest)[ \t]+)?[^\s\"'\\]{1,8192}"
)
_NO_SECRET = re.compile(
    r"(?i)[\"']?(?:none|null|true|false|nan|not|is|was|are|must|missing|invalid|required|str|string|bytes|int|\.{3}|…"
    r"|<[\w .]*>|\*+|\[redacted\]|\$\{?\w+\}?|-?\d{1,7}(?:\.\d*)?)?[\"']?[,;)\]}.]*"
)

# -- shapes -----------------------------------------------------------------------------------------------------------

_PEM = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r".*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)
#: A user and a password, or a user that is a token; a password may hold any character that is not a space.
_USERINFO = re.compile(
    r"(?<![a-zA-Z0-9+.\-])([a-zA-Z][a-zA-Z0-9+.\-]{0,30}://)"
    r"(?!git@)(?:[^\s/?#@:\"'<>]{0,512}:(?!\d{1,5}(?:[/?#,\s\"']|$))[^\s\"'<>]{0,512}@|[^\s/?#@\"'<>]{1,512}@)"
)
_SERVICES = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA|AGPA|AIDA|AROA|ABIA|ACCA)[A-Z0-9]{16}"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{16,512}|github_pat_\w{20,512}|gl(?:pat|rt|dt|soat)-[\w\-]{16,512}"
    r"|xox[a-z]-[\w\-]{8,512}|xapp-[\w\-]{8,512}"  # Slack
    r"|sk-[\w\-]{16,512}|(?:sk|rk|pk)_(?:live|test)_\w{8,512}|whsec_[\w+/=]{8,512}"  # OpenAI, Anthropic, Stripe
    r"|hf_[A-Za-z0-9]{16,512}|AIza[\w\-]{30,512}|ya29\.[\w\-.]{16,2048}|GOCSPX-[\w\-]{16,512}"
    r"|npm_[A-Za-z0-9]{20,512}|pypi-[\w\-]{16,512}|SG\.[\w\-]{16,512}\.[\w\-]{16,512}|dop_v1_[0-9a-f]{32,512}"
    r"|dapi[0-9a-f]{32}(?:-\d)?|wandb_v\d_\w{16,512}|AGE-SECRET-KEY-1[A-Z0-9]{32,512}|nvapi-[\w\-]{16,512}"
    r"|(?:SK|AC)[0-9a-f]{32}|shp(?:at|ss|ca)_[0-9a-fA-F]{32}|r8_\w{30,512}|gsk_\w{20,512}|tk_[a-z0-9]{29}"
    r"|\d{8,10}:[A-Za-z0-9_\-]{35}"  # Telegram
    r"|eyJ[\w\-]{8,4096}\.[\w\-]{8,8192}(?:\.[\w\-]{0,4096})?"  # JWT
    r"|(?<=hooks\.slack\.com/)[\w/\-]{8,512}|(?<=/api/webhooks/)[\w/\-]{8,512}|(?<=webhook\.office\.com/)[^\s\"']{8,1024}"
    r"|(?<=Bearer )[\w.~+/=\-]{8,8192}"
    r")(?![A-Za-z0-9])"
)
_BASIC = re.compile(r"(?<![A-Za-z])([Bb]asic |[Tt]oken |[Bb]earer )([\w.~+/=\-]{8,8192})")
#: Strings that may be random. A run of several parts with `/` is a path, unless it looks random as a whole.
_RUN = re.compile(r"[A-Za-z0-9+/_\-]{20,4096}={0,2}")
_ALNUM = re.compile(r"[A-Za-z0-9]+")
_CLASSES = re.compile(r"[a-z]+|[A-Z]+|[0-9]+")
_HEX = re.compile(r"(?<![A-Za-z0-9])(?:0x)?(?:[0-9a-f]{32,4096}|[0-9A-F]{32,4096})(?![A-Za-z0-9])")
#: Text before a hex string that tells that it is public: a digest, or an id of Ray, MLflow or a GPU.
_PUBLIC = re.compile(
    r"(?i)(?:sha\d{1,3}|md5|blake2[bs]|digest|commit|actor|worker|node|task|job|lease|[_ -]?id|[a-z]id|object ?ref)"
    r"[\"']?\W{0,3}$"
)
#: Characters of an AWS secret access key.
_AWS_SECRET = 40
#: Digits of a commit hash of Git.
_COMMIT = 40


class Redactor:
    """Replaces the secrets of this process; see the module's docstring.

    Args:
        values: secrets of the caller, such as passwords and tokens from settings.
        environ: instead of the environment of this process.
    """

    def __init__(self, values: Iterable[str | None] = (), environ: Mapping[str, str] | None = None) -> None:
        known: dict[str, None] = {}
        for value in values:
            _add_value(known, value or "")
        for name, value in list((os.environ if environ is None else environ).items())[:10_000]:
            if _is_secret_variable(name, value):
                _add_value(known, value)
            if "://" in value:
                _add_password(known, value)
        self._known = tuple(sorted(list(known)[:MAX_VALUES], key=len, reverse=True))

    def text(self, text: str, most: int = MAX_CHARS) -> str:
        """Return the text without secrets, at most `most` characters of it.

        Pass whole texts: a secret that was cut in two is not known by its value or its shape.
        """
        try:
            return _cut(self._redact(str.__str__(text)), most)
        except Exception:  # a text that cannot be searched is not sent
            return HIDDEN

    def _redact(self, text: str) -> str:
        if len(text) >= MAX_CHARS:
            text = self._without_cut_secret(text[:MAX_CHARS])
        for value in self._known:
            if value in text:
                text = text.replace(value, HIDDEN)
        if "-----BEGIN" in text:
            text = _PEM.sub(HIDDEN, text)
        if "://" in text:
            text = _USERINFO.sub(rf"\1{HIDDEN}@", text)
        text = _HEADER.sub(rf"\1\2{HIDDEN}", text)
        text = _hide_pairs(text)
        text = _SERVICES.sub(HIDDEN, text)
        text = _BASIC.sub(_hide_basic, text)
        text = _HEX.sub(_hide_hex, text)
        return _RUN.sub(_hide_random, text)

    def _without_cut_secret(self, text: str) -> str:
        """Drop the beginning of a secret at the end of a text that was cut."""
        head, tail = text[:-4096], text[-4096:]
        text = head + re.sub(r"\S+\Z", "", tail)
        for value in self._known:
            for length in range(min(len(value), 4096) - 1, 3, -1):
                if text.endswith(value[:length]):
                    return text[:-length]
        return text

    def tree(self, value: Any, depth: int = MAX_DEPTH) -> Any:
        """Return a copy of nested mappings and lists without secrets; values of other types are passed on."""
        if isinstance(value, str):
            return self.text(value)
        if depth <= 0 and isinstance(value, (Mapping, list, tuple, set, frozenset)):
            return HIDDEN
        if isinstance(value, Mapping):
            return {
                self.text(name) if isinstance(name, str) else name: HIDDEN
                if _is_hidden(str(name), item)
                else self.tree(item, depth - 1)
                for name, item in value.items()
            }
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.tree(item, depth - 1) for item in value]
        return value

    def command(self, arguments: Sequence[str]) -> str:
        """Return a command line as text, quoted for a shell, without secrets."""
        shown: list[str] = []
        for argument in arguments:
            option = shown[-1] if shown else ""
            is_value = option.startswith("-") and "=" not in option and not argument.startswith("--")
            shown.append(HIDDEN if is_value and _is_hidden(option, argument) else self.text(argument))
        return self.text(" ".join(one if HIDDEN in one else shlex.quote(one) for one in shown))


@functools.lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a field, variable or option of this name holds a secret, such as `password` or `--hud-token`."""
    plain = _plain(name)
    if _PLACE.search(plain) or ("token" in plain and _TOKEN_OF_TEXT.search(plain)):
        return False
    return _SECRET_NAME.search(plain) is not None


def _plain(name: str) -> str:
    return f"_{re.sub(r'[^a-z0-9]+', '_', _CAMEL.sub('_', name[:256]).lower()).strip('_')}_"


def _is_secret_variable(name: str, value: str) -> bool:
    if name in _FOLDERS or len(value) < LEAST_VALUE:
        return False
    if not is_secret_name(name) and not _KEY_NAME.search(_plain(name)):
        return False
    return not (value.startswith(("/", "~")) and os.path.exists(os.path.expanduser(value)))  # a file with a secret


def _is_hidden(name: str, value: object) -> bool:
    """Whether a field of this name and value is hidden."""
    if value is None or isinstance(value, bool) or value in ("", b""):
        return False
    if isinstance(value, (int, float)):
        return is_secret_name(name) and not (-(10**7) < value < 10**7 and "token" in name.lower())
    if isinstance(value, (Mapping, list, tuple)) and "token" in name.lower() and _all_numbers(value):
        return False
    if is_secret_name(name):
        return not (isinstance(value, str) and _NO_SECRET.fullmatch(value))
    return isinstance(value, str) and bool(_KEY_NAME.search(_plain(name))) and _is_random_key(value)


def _all_numbers(value: Any) -> bool:
    items = list(value.values()) if isinstance(value, Mapping) else value
    return all(isinstance(item, (int, float)) for item in items)


def _is_random_key(value: str) -> bool:
    return len(value) >= 16 and not re.search(r"\s|/", value) and any(map(str.isdigit, value)) and not value.isdigit()


def _add_value(known: dict[str, None], value: str) -> None:
    """Add a secret, its lines, and the forms in which programs print it."""
    for part in (value, *(value.splitlines() if "\n" in value else ()), *(value.split(",") if "," in value else ())):
        part = part.strip()
        if len(part) < LEAST_VALUE or part.lower() in _SWITCHES:
            continue
        for form in (part, quote(part, safe=""), quote(part), json.dumps(part)[1:-1], repr(part)[1:-1]):
            known.setdefault(form)


def _add_password(known: dict[str, None], url: str) -> None:
    """Add the password of a URL, or its user if that is all."""
    for part in url.split():
        try:
            parts = urlsplit(part)
            secret = parts.password or (parts.username if parts.password is None and "@" in part else None)
        except ValueError:
            continue
        if secret and secret != "git":
            _add_value(known, secret)
            _add_value(known, unquote(secret))


def _hide_pairs(text: str) -> str:
    """Replace the value of each `name=value`, `name: value`, `"name": "value"` and `--name value`."""
    kept: list[str] = []
    done = 0
    for found in _PAIR.finditer(text):
        name, separator = found[1], found[2]
        is_key = separator.strip() == "=" and _KEY_NAME.search(_plain(name)) is not None
        if found.start() < done or not (is_key or is_secret_name(name)):
            continue
        given = _VALUE.match(text, found.end())
        if given is None or not _hides_pair(name, separator, given[0], is_key):
            continue
        value = given[0]
        mark = re.match(r"[bBrRuUfF]{0,2}(\\?[\"'])", value)
        quotes = mark[1] if mark else ""
        kept += [text[done : found.end()], quotes, HIDDEN, "" if given["escaped"] is not None else quotes]
        done = given.end()
        if not mark and (closing := re.search(r"[)\]}>.,;:]{1,8}\Z", value)):
            kept.append(closing[0])  # the end of the sentence or of the call
    return "".join([*kept, text[done:]]) if kept else text


def _hides_pair(name: str, separator: str, value: str, is_key: bool) -> bool:
    if _NO_SECRET.fullmatch(value):
        return False
    if not is_secret_name(name):
        return is_key and _is_random_key(value.strip("'\"bru"))
    is_quoted, sign = value[-1:] in ("'", '"', "\\"), separator.strip()
    if sign not in ("", ":") or (sign and is_quoted):
        return True
    if not sign and is_quoted:
        return name.startswith("-") or len(value) >= LEAST_VALUE + 2
    # In prose, as in "invalid token: expected a comma", the value has to look like a secret.
    looks_so = len(value) >= 6 and re.search(r"[\d!$%^*+=~|]|[a-z][A-Z]|\w[\-_@#]\w", value[:256]) is not None
    if not sign:
        return name.startswith("-") or (looks_so and any(map(str.isdigit, value[:256])))
    return looks_so or "token" not in name.lower()


def _hide_basic(found: re.Match[str]) -> str:
    value = found[2]
    looks_so = any(map(str.isdigit, value)) or value.endswith("=") or bool(re.search(r"[a-z][A-Z]", value))
    return f"{found[1]}{HIDDEN}" if looks_so else found[0]


def _hide_hex(found: re.Match[str]) -> str:
    value = found[0]
    is_varied = len(set(value)) >= 6 and any(map(str.isdigit, value)) and not value.isdigit()
    before = found.string[max(0, found.start() - 24) : found.start()]
    return found[0] if not is_varied or len(value) == _COMMIT or _PUBLIC.search(before) else HIDDEN


def _hide_random(found: re.Match[str]) -> str:
    run = found[0]
    if "/" not in run:
        return HIDDEN if _is_random(run) else run
    if not run.startswith("/") and len(run) >= 32 and _is_random(run):
        return HIDDEN
    return "/".join(HIDDEN if len(part) >= 20 and _is_random(part) else part for part in run.split("/"))


def _is_random(run: str) -> bool:
    """Whether a string changes between small letters, capitals and digits as often as random ones do.

    Random letters and digits change at two of three characters. Words, also those in CamelCase, and dates change less.
    """
    pieces = [_CLASSES.findall(part) for part in _ALNUM.findall(run)]
    length = sum(len(piece) for part in pieces for piece in part)
    if length < 18:
        return False
    changes = sum(len(part) - 1 for part in pieces) / max(1, length - len(pieces))
    numbers = sum(piece.isdigit() for part in pieces for piece in part)
    has_small, has_capital = (any(map(test, run)) for test in (str.islower, str.isupper))
    if has_small and has_capital:
        if len(pieces) > 1 + length // 8:
            return False  # a name of several words
        if len(run) == _AWS_SECRET and "_" not in run and "-" not in run:
            return changes >= 0.3 and numbers >= 1
        if length >= 28:
            return changes >= 0.4 and (numbers >= 1 or changes >= 0.45)
        return changes >= 0.35 and numbers >= 2
    if len(pieces) > 2 and max(sum(map(len, part)) for part in pieces) < 20:
        return False  # a UUID, or a name of several words
    return length >= 22 and changes >= 0.3 and numbers >= 3 and _entropy(run) >= 3.3 and not _is_hex(run)


def _is_hex(run: str) -> bool:
    return all(char in "0123456789abcdefABCDEF" for char in run)


def _entropy(text: str) -> float:
    """Return the entropy of the characters, in bits."""
    shares = [text.count(char) / len(text) for char in set(text)]
    return -sum(share * math.log2(share) for share in shares)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: max(0, most - 1)]}…"


@functools.lru_cache(maxsize=1)
def _of_process() -> Redactor:
    return Redactor()


def redactor_of(settings: Any = None) -> Redactor:
    """Return a redactor that knows this process's environment and the secrets of a publisher's settings."""
    if settings is None:
        return _of_process()
    values = [getattr(settings, name, None) for name in ("run_id", "token")]
    names = ("redis_url", "hud_redis_url", "hud_url")
    urls = {f"url {name}": str(url) for name in names if (url := getattr(settings, name, None))}
    return Redactor(values, {**os.environ, **urls})
