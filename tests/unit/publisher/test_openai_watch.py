"""A watched client returns exactly the same results to its caller; the model's input and output are shown."""

from __future__ import annotations

import asyncio
import base64
import copy
import gc
import inspect
import json
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, Mock

import openai
import pydantic
import pytest

from hud_publisher.integrations.openai_watch import watch_openai
from tests.fixtures.publishing import JPEG

URL = "data:image/jpeg;base64," + base64.b64encode(JPEG).decode()
PICTURE = {"type": "image_url", "image_url": {"url": URL}}
MESSAGES: list[Any] = [
    {"role": "system", "content": "You play Zelda."},
    {"role": "user", "content": [{"type": "text", "text": "Where to?"}, PICTURE]},
]


class Recorder:
    """A fake publisher that records the calls of `vision`."""

    status = "registered"

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def vision(self, image: bytes, **rest: Any) -> None:
        self.calls.append({"image": image, **rest})

    @property
    def only(self) -> dict[str, Any]:
        (call,) = self.calls
        return call


@pytest.fixture
def hud() -> Any:
    return Recorder()


def client_of(create: Any, **more: Any) -> Any:
    return SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create, **more)))


def answer(text: str | None = "left", **more: Any) -> Any:
    message = SimpleNamespace(content=text, tool_calls=more.pop("tool_calls", None))
    return SimpleNamespace(
        choices=[SimpleNamespace(message=message, finish_reason="stop")],
        model="vlm-2",
        usage=SimpleNamespace(prompt_tokens=300, completion_tokens=5),
        **more,
    )


def chunk(text: str | None, **more: Any) -> Any:
    choice = SimpleNamespace(
        delta=SimpleNamespace(content=text, tool_calls=None), finish_reason=more.pop("finish", None)
    )
    return SimpleNamespace(choices=[choice], model="vlm-2", usage=more.pop("usage", None))


CHUNKS = [chunk("le"), chunk("ft"), chunk(None, finish="stop"), SimpleNamespace(choices=[], usage=None)]


def test_the_caller_gets_the_same_answer_and_the_call_is_shown(hud: Any) -> None:
    result = answer()
    asked: list[Any] = []

    def create(*args: Any, **kwargs: Any) -> Any:
        asked.append((args, kwargs))
        return result

    client = client_of(create)
    messages = copy.deepcopy(MESSAGES)
    assert watch_openai(client, hud, step=lambda: 7) is client
    assert client.chat.completions.create(model="vlm", messages=messages, temperature=0) is result
    assert asked == [((), {"model": "vlm", "messages": messages, "temperature": 0})]
    assert messages == MESSAGES
    shown = hud.only
    assert shown.pop("response_time_ms") >= 0
    assert shown == {
        "image": JPEG, "prompt": "Where to?", "response": "left", "step": 7, "model": "vlm-2", "finish_reason": "stop",
        "prompt_tokens": 300, "completion_tokens": 5,
    }  # fmt: skip


@pytest.mark.parametrize(
    "messages",
    [
        None, [], "text", 7, [None], [{"role": "user", "content": "no picture"}], [{"content": [{"type": "text"}]}],
        [{"content": [{"type": "image_url", "image_url": None}]}], [{"content": 7}], {"content": "x"}, {7: 8},
    ],
)  # fmt: skip
def test_a_call_without_a_picture_is_passed_on_and_not_shown(hud: Any, messages: Any) -> None:
    result = object()
    client = watch_openai(client_of(lambda **_kwargs: result), hud)
    assert client.chat.completions.create(messages=messages) is result
    assert hud.calls == []


OTHER = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(b"other").decode()}}
TEXT = {"type": "text", "text": "now?"}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


class Message(pydantic.BaseModel):
    role: str
    content: Any


@pytest.mark.parametrize(
    ("messages", "image", "prompt", "earlier"),
    [
        pytest.param(
            [{"role": "user", "content": [TEXT, PICTURE]}, said("left"), {"role": "user", "content": "and then?"},
             said("up"), {"role": "user", "content": "why?"}],
            JPEG, "why?", None, id="a text question about a picture of the first turn",
        ),
        pytest.param(
            [{"role": "user", "content": [TEXT, OTHER, PICTURE]}], [b"other", JPEG], "now?", None, id="two pictures",
        ),
        pytest.param(
            [{"role": "user", "content": [OTHER]}, {"role": "user", "content": [PICTURE]},
             {"role": "user", "content": "which?"}], [b"other", JPEG], "which?", None, id="one turn in three messages",
        ),
        pytest.param(
            [{"role": "user", "content": [TEXT, OTHER]}, said("left"), {"role": "user", "content": [TEXT, PICTURE]}],
            JPEG, "now?", 1, id="a picture in each turn",
        ),
        pytest.param(
            [{"role": "user", "content": "play"}, {"role": "assistant", "tool_calls": [{}]},
             {"role": "tool", "content": [PICTURE]}, {"role": "tool", "content": [OTHER]}],
            [JPEG, b"other"], "play", None, id="pictures from two tools",
        ),
        pytest.param(
            [{"role": "system", "content": "Say where to go."}, {"role": "user", "content": [PICTURE]}],
            JPEG, "Say where to go.", None, id="only the instructions have a text",
        ),
        pytest.param(
            [{"role": "user", "content": "first"}, said("ok"), {"role": "user", "content": [PICTURE]}],
            JPEG, None, None, id="the question of an earlier turn is not that of this one",
        ),
        pytest.param(
            ({"role": "user", "content": (TEXT, PICTURE)},), JPEG, "now?", None, id="tuples",
        ),
        pytest.param([Message(role="user", content=[TEXT, PICTURE])], JPEG, "now?", None, id="models"),
        pytest.param(
            [SimpleNamespace(content=[SimpleNamespace(text="now?"), SimpleNamespace(image_url=URL)])],
            JPEG, "now?", None, id="objects without a role",
        ),
        pytest.param([{"role": "user", "content": ["now?", PICTURE]}], JPEG, "now?", None, id="bare text as a part"),
        pytest.param(
            [{"content": [{"image_url": {"url": "https://host/a.png", "detail": "low"}}]}],
            "https://host/a.png", None, None, id="an address",
        ),
        pytest.param(
            [{"content": [{"type": "image", "source": {"type": "base64", "media_type": "image/jpeg",
                                                      "data": URL.partition(",")[2]}}]}],
            JPEG, None, None, id="Anthropic's form",
        ),
    ],
)  # fmt: skip
def test_the_question_that_was_answered_is_shown_with_its_pictures(
    hud: Any, messages: Any, image: Any, prompt: str | None, earlier: int | None
) -> None:
    watch_openai(client_of(lambda **_kwargs: answer()), hud).chat.completions.create(messages=messages)
    assert (hud.only["image"], hud.only["prompt"], hud.only.get("earlier_pictures")) == (image, prompt, earlier)


