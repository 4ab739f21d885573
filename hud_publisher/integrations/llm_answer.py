"""A model's answer: choices, reasoning, refusals and tool calls, collected from a whole answer or from its chunks.

Knows chat completions and the Responses API by their shape, and the fields that servers such as vLLM add. Bounded for
streams of any length. Never raises. Called by `openai_watch`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hud_publisher.integrations.llm_question import field_of, items
from hud_publisher.protocol.cleaning import clean_metrics
from hud_publisher.protocol.names import MAX_TEXT_CHARS
from hud_publisher.protocol.values import to_json

#: Choices of one answer that are kept: OpenAI's own limit on `n`.
MAX_CHOICES = 128
MAX_TOOL_CALLS = 128
#: Characters of all choices together, if there are several: with escapes they stay within an entry's limit.
MAX_CHOICES_CHARS = 4 * MAX_TEXT_CHARS


class _Text:
    """Text that grows up to a limit."""

    __slots__ = ("_text",)

    def __init__(self) -> None:
        self._text = ""

    def add(self, text: Any) -> bool:
        """Append text; return whether there was any."""
        if not isinstance(text, str) or not text:
            return False
        self._text += text[: MAX_TEXT_CHARS - len(self._text)]
        return True

    def __str__(self) -> str:
        return self._text


class _Choice:
    """One of an answer's choices."""

    def __init__(self) -> None:
        self.content, self.reasoning, self.refusal = _Text(), _Text(), _Text()
        self.finish_reason: str | None = None
        self._tools: dict[Any, tuple[list[str], _Text]] = {}

    def __str__(self) -> str:
        calls = [f"{''.join(name)}({arguments})" for name, arguments in self._tools.values()]
        return "\n".join(part for part in (str(self.content), *calls) if part)

    def label(self) -> str:
        """The text of this choice in a list of all choices."""
        refusal = str(self.refusal)
        return str(self) or (f"refusal: {refusal}" if refusal else str(self.reasoning))

    def read(self, message: Any) -> bool:
        """Process a message or a delta; return whether it holds any text."""
        found = self._read_content(field_of(message, "content"))
        for name in ("reasoning_content", "reasoning"):  # vLLM, DeepSeek; OpenRouter
            if self._read_parts(self.reasoning, field_of(message, name)):
                found = True
                break
        found |= self.refusal.add(field_of(message, "refusal"))
        if not found:
            found = self.content.add(field_of(field_of(message, "audio"), "transcript"))
        for number, tool in enumerate(items(field_of(message, "tool_calls"))):
            index = field_of(tool, "index")
            function = field_of(tool, "function") or field_of(tool, "custom")
            found |= self.call(number if index is None else index, function)
        if (function := field_of(message, "function_call")) is not None:
            found |= self.call("function_call", function)
        return found

    def call(self, key: Any, function: Any) -> bool:
        """Process a tool call, or the next piece of one."""
        key, told, given = str(key), field_of(function, "name"), field_of(function, "arguments")
        given = field_of(function, "input") if given is None else given
        is_call = isinstance(told, str) or isinstance(given, (str, Mapping, list))
        if not is_call or (len(self._tools) >= MAX_TOOL_CALLS and key not in self._tools):
            return False
        name, arguments = self._tools.setdefault(key, ([], _Text()))
        is_new = isinstance(told, str) and not name
        if is_new:
            name.append(told[:256])
        return arguments.add(given if given is None or isinstance(given, str) else _json(given)) or is_new

    def _read_content(self, content: Any) -> bool:
        found = self.content.add(content)
        for part in items(content):
            kind = field_of(part, "type")
            if kind in ("thinking", "reasoning", "reasoning_text", "summary_text"):
                found |= self._read_parts(self.reasoning, field_of(part, "thinking") or field_of(part, "text"))
            elif kind == "refusal":
                found |= self.refusal.add(field_of(part, "refusal"))
            else:
                found |= self.content.add(part if isinstance(part, str) else field_of(part, "text"))
        return found

    @staticmethod
    def _read_parts(text: _Text, given: Any) -> bool:
        """Append text, the text of an object, or of each in a list."""
        found = text.add(given) or text.add(field_of(given, "text")) or text.add(field_of(given, "content"))
        for part in items(given):
            found |= text.add(part if isinstance(part, str) else field_of(part, "text"))
        return found


