"""A watched client gives its caller exactly what it gave before; and what the model saw and said is shown."""

from __future__ import annotations

import asyncio
import base64
import copy
import inspect
import json
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from hud_publisher.openai_watch import watch_openai
from tests.fixtures.publishing import JPEG

URL = "data:image/jpeg;base64," + base64.b64encode(JPEG).decode()
PICTURE = {"type": "image_url", "image_url": {"url": URL}}
MESSAGES: list[Any] = [
    {"role": "system", "content": "You play Zelda."},
    {"role": "user", "content": [{"type": "text", "text": "Where to?"}, PICTURE]},
]


class Recorder:
    """Stands for a publisher and keeps what it is given."""

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
        [{"content": [{"type": "image_url", "image_url": {"url": "https://elsewhere/picture.png"}}]}],
        [{"content": [{"type": "image_url", "image_url": None}]}],
    ],
)  # fmt: skip
def test_a_call_without_a_picture_is_passed_on_and_not_shown(hud: Any, messages: Any) -> None:
    result = object()
    client = watch_openai(client_of(lambda **_kwargs: result), hud)
    assert client.chat.completions.create(messages=messages) is result
    assert hud.calls == []


def test_the_newest_picture_is_shown_with_the_text_beside_it(hud: Any) -> None:
    other = "data:image/png;base64," + base64.b64encode(b"other").decode()
    messages = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": other}}]},
        SimpleNamespace(content=[SimpleNamespace(text="now?"), SimpleNamespace(image_url=SimpleNamespace(url=URL))]),
        {"role": "assistant", "content": "hm"},
    ]
    watch_openai(client_of(lambda **_kwargs: answer()), hud).chat.completions.create(messages=messages)
    assert (hud.only["image"], hud.only["prompt"]) == (JPEG, "now?")


def test_what_the_model_asks_a_tool_to_do_is_its_answer(hud: Any) -> None:
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


def test_a_stream_that_breaks_off_raises_what_it_raised(hud: Any) -> None:
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
def test_what_is_no_client_is_returned_as_it_is(hud: Any, client: Any) -> None:
    assert watch_openai(client, hud) is client


def test_a_picture_that_is_no_base64_is_not_shown(hud: Any) -> None:
    messages = [{"content": [{"image_url": "data:image/png;base64,?"}]}]
    result = answer()
    assert watch_openai(client_of(lambda **_kwargs: result), hud).chat.completions.create(messages=messages) is result
    assert hud.calls == []


class StandIn(BaseHTTPRequestHandler):
    """An OpenAI-compatible server: answers, streams where asked to, and fails for the model `broken`."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        base = {"id": "1", "created": 1, "model": "vlm-2"}
        if asked["model"] == "broken":
            self._send(400, "application/json", json.dumps({"error": {"message": "no such model"}}))
        elif asked.get("stream"):
            deltas = [{"role": "assistant", "content": "le"}, {"content": "ft"}, {}]
            chunks = [
                base
                | {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
                for delta in deltas
            ]
            lines = [f"data: {json.dumps(item)}\n\n" for item in chunks] + ["data: [DONE]\n\n"]
            self._send(200, "text/event-stream", "".join(lines))
        else:
            message = {"role": "assistant", "content": "left"}
            usage = {"prompt_tokens": 300, "completion_tokens": 5, "total_tokens": 305}
            choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
            self._send(
                200, "application/json",
                json.dumps(base | {"object": "chat.completion", "choices": choices, "usage": usage}),
            )  # fmt: skip

    def _send(self, status: int, kind: str, text: str) -> None:
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
    assert [call["response"] for call in hud.calls] == ["left", None]


def test_the_other_ways_of_the_openai_sdk_to_ask_are_watched_once_each(hud: Any, stand_in: str) -> None:
    with openai.OpenAI(base_url=stand_in, api_key="none", max_retries=0) as client:
        watch_openai(client, hud)
        watch_openai(client, hud)
        assert client.chat.completions.parse(model="vlm", messages=MESSAGES).choices[0].message.content == "left"
        with client.chat.completions.stream(model="vlm", messages=MESSAGES) as stream:
            assert [event.type for event in stream]
            assert stream.get_final_completion().choices[0].message.content == "left"
    assert [call["response"] for call in hud.calls] == ["left", "left"]