def test_messages_that_only_an_iterator_has_are_left_to_the_client(hud: Any) -> None:
    client = watch_openai(client_of(lambda messages: list(messages)), hud)
    assert client.chat.completions.create(messages=iter(MESSAGES)) == MESSAGES


def test_messages_that_are_not_named_are_found(hud: Any) -> None:
    watch_openai(client_of(lambda *_args: answer()), hud).chat.completions.create("model", MESSAGES)
    assert hud.only["prompt"] == "Where to?"


def choice(index: int = 0, finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    return {"index": index, "message": message, "finish_reason": finish}


def delta(index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish}


def tool(index: int | None = None, name: str | None = None, arguments: Any = None) -> dict[str, Any]:
    return {"index": index, "function": {"name": name, "arguments": arguments}}


#: A model's output as a whole answer and as the chunks of a stream, and the text shown for it.
ANSWERS = [
    pytest.param(
        [choice(0, content="go left"), choice(1, content="wait", finish="length")],
        [[delta(0, content="go ")], [delta(1, content="wa")], [delta(0, content="left"), delta(1, content="it")],
         [delta(0, "stop")], [], [delta(1, "length")]],
        {"response": "go left", "choices": ["go left", "wait"], "finish_reason": "stop, length"}, id="choices",
    ),
    pytest.param(
        [choice(content="", reasoning_content="A wall.", finish="length")],
        [[delta(reasoning_content="A ")], [delta(reasoning_content="wall.", content="")], [delta(0, "length")]],
        {"response": None, "reasoning": "A wall.", "finish_reason": "length"}, id="reasoning of vLLM and no answer",
    ),
    pytest.param(
        [choice(content="left", reasoning="A wall.")],
        [[delta(reasoning="A wall.")], [delta(content="left")], [delta(0, "stop")]],
        {"response": "left", "reasoning": "A wall.", "finish_reason": "stop"}, id="reasoning and an answer",
    ),
    pytest.param(
        [choice(content=None, refusal="I cannot.", finish="content_filter")],
        [[delta(refusal="I ")], [delta(refusal="cannot.")], [delta(0, "content_filter")]],
        {"response": None, "refusal": "I cannot.", "finish_reason": "content_filter"}, id="a refusal",
    ),
    pytest.param(
        [choice(content=[{"type": "text", "text": "go "}, {"type": "text", "text": "left"}])],
        [[delta(content=[{"type": "text", "text": "go "}])], [delta(content=[{"type": "text", "text": "left"}])],
         [delta(0, "stop")]],
        {"response": "go left", "finish_reason": "stop"}, id="content in parts",
    ),
    pytest.param(
        [choice(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                         {"type": "refusal", "refusal": "no"}, {"type": "text", "text": "left"}])],
        [[delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}])],
         [delta(content=[{"type": "refusal", "refusal": "no"}])], [delta(content="left", finish="stop")]],
        {"response": "left", "reasoning": "hm", "refusal": "no", "finish_reason": "stop"}, id="parts of several kinds",
    ),
    pytest.param(
        [choice(content="Ok.", tool_calls=[tool(0, "press", '{"a": 1}'), tool(1, "hold", '{"b": 2}')])],
        [[delta(content="Ok.")], [delta(tool_calls=[tool(0, "press")])], [delta(tool_calls=[tool(1, "hold", '{"b"')])],
         [delta(tool_calls=[tool(0, None, '{"a": 1}')])], [delta(tool_calls=[tool(1, None, ": 2}")])],
         [delta(0, "stop")]],
        {"response": 'Ok.\npress({"a": 1})\nhold({"b": 2})', "finish_reason": "stop"}, id="tool calls that interleave",
    ),
    pytest.param(
        [choice(content=None, function_call={"name": "press", "arguments": {"a": 1}})],
        [[delta(function_call={"name": "press"})], [delta(function_call={"arguments": '{"a":1}'})], [delta(0, "stop")]],
        {"response": 'press({"a":1})', "finish_reason": "stop"}, id="a function call of the old form",
    ),
    pytest.param(
        [choice(0, content=None, refusal="no"), choice(1, content=None, reasoning="hm")],
        [[delta(0, refusal="no"), delta(1, reasoning="hm")], [delta(0, "stop"), delta(1, "stop")]],
        {"response": None, "choices": ["refusal: no", "hm"], "refusal": "1: no", "reasoning": "2: hm",
         "finish_reason": "stop"}, id="a refusal beside a thought",
    ),
]  # fmt: skip