class Answer:
    """The parts of one answer that have been read."""

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self._facts: dict[str, Any] = {}

    @property
    def is_finished(self) -> bool:
        """Whether every choice gave its finish reason: further chunks hold numbers only."""
        return bool(self._choices) and all(choice.finish_reason for choice in self._choices.values())

    def read(self, answer: Any) -> bool:
        """Process a whole answer, a chunk or an event; return whether it holds any text."""
        found = False
        kind = field_of(answer, "type")
        if isinstance(kind, str) and (kind.startswith("response.") or kind == "error"):
            return self._read_event(kind, answer)
        choices = field_of(answer, "choices")
        if choices is None:
            found |= self._read_output(answer)
        for choice in items(choices):
            known = self._choice(field_of(choice, "index"))
            if known is None:
                continue
            message = field_of(choice, "message")
            found |= known.read(field_of(choice, "delta") if message is None else message)
            reason = field_of(choice, "finish_reason")
            known.finish_reason = reason if isinstance(reason, str) else known.finish_reason
        self._read_facts(answer)
        return found

    def facts(self) -> dict[str, Any]:
        """Fields for the page: model, tokens, finish reason; and all choices, reasoning and refusals, if any."""
        choices = [self._choices[index] for index in sorted(self._choices)]
        facts = dict(self._facts)
        reasons = list(dict.fromkeys(choice.finish_reason for choice in choices if choice.finish_reason))
        if reasons:
            facts["finish_reason"] = ", ".join(reasons)
        if len(choices) > 1:
            most = MAX_CHOICES_CHARS // len(choices)
            facts["choices"] = [choice.label()[:most] for choice in choices]
        for name in ("reasoning", "refusal"):
            told = [(number, text) for number, choice in enumerate(choices, 1) if (text := str(getattr(choice, name)))]
            if told:
                several = len(choices) > 1
                facts[name] = "\n\n".join(f"{number}: {text}" if several else text for number, text in told)
        return facts

    def text(self) -> str | None:
        """The text of the first choice; None if it is empty."""
        return (str(self._choices[min(self._choices)]) or None) if self._choices else None

    def _choice(self, index: Any) -> _Choice | None:
        number = index if isinstance(index, int) else 0
        if number not in self._choices and len(self._choices) < MAX_CHOICES:
            self._choices[number] = _Choice()
        return self._choices.get(number)

    def _read_facts(self, answer: Any) -> None:
        usage = field_of(answer, "usage")
        error = field_of(answer, "error")
        tokens = {
            "prompt_tokens": field_of(usage, "prompt_tokens") or field_of(usage, "input_tokens"),
            "completion_tokens": field_of(usage, "completion_tokens") or field_of(usage, "output_tokens"),
        }
        told = {"model": field_of(answer, "model"), **tokens}
        if error is not None:
            told["error"] = str(field_of(error, "message") or error)[:500]
        self._facts |= {name: value for name, value in told.items() if isinstance(value, (str, int, float))}

    # -- the Responses API --------------------------------------------------------------------------------------------

    def _read_output(self, response: Any) -> bool:
        output = items(field_of(response, "output"))
        status = field_of(response, "status")
        if not output and not isinstance(status, str):
            return False
        choice = self._choices[0] = _Choice()
        found = False
        for number, item in enumerate(output):
            kind = field_of(item, "type")
            if kind == "message":
                found |= choice.read({"content": field_of(item, "content")})
            elif kind == "reasoning":
                told = items(field_of(item, "content")) or field_of(item, "summary")
                found |= choice.read({"reasoning": told})
            elif isinstance(kind, str) and kind.endswith("_call"):
                given = next((given for name in _GIVEN if (given := field_of(item, name)) is not None), "")
                found |= choice.call(number, {"name": field_of(item, "name") or kind, "arguments": given})
        reason = field_of(field_of(response, "incomplete_details"), "reason") or status
        choice.finish_reason = reason if isinstance(reason, str) else None
        return found

    def _read_event(self, kind: str, event: Any) -> bool:
        if (response := field_of(event, "response")) is not None:
            if kind in ("response.completed", "response.incomplete", "response.failed"):
                self._read_output(response)
            self._read_facts(response)
            return False
        if kind == "error":
            self._facts["error"] = str(field_of(event, "message"))[:500]
            return False
        choice, delta = self._choice(0), field_of(event, "delta")
        if choice is None:
            return False
        place = field_of(event, "output_index")
        if kind == "response.output_item.added":
            item = field_of(event, "item")
            is_call = str(field_of(item, "type")).endswith("_call")
            return is_call and choice.call(place, {"name": field_of(item, "name") or field_of(item, "type")})
        if kind in ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta"):
            return choice.call(place, {"arguments": delta})
        if kind == "response.output_text.delta":
            return choice.content.add(delta)
        if kind == "response.refusal.delta":
            return choice.refusal.add(delta)
        is_reasoning = kind in ("response.reasoning_text.delta", "response.reasoning_summary_text.delta")
        return is_reasoning and choice.reasoning.add(delta)


#: Fields in which items of the Responses API keep the input of a tool.
_GIVEN = ("arguments", "input", "action", "code", "queries")


def _json(value: Any) -> str:
    return to_json(clean_metrics({"": value}).get("", {}))
