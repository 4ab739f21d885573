"""The question to a vision model: the pictures and the text, read from the arguments of a call.

Knows the messages of chat completions and the input of the Responses API by their shape: mappings, or objects with the
same attributes. Never raises and consumes no iterator of the caller's. Called by `openai_watch`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Question:
    """One question with pictures.

    Attributes:
        pictures: of the newest turn that has any: `data:` URLs, addresses or file ids.
        prompt: the text of the last user turn; the text of the instructions if no user turn has any.
        earlier: how many pictures earlier turns hold.
    """

    pictures: tuple[str, ...]
    prompt: str
    earlier: int = 0


@dataclass(frozen=True, slots=True)
class _Message:
    role: str
    texts: list[str]
    pictures: list[str]


def read_question(positional: Sequence[Any], named: Mapping[str, Any]) -> Question | None:
    """Return the question of a call with these arguments; None if no picture is part of the conversation."""
    given = named.get("messages")
    if given is None:
        given = named.get("input")
    if given is None:
        given = next((argument for argument in positional if isinstance(argument, (list, tuple))), None)
    messages = [_read_message(message) for message in items(given)]
    newest = next((at for at in reversed(range(len(messages))) if messages[at].pictures), None)
    if newest is None:
        return None
    first = newest
    while first > 0 and messages[first].role != "assistant" and messages[first - 1].role != "assistant":
        first -= 1
    pictures = [picture for message in messages[first : newest + 1] for picture in message.pictures]
    earlier = sum(len(message.pictures) for message in messages[:first])
    return Question(tuple(pictures), _prompt(messages, named.get("instructions")), earlier)


def _prompt(messages: list[_Message], instructions: Any) -> str:
    last = next((at for at in reversed(range(len(messages))) if messages[at].role == "user"), None)
    if last is not None:
        first = last
        while first > 0 and messages[first - 1].role == "user":
            first -= 1
        texts = [text for message in messages[first : last + 1] for text in message.texts]
        if texts or any(message.texts for message in messages[:first] if message.role == "user"):
            return "\n".join(texts)
    standing = [instructions] if isinstance(instructions, str) else []
    return "\n".join(standing + [text for message in messages if message.role == "system" for text in message.texts])


def _read_message(message: Any) -> _Message:
    kind, role = field_of(message, "type"), field_of(message, "role")
    if role == "developer":
        role = "system"
    elif not isinstance(role, str):
        kind = kind if isinstance(kind, str) else ""
        # The Responses API puts the model's own items between the messages.
        role = "tool" if kind.endswith("_output") else "assistant" if kind.endswith(("_call", "reasoning")) else "user"
    content = field_of(message, "content")
    if content is None:
        content = field_of(message, "output")
    if isinstance(content, str):
        return _Message(role, [content] if content else [], [])
    parts = items(content) or ([content] if content is not None else [message])
    texts = [text for part in parts if (text := part if isinstance(part, str) else field_of(part, "text"))]
    pictures = [picture for part in parts if (picture := _picture(part))]
    return _Message(role, [text for text in texts if isinstance(text, str)], pictures)


def _picture(part: Any) -> str | None:
    """The address of a part's picture, in the forms of OpenAI's two interfaces and of Anthropic's."""
    url = field_of(part, "image_url")
    url = url if isinstance(url, str) else field_of(url, "url")
    if isinstance(url, str) and url:
        return url
    kind = field_of(part, "type")
    if kind not in ("input_image", "image", "image_file", "computer_screenshot"):
        return None
    source = field_of(part, "source")
    data, url = field_of(source, "data"), field_of(source, "url")
    if isinstance(data, str):
        return f"data:{field_of(source, 'media_type')};base64,{data}"
    file_id = field_of(part, "file_id") or field_of(field_of(part, "image_file"), "file_id")
    return next((f"{text}" for text in (url, file_id) if isinstance(text, str) and text), None)


def items(thing: Any) -> list[Any]:
    """The items of a list, a tuple or the like; none of a text, a mapping or an iterator, which would be used up."""
    if isinstance(thing, (str, bytes, Mapping)) or not isinstance(thing, Collection):
        return []
    try:
        return list(thing)
    except Exception:  # a foreign collection may raise anything
        return []


def field_of(thing: Any, name: str) -> Any:
    """A field of a mapping, or an attribute of an object; None if it is missing or reading it raises."""
    try:
        return thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)
    except Exception:  # a foreign object's properties may raise anything
        return None