def told(call: dict[str, Any]) -> dict[str, Any]:
    names = ("response", "choices", "reasoning", "refusal", "finish_reason")
    return {name: call[name] for name in names if name in call}


@pytest.mark.parametrize(("choices", "chunks", "shown"), ANSWERS)
def test_every_kind_of_model_output_is_shown_as_its_kind(hud: Any, choices: Any, chunks: Any, shown: Any) -> None:
    client = watch_openai(client_of(lambda **_kwargs: {"choices": choices}), hud)
    client.chat.completions.create(messages=MESSAGES)
    assert told(hud.only) == shown


@pytest.mark.parametrize(("choices", "chunks", "shown"), ANSWERS)
def test_a_stream_is_shown_as_the_whole_answer_would_be(hud: Any, choices: Any, chunks: Any, shown: Any) -> None:
    stream = [{"choices": some} for some in chunks] + [{"choices": [], "usage": {"prompt_tokens": 3}}]
    client = watch_openai(client_of(lambda **_kwargs: iter(stream)), hud)
    assert list(client.chat.completions.create(messages=MESSAGES, stream=True)) == stream
    assert told(hud.only) == shown
    assert hud.only["prompt_tokens"] == 3
    assert "error" not in hud.only
    assert hud.only["first_token_ms"] <= hud.only["response_time_ms"]


def test_a_long_thought_costs_nothing_of_the_answer_and_an_endless_one_is_bounded(hud: Any) -> None:
    chunks = [{"choices": [delta(reasoning="x")]}] * 20_000 + [{"choices": [delta(content="left")]}]
    chunks += [{"choices": [delta(n, content="y" * 30_000)]} for n in range(1, 300)]
    client = watch_openai(client_of(lambda **_kwargs: iter(chunks)), hud)
    list(client.chat.completions.create(messages=MESSAGES))
    assert hud.only["response"] == "left"
    assert len(hud.only["reasoning"]) < 20_000
    assert sum(map(len, hud.only["choices"])) <= 65_536


def test_an_error_that_a_server_answers_with_is_shown(hud: Any) -> None:
    client = watch_openai(client_of(lambda **_kwargs: {"choices": None, "error": {"message": "no credit"}}), hud)
    client.chat.completions.create(messages=MESSAGES)
    assert (hud.only["error"], hud.only["response"]) == ("no credit", None)


def test_a_tool_call_of_the_model_is_its_answer(hud: Any) -> None:
    tool = SimpleNamespace(function=SimpleNamespace(name="press", arguments='{"button": "LEFT"}'))
    client = watch_openai(client_of(lambda **_kwargs: answer(None, tool_calls=[tool])), hud)
    client.chat.completions.create(messages=MESSAGES)
    assert hud.only["response"] == 'press({"button": "LEFT"})'


def test_an_error_reaches_the_caller_as_it_was_and_is_shown(hud: Any) -> None:
    error = TimeoutError("too slow")

    def create(**_kwargs: Any) -> Any:
        raise error

    client = watch_openai(client_of(create), hud)
    with pytest.raises(TimeoutError) as raised:
        client.chat.completions.create(model="vlm", messages=MESSAGES)
    assert raised.value is error
    assert (hud.only["error"], hud.only["response"], hud.only["model"]) == ("TimeoutError: too slow", None, "vlm")


def test_a_stream_gives_every_chunk_and_is_shown_when_it_ends(hud: Any) -> None:
    client = watch_openai(client_of(lambda **_kwargs: iter(CHUNKS)), hud)
    stream = client.chat.completions.create(messages=MESSAGES, stream=True)
    assert next(stream) is CHUNKS[0]
    assert hud.calls == []
    assert list(stream) == CHUNKS[1:]
    assert (hud.only["response"], hud.only["finish_reason"]) == ("left", "stop")
    assert hud.only["first_token_ms"] <= hud.only["response_time_ms"]


def test_a_stream_object_stays_the_same_object(hud: Any) -> None:
    stream = SimpleNamespace(_iterator=iter(CHUNKS), response="raw")
    client = watch_openai(client_of(lambda **_kwargs: stream), hud)
    assert client.chat.completions.create(messages=MESSAGES, stream=True) is stream
    assert list(stream._iterator) == CHUNKS
    assert hud.only["response"] == "left"


def test_a_stream_that_breaks_off_raises_the_original_error(hud: Any) -> None:
    def broken() -> Iterator[Any]:
        yield CHUNKS[0]
        raise ConnectionError("gone")

    client = watch_openai(client_of(lambda **_kwargs: broken()), hud)
    stream = client.chat.completions.create(messages=MESSAGES, stream=True)
    with pytest.raises(ConnectionError, match="gone"):
        list(stream)
    assert (hud.only["response"], hud.only["error"]) == ("le", "ConnectionError: gone")


