"""Every prompt is rendered here: in training, inference and the server, by the chat template alone.

Control words in somebody's text are text: only the template writes marks of a prompt.

A tokenizer finds `<|audio|>` or `<|im_end|>` wherever it stands, in a question as well. So such a
word in a text is cut by a seam, a character that no text has, and what lies between seams is
tokenized by itself: no piece holds the whole word. Texts without such words are left as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

SEAM = "\ufdd0"  # of the characters that Unicode keeps for a program's own use


def render(
    tokenizer: Any,
    messages: Sequence[dict[str, Any]],
    *,
    answer: bool = True,
    template: str | dict[str, str] | None = None,
) -> str:
    """A conversation as the text that a model reads; `encode` makes ids of it.

    Args:
        tokenizer: of the model.
        messages: `role` and `content` each; control words in them stay plain text.
        answer: end where the model's answer begins.
        template: Jinja template of the chat, or several by name; by default the tokenizer's own.
    """
    if not messages:
        return ""
    return tokenizer.apply_chat_template(
        plain_messages(tokenizer, messages),
        tokenize=False,
        add_generation_prompt=answer,
        chat_template=template,
    )


def plain(tokenizer: Any, text: str) -> str:
    """A text whose control words won't be read as marks; for a template, then `encode`."""
    pattern = _control_words(tokenizer, len(tokenizer))
    return pattern.sub(lambda found: f"{found[1]}{SEAM}", text) if pattern else text


def plain_messages(tokenizer: Any, messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A conversation with `plain` texts; parts that aren't text stay.

    Args:
        tokenizer: of the model that reads it.
        messages: `role` and `content` each, content a string or a list of parts.
    """
    out = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            message = message | {"content": plain(tokenizer, content)}
        elif isinstance(content, (list, tuple)):
            message = message | {"content": _plain_parts(tokenizer, content)}
        out.append(message)
    return out


def _plain_parts(tokenizer: Any, parts: Sequence[Any]) -> list[Any]:
    out: list[Any] = []
    before = ""  # texts since the last part that isn't one
    for part in parts:
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            out.append(part)
            before = ""
            continue
        text = plain(tokenizer, part["text"])
        # Templates write texts one after another: a word may begin in one and end in the next.
        if plain(tokenizer, before + part["text"]) != before + text:
            text = SEAM + text
        before += text
        out.append(part | {"text": text})
    return out


def encode(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a prompt or text, with its seams kept; nothing is added to it."""
    return [
        token
        for piece in prompt.split(SEAM)
        for token in tokenizer(piece, add_special_tokens=False).input_ids
    ]


def encode_with_offsets(tokenizer: Any, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Token ids of somebody's text, and the characters of `text` that each stands for."""
    ids: list[int] = []
    offsets: list[tuple[int, int]] = []
    begin = 0
    for piece in plain(tokenizer, text).split(SEAM):
        row = tokenizer(piece, add_special_tokens=False, return_offsets_mapping=True)
        ids += row["input_ids"]
        offsets += [(begin + a, begin + b) for a, b in row["offset_mapping"]]
        begin += len(piece)
    return ids, offsets


@lru_cache(maxsize=8)
def _control_words(tokenizer: Any, size: int) -> re.Pattern[str] | None:
    """Finds the first character of every control word, of words that overlap too.

    Args:
        tokenizer: its special tokens are such words, and what looks like them (`<tool_call>`).
            Ordinary words that it was given as one token (`user`) aren't.
        size: of its vocabulary: a tokenizer that got new tokens is looked at anew.
    """
    added = tokenizer.added_tokens_decoder.values()
    special = {str(word) for word in tokenizer.all_special_tokens}
    words = {token.content for token in added if token.special or _looks_so(token.content)}
    found = sorted((w for w in words | special if len(w) > 1), key=len, reverse=True)
    if not found:
        return None
    first = {w[0] for w in found}
    rest = "|".join(re.escape(w) for w in found)
    return re.compile(f"(?=(?:{rest}))([{re.escape(''.join(sorted(first)))}])")


def _looks_so(word: str) -> bool:
    return word.startswith("<") and word.endswith(">")