def test_a_stream_whose_reader_stops_cleans_up_and_is_shown(hud: Any) -> None:
    cleaned: list[bool] = []

    def generate() -> Iterator[Any]:
        try:
            yield from CHUNKS
        finally:
            cleaned.append(True)

    client = watch_openai(client_of(lambda **_kwargs: generate()), hud)
    stream = client.chat.completions.create(messages=MESSAGES, stream=True)
    next(stream)
    stream.close()
    assert cleaned == [True]
    assert (hud.only["response"], hud.only["error"]) == ("le", "the caller stopped reading")


async def test_an_asynchronous_client_is_watched_alike(hud: Any) -> None:
    async def create(**_kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return answer()

    client = watch_openai(client_of(create), hud)
    assert inspect.iscoroutinefunction(client.chat.completions.create)
    assert (await client.chat.completions.create(messages=MESSAGES)).model == "vlm-2"
    assert hud.only["response"] == "left"


async def test_an_asynchronous_stream_is_watched_alike(hud: Any) -> None:
    async def generate() -> AsyncIterator[Any]:
        for item in CHUNKS:
            yield item

    async def create(**_kwargs: Any) -> Any:
        return generate()

    client = watch_openai(client_of(create), hud)
    stream = await client.chat.completions.create(messages=MESSAGES, stream=True)
    assert [item async for item in stream] == CHUNKS
    assert hud.only["response"] == "left"


async def test_an_asynchronous_stream_whose_reader_stops_cleans_up(hud: Any) -> None:
    cleaned: list[bool] = []

    async def generate() -> AsyncIterator[Any]:
        try:
            for item in CHUNKS:
                yield item
        finally:
            cleaned.append(True)

    async def create(**_kwargs: Any) -> Any:
        return generate()

    stream = await watch_openai(client_of(create), hud).chat.completions.create(messages=MESSAGES, stream=True)
    await anext(stream)
    await stream.aclose()
    assert cleaned == [True]
    assert hud.only["error"] == "the caller stopped reading"


async def test_an_asynchronous_call_that_is_cancelled_stays_cancelled(hud: Any) -> None:
    started = asyncio.Event()

    async def create(**_kwargs: Any) -> Any:
        started.set()
        await asyncio.Event().wait()

    client = watch_openai(client_of(create), hud)
    task = asyncio.ensure_future(client.chat.completions.create(messages=MESSAGES))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert hud.only["error"].startswith("CancelledError")


def test_a_call_that_goes_through_two_watched_methods_is_shown_once(hud: Any) -> None:
    client = client_of(lambda **_kwargs: answer())
    client.chat.completions.parse = lambda **kwargs: client.chat.completions.create(**kwargs)
    watch_openai(watch_openai(client, hud), hud)
    client.chat.completions.parse(messages=MESSAGES)
    client.chat.completions.create(messages=MESSAGES)
    assert len(hud.calls) == 2


@pytest.mark.parametrize(
    "result", [None, 7, object(), SimpleNamespace(choices=[]), {"choices": [{}]}, {"choices": "x"}]
)
def test_an_answer_of_any_shape_reaches_the_caller(hud: Any, result: Any) -> None:
    client = watch_openai(client_of(lambda **_kwargs: result), hud)
    assert client.chat.completions.create(messages=MESSAGES) is result
    assert hud.only["response"] is None


def test_a_chunk_of_any_shape_reaches_the_caller(hud: Any) -> None:
    chunks = [None, 7, {"choices": [None]}, {"choices": [{"delta": {"content": "ok"}}]}]
    client = watch_openai(client_of(lambda **_kwargs: iter(chunks)), hud)
    assert list(client.chat.completions.create(messages=MESSAGES)) == chunks
    assert hud.only["response"] == "ok"


def test_trouble_of_ours_does_not_reach_the_caller(hud: Any) -> None:
    def broken_step() -> int:
        raise RuntimeError("step")

    def broken_vision(*_args: Any, **_kwargs: Any) -> None:
        raise RuntimeError("vision")

    result = answer()
    client = watch_openai(client_of(lambda **_kwargs: result), hud, step=broken_step)
    assert client.chat.completions.create(messages=MESSAGES) is result
    hud.vision = broken_vision
    client = watch_openai(client_of(lambda **_kwargs: result), hud)
    assert client.chat.completions.create(messages=MESSAGES) is result


@pytest.mark.parametrize("client", [None, object(), SimpleNamespace(chat=None), client_of(None)])
def test_another_object_than_a_client_is_returned_unchanged(hud: Any, client: Any) -> None:
    assert watch_openai(client, hud) is client


def test_a_picture_that_is_no_base64_or_a_large_one_is_left_to_the_publishers_thread(hud: Any) -> None:
    for url in ("data:image/png;base64,?", "data:image/png;base64," + "A" * 400_000):
        messages = [{"content": [{"image_url": url}]}]
        watch_openai(client_of(lambda **_kwargs: answer()), hud).chat.completions.create(messages=messages)
        assert hud.calls[-1]["image"] == url


def test_a_step_that_cannot_be_asked_for_costs_only_itself(hud: Any) -> None:
    def broken() -> int:
        raise RuntimeError

    watch_openai(client_of(lambda **_kwargs: answer()), hud, step=broken).chat.completions.create(messages=MESSAGES)
    assert (hud.only["step"], hud.only["response"]) == (None, "left")


class Custom:
    """A stream of another library: an iterator that is also a context manager."""

    def __init__(self, chunks: list[Any]) -> None:
        self.left, self.id, self.is_closed = iter(chunks), "abc", False

    def __iter__(self) -> Custom:
        return self

    def __next__(self) -> Any:
        return next(self.left)

    def __enter__(self) -> Custom:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        self.is_closed = True


def test_a_stream_of_another_library_looks_like_itself(hud: Any) -> None:
    original = Custom(CHUNKS)
    client = watch_openai(client_of(lambda **_kwargs: original), hud)
    with client.chat.completions.create(messages=MESSAGES) as stream:
        assert isinstance(stream, Custom)
        assert (stream.id, repr(stream)) == ("abc", repr(original))
        stream.id = "def"
        assert original.id == "def"
        assert next(stream) is CHUNKS[0]
    assert original.is_closed
    assert (hud.only["response"], hud.only["error"]) == ("le", "the caller stopped reading")


def test_a_stream_that_is_never_read_is_shown_when_it_is_given_up(hud: Any) -> None:
    client = watch_openai(client_of(lambda **_kwargs: iter(CHUNKS)), hud)
    stream = client.chat.completions.create(messages=MESSAGES)
    assert hud.calls == []
    del stream
    gc.collect()
    assert (hud.only["response"], hud.only["error"]) == (None, "the caller stopped reading")


def test_a_reader_that_stops_after_the_reason_for_the_end_has_read_all(hud: Any) -> None:
    client = watch_openai(client_of(lambda **_kwargs: iter(CHUNKS)), hud)
    stream = client.chat.completions.create(messages=MESSAGES)
    for item in stream:
        if item.choices[0].finish_reason:
            break
    del stream
    gc.collect()
    assert hud.only["response"] == "left"
    assert "error" not in hud.only


async def test_a_call_that_is_a_task_stays_one_and_is_shown(hud: Any) -> None:
    async def asked() -> Any:
        return answer()

    client = watch_openai(client_of(lambda **_kwargs: asyncio.ensure_future(asked())), hud)
    task = client.chat.completions.create(messages=MESSAGES)
    assert isinstance(task, asyncio.Task)
    await task
    await asyncio.sleep(0)
    assert hud.only["response"] == "left"


def test_two_publishers_of_one_client_get_every_call_once() -> None:
    first, second = Recorder(), Recorder()
    client: Any = client_of(lambda **_kwargs: answer())
    for hud in (first, second, first, second):
        watch_openai(client, hud)  # type: ignore[arg-type]
    client.chat.completions.create(messages=MESSAGES)
    assert (first.only["response"], second.only["response"]) == ("left", "left")


@pytest.mark.parametrize("kind", [Mock, MagicMock])
def test_a_client_that_a_test_made_is_watched_as_a_real_one(hud: Any, kind: Any) -> None:
    client = kind()
    result = client.chat.completions.create.return_value
    result.choices = [kind(message=kind(content="left"))]
    watch_openai(client, hud)
    assert client.chat.completions.create(messages=MESSAGES) is result
    assert told(hud.only) == {"response": "left"}


def test_a_client_that_cannot_be_watched_is_named_in_the_log(hud: Any, caplog: pytest.LogCaptureFixture) -> None:
    watch_openai(SimpleNamespace(embeddings=None), hud)
    assert "cannot be shown: expected chat.completions.create or responses.create" in caplog.text


def events(*chunks: Any, end: str = "data: [DONE]\n\n") -> tuple[int, str, str]:
    return 200, "text/event-stream", "".join(f"data: {json.dumps(item)}\n\n" for item in chunks) + end


def of_kind(kind: str, **more: Any) -> dict[str, Any]:
    return {"id": "1", "created": 1, "model": "vlm-2", "object": kind, **more}


def chat(*choices: Any) -> tuple[int, str, str]:
    usage = {"prompt_tokens": 300, "completion_tokens": 5, "total_tokens": 305}
    whole = [{**one, "message": {"role": "assistant", **one["message"]}} for one in choices]
    return 200, "application/json", json.dumps(of_kind("chat.completion", choices=whole, usage=usage))


def response(status: str = "completed", **more: Any) -> dict[str, Any]:
    output = [
        {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "A wall."}]},
        {"type": "message", "id": "m", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": "left", "annotations": []}]},
        {"type": "function_call", "id": "f", "call_id": "c", "name": "press", "arguments": '{"a": 1}'},
    ]  # fmt: skip
    usage = {
        "input_tokens": 300, "output_tokens": 5, "total_tokens": 305, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip
    return {
        "id": "1", "created_at": 1, "model": "vlm-2", "object": "response", "output": output, "status": status,
        "usage": usage, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], **more,
    }  # fmt: skip


RESPONSE_EVENTS = [
    {"type": "response.created", "sequence_number": 0, "response": response("in_progress", output=[], usage=None)},
    {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0,
     "item": {"type": "message", "id": "m", "role": "assistant", "status": "in_progress", "content": []}},
    {"type": "response.content_part.added", "sequence_number": 2, "output_index": 0, "content_index": 0, "item_id": "m",
     "part": {"type": "output_text", "text": "", "annotations": []}},
    {"type": "response.output_text.delta", "sequence_number": 3, "output_index": 0, "content_index": 0, "item_id": "m",
     "delta": "le", "logprobs": []},
    {"type": "response.output_text.delta", "sequence_number": 4, "output_index": 0, "content_index": 0, "item_id": "m",
     "delta": "ft", "logprobs": []},
    {"type": "response.completed", "sequence_number": 5, "response": response(output=[
        {"type": "message", "id": "m", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": "left", "annotations": []}]}])},
]  # fmt: skip
CHAT_CHUNKS = [
    of_kind("chat.completion.chunk", choices=[{"index": 0, "delta": part, "finish_reason": None}])
    for part in ({"role": "assistant", "content": "le"}, {"content": "ft"}, {})
]
#: The server's responses by (path, model, whether a stream was requested): status, media type, body.
SCRIPT = {
    ("chat/completions", "vlm", False): chat(choice(content="left")),
    ("chat/completions", "vlm", True): events(*CHAT_CHUNKS),
    ("chat/completions", "two", False): chat(choice(0, content="go left"), choice(1, content="wait")),
    ("chat/completions", "two", True): events(
        *(of_kind("chat.completion.chunk", choices=[delta(n, content=text)])
          for n, text in ((0, "go "), (1, "wait"), (0, "left")))
    ),
    ("chat/completions", "thinker", False): chat(choice(content=None, reasoning_content="A wall.")),
    ("chat/completions", "thinker", True): events(
        of_kind("chat.completion.chunk", choices=[delta(reasoning_content="A wall.")])
    ),
    ("chat/completions", "cut", True): events(CHAT_CHUNKS[0], {"error": {"message": "overloaded"}}),
    ("chat/completions", "short", False): chat(choice(content="{", finish="length")),
    ("responses", "vlm", False): (200, "application/json", json.dumps(response())),
    ("responses", "vlm", True): events(*RESPONSE_EVENTS, end=""),
    ("responses", "short", False): (
        200, "application/json",
        json.dumps(response("incomplete", incomplete_details={"reason": "max_output_tokens"})),
    ),
}  # fmt: skip


class StandIn(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that answers from SCRIPT, and refuses any other model."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.path.partition("?")[0].removeprefix("/v1/").removeprefix("/openai/deployments/vlm/")
        refusal = 400, "application/json", json.dumps({"error": {"message": "no such model"}})
        status, kind, text = SCRIPT.get((path, asked["model"], bool(asked.get("stream"))), refusal)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_arguments: object) -> None: ...


@pytest.fixture
def stand_in() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def test_the_openai_sdk_is_watched(hud: Any, stand_in: str) -> None:
    with openai.OpenAI(base_url=stand_in, api_key="none", max_retries=0) as client:
        watch_openai(client, hud)
        assert client.chat.completions.create(model="vlm", messages=MESSAGES).choices[0].message.content == "left"
        with client.chat.completions.create(model="vlm", messages=MESSAGES, stream=True) as stream:
            assert isinstance(stream, openai.Stream)
            assert "".join(item.choices[0].delta.content or "" for item in stream) == "left"
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="broken", messages=MESSAGES)
    plain, streamed, failed = hud.calls
    assert (plain["response"], plain["model"], plain["completion_tokens"]) == ("left", "vlm-2", 5)
    assert (streamed["response"], streamed["image"]) == ("left", JPEG)
    assert failed["error"].startswith("BadRequestError")


async def test_the_asynchronous_openai_sdk_is_watched(hud: Any, stand_in: str) -> None:
    async with openai.AsyncOpenAI(base_url=stand_in, api_key="none", max_retries=0) as client:
        watch_openai(client, hud)
        result = await client.chat.completions.create(model="vlm", messages=MESSAGES)
        assert result.choices[0].message.content == "left"
        stream = await client.chat.completions.create(model="vlm", messages=MESSAGES, stream=True)
        assert isinstance(stream, openai.AsyncStream)
        assert "".join([item.choices[0].delta.content or "" async for item in stream]) == "left"
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model="broken", messages=MESSAGES)
    assert [call["response"] for call in hud.calls] == ["left", "left", None]


def test_raw_responses_of_the_openai_sdk_are_watched_and_stay_raw(hud: Any, stand_in: str) -> None:
    with openai.OpenAI(base_url=stand_in, api_key="none", max_retries=0) as client:
        watch_openai(client, hud)
        raw = client.chat.completions.with_raw_response.create(model="vlm", messages=MESSAGES)
        assert raw.http_response.status_code == 200
        assert raw.parse().choices[0].message.content == "left"
        streamed = client.chat.completions.with_raw_response.create(model="vlm", messages=MESSAGES, stream=True)
        assert "".join(item.choices[0].delta.content or "" for item in streamed.parse()) == "left"
        with client.chat.completions.with_streaming_response.create(model="vlm", messages=MESSAGES) as response:
            assert json.loads(response.read())["choices"][0]["message"]["content"] == "left"
    assert [call["image"] for call in hud.calls] == [JPEG] * 3
    assert hud.calls[0]["response"] == "left"


async def test_raw_responses_of_the_asynchronous_openai_sdk_are_watched(hud: Any, stand_in: str) -> None:
    async with openai.AsyncOpenAI(base_url=stand_in, api_key="none", max_retries=0) as client:
        watch_openai(client, hud)
        raw = await client.chat.completions.with_raw_response.create(model="vlm", messages=MESSAGES)
        assert raw.parse().choices[0].message.content == "left"
        pending = client.chat.completions.with_streaming_response.create(model="vlm", messages=MESSAGES)
        async with pending as response:
            assert json.loads(await response.read())["choices"][0]["message"]["content"] == "left"
    assert [call["response"] for call in hud.calls] == ["left", "left"]


def test_the_other_ways_of_the_openai_sdk_to_ask_are_watched_once_each(hud: Any, stand_in: str) -> None:
    with openai.OpenAI(base_url=stand_in, api_key="none", max_retries=0) as client:
        watch_openai(client, hud)
        watch_openai(client, hud)
        assert client.chat.completions.parse(model="vlm", messages=MESSAGES).choices[0].message.content == "left"
        with client.chat.completions.stream(model="vlm", messages=MESSAGES) as stream:
            assert [event.type for event in stream]
            assert stream.get_final_completion().choices[0].message.content == "left"
    assert [call["response"] for call in hud.calls] == ["left", "left"]


INPUT: Any = [
    {
        "role": "user",
        "content": [{"type": "input_text", "text": "Where to?"}, {"type": "input_image", "image_url": URL}],
    }
]


def test_every_client_that_is_derived_from_a_watched_one_is_watched(hud: Any, stand_in: str) -> None:
    with openai.OpenAI(base_url=stand_in, api_key="none", max_retries=0) as client:
        raw = client.chat.completions.with_raw_response  # made before, so it holds the unwrapped method
        assert watch_openai(client, hud, step=lambda: 7).chat.completions.with_raw_response is not raw
        for derived in (
            client, client.with_options(timeout=5), client.copy(), client.with_options().with_options(max_retries=1),
            copy.copy(client), client.with_raw_response, client.beta,
        ):  # fmt: skip
            derived.chat.completions.create(model="vlm", messages=MESSAGES)
            assert hud.calls.pop()["step"] == 7
            assert not hud.calls
        watch_openai(client, hud)
        assert type(client.with_options(timeout=5)) is openai.OpenAI
        assert client.with_options(timeout=5).timeout == 5


async def test_derived_asynchronous_and_azure_clients_are_watched(hud: Any, stand_in: str) -> None:
    async with openai.AsyncOpenAI(base_url=stand_in, api_key="none", max_retries=0) as client:
        derived = watch_openai(client, hud).with_options(timeout=5)
        await derived.chat.completions.create(model="vlm", messages=MESSAGES)
    with openai.AzureOpenAI(
        azure_endpoint=stand_in.removesuffix("/v1"), api_key="none", api_version="1", max_retries=0
    ) as azure:
        watch_openai(azure, hud).with_options(timeout=5).chat.completions.create(model="vlm", messages=MESSAGES)
    assert [call["response"] for call in hud.calls] == ["left", "left"]


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("two", {"response": "go left", "choices": ["go left", "wait"]}),
        ("thinker", {"response": None, "reasoning": "A wall."}),
    ],
)
@pytest.mark.parametrize("streams", [False, True])
def test_choices_and_reasoning_come_through_the_sdk(
    hud: Any, stand_in: str, model: str, shown: dict[str, Any], streams: bool
) -> None:
    with openai.OpenAI(base_url=stand_in, api_key="none", max_retries=0) as client:
        watch_openai(client, hud)
        result: Any = client.chat.completions.create(model=model, messages=MESSAGES, n=2, stream=streams)
        if streams:
            assert len(list(result)) == len(SCRIPT["chat/completions", model, True][2].split("\n\n")) - 2
    assert told(hud.only) | {"finish_reason": ""} == shown | {"finish_reason": ""}


def test_a_stream_of_the_sdk_that_breaks_or_is_closed_early_is_shown_so(hud: Any, stand_in: str) -> None:
    with openai.OpenAI(base_url=stand_in, api_key="none", max_retries=0) as client:
        watch_openai(client, hud)
        with pytest.raises(openai.APIError, match="overloaded"):
            list(client.chat.completions.create(model="cut", messages=MESSAGES, stream=True))
        with client.chat.completions.create(model="vlm", messages=MESSAGES, stream=True) as stream:
            next(stream)
        stream = client.chat.completions.create(model="vlm", messages=MESSAGES, stream=True)
        stream.close()
        with client.chat.completions.with_streaming_response.create(model="vlm", messages=MESSAGES):
            pass
        assert stream.response.is_closed
    assert [(call["response"], call["error"]) for call in hud.calls] == [
        ("le", "APIError: overloaded"), ("le", "the caller stopped reading"), (None, "the caller stopped reading"),
        (None, "the caller stopped reading"),
    ]  # fmt: skip


async def test_an_asynchronous_stream_of_the_sdk_that_is_closed_early_is_shown_so(hud: Any, stand_in: str) -> None:
    async with openai.AsyncOpenAI(base_url=stand_in, api_key="none", max_retries=0) as client:
        watch_openai(client, hud)
        async with await client.chat.completions.create(model="vlm", messages=MESSAGES, stream=True) as stream:
            await anext(stream)
        with pytest.raises(openai.APIError, match="overloaded"):
            async for _ in await client.chat.completions.create(model="cut", messages=MESSAGES, stream=True):
                pass
        async with client.chat.completions.stream(model="vlm", messages=MESSAGES) as helper:
            assert (await helper.get_final_completion()).choices[0].message.content == "left"
    assert [(call["response"], call.get("error")) for call in hud.calls] == [
        ("le", "the caller stopped reading"), ("le", "APIError: overloaded"), ("left", None),
    ]  # fmt: skip


def test_streams_of_raw_responses_are_read_along(hud: Any, stand_in: str) -> None:
    with openai.OpenAI(base_url=stand_in, api_key="none", max_retries=0) as client:
        watch_openai(client, hud)
        raw = client.chat.completions.with_raw_response.create(model="vlm", messages=MESSAGES, stream=True)
        assert "".join(item.choices[0].delta.content or "" for item in raw.parse()) == "left"
        streaming = client.chat.completions.with_streaming_response
        with streaming.create(model="vlm", messages=MESSAGES, stream=True) as answered:
            assert sum(line.startswith("data:") for line in answered.iter_lines()) == 4
        with streaming.create(model="vlm", messages=MESSAGES, stream=True) as answered:
            assert len(list(answered.parse())) == 3
        with streaming.create(model="vlm", messages=MESSAGES) as answered:
            assert answered.parse().choices[0].message.content == "left"
    assert [(call["response"], call.get("error")) for call in hud.calls] == [("left", None)] * 4


async def test_streams_of_asynchronous_raw_responses_are_read_along(hud: Any, stand_in: str) -> None:
    async with openai.AsyncOpenAI(base_url=stand_in, api_key="none", max_retries=0) as client:
        watch_openai(client, hud)
        raw = await client.chat.completions.with_raw_response.create(model="vlm", messages=MESSAGES, stream=True)
        assert len([item async for item in raw.parse()]) == 3
        streaming = client.chat.completions.with_streaming_response
        async with streaming.create(model="vlm", messages=MESSAGES, stream=True) as answered:
            assert len([item async for item in await answered.parse()]) == 3
        async with streaming.create(model="vlm", messages=MESSAGES) as answered:
            assert (await answered.parse()).choices[0].message.content == "left"
    assert [(call["response"], call.get("error")) for call in hud.calls] == [("left", None)] * 3


def test_an_answer_that_the_sdk_refuses_to_parse_is_shown_all_the_same(hud: Any, stand_in: str) -> None:
    class Move(pydantic.BaseModel):
        button: str

    with openai.OpenAI(base_url=stand_in, api_key="none", max_retries=0) as client:
        watch_openai(client, hud)
        with pytest.raises(openai.LengthFinishReasonError):
            client.chat.completions.parse(model="short", messages=MESSAGES, response_format=Move)
    assert hud.only["error"].startswith("LengthFinishReasonError")


def test_the_responses_interface_is_watched(hud: Any, stand_in: str) -> None:
    with openai.OpenAI(base_url=stand_in, api_key="none", max_retries=0) as client:
        watch_openai(client, hud)
        assert client.responses.create(model="vlm", input=INPUT, instructions="Play.").output_text == "left"
        client.responses.create(model="short", input=INPUT)
        with client.responses.create(model="vlm", input=INPUT, stream=True) as stream:
            assert [event.type for event in stream] == [event["type"] for event in RESPONSE_EVENTS]
        with client.responses.stream(model="vlm", input=INPUT) as helper:
            assert helper.get_final_response().output_text == "left"
        with client.responses.create(model="vlm", input=INPUT, stream=True) as stream:
            for event in stream:
                if event.type == "response.output_text.delta":
                    break
        client.responses.with_raw_response.create(model="vlm", input=INPUT)
        assert client.responses.parse(model="vlm", input=INPUT).output_text == "left"
        client.with_options(timeout=5).responses.create(model="vlm", input="no picture")
    whole, short, streamed, helped, stopped, raw, parsed = hud.calls
    assert (whole["image"], whole["prompt"], whole["model"]) == (JPEG, "Where to?", "vlm-2")
    assert (whole["prompt_tokens"], whole["completion_tokens"]) == (300, 5)
    expected = {"response": 'left\npress({"a": 1})', "reasoning": "A wall.", "finish_reason": "completed"}
    assert told(whole) == told(raw) == told(parsed) == expected
    assert short["finish_reason"] == "max_output_tokens"
    assert (streamed["response"], helped["response"], stopped["response"]) == ("left", "left", "le")
    assert streamed["first_token_ms"] <= streamed["response_time_ms"]
    assert stopped["error"] == "the caller stopped reading"


@pytest.mark.parametrize(
    ("given", "image", "prompt"),
    [
        ([{"role": "user", "content": "press"}, {"type": "function_call", "name": "look"},
          {"type": "function_call_output", "output": [{"type": "input_image", "image_url": URL}]}], JPEG, "press"),
        ([{"role": "user", "content": "press"}, {"type": "reasoning"}, {"type": "computer_call"},
          {"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": URL}}],
         JPEG, "press"),
        ([{"role": "user", "content": [{"type": "input_image", "file_id": "file-abc"}]}], "file-abc", "Play."),
    ],
)  # fmt: skip
def test_pictures_of_the_responses_interface_are_found_where_they_are(
    hud: Any, given: Any, image: Any, prompt: str
) -> None:
    client = SimpleNamespace(responses=SimpleNamespace(create=lambda **_kwargs: response()))
    watch_openai(client, hud).responses.create(input=given, instructions="Play.")
    assert (hud.only["image"], hud.only["prompt"]) == (image, prompt)
