"""Guided attention: where in the audio the language model should listen, known for pseudo-audio.

An answer that is spelled out (a transcript, the first word) is heard letter by letter: each
position that predicts a letter should listen to where that letter sounds. A word that is asked
about is found letter by letter too: each of its letters in the question should listen to where it
was said. Where a transcript stands before the questions, they listen to its letters instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from borealis.data.text import LETTERS
from borealis.errors import RecipeError
from borealis.prompts import encode_with_offsets
from borealis.training.data.batch import Batch, Example, Vocabulary
from borealis.training.data.talks import IGNORE, Turn
from borealis.training.losses.auxiliary import Lesson, Passed

Guide = tuple[int, int, int]  # position that listens, first and last place it should listen to


@dataclass(frozen=True)
class GuideLoss:
    """See `AuxiliaryLoss`.

    Args:
        weight: of the loss.
        layers: whose first two heads are guided.
    """

    weight: float
    layers: tuple[int, ...]
    names: ClassVar[tuple[str, ...]] = ("guide",)
    looks_inside: ClassVar[bool] = True

    def check(self, stage: str, layers: int) -> None:
        """See `AuxiliaryLoss`."""
        if not all(0 <= layer < layers for layer in self.layers):
            raise RecipeError(
                f"Stage {stage}: losses.guide.layers is {list(self.layers)}; the language model "
                f"has the layers 0 to {layers - 1}."
            )

    def targets(
        self, lesson: Lesson, batch: Batch, examples: Sequence[Example], vocabulary: Vocabulary
    ) -> Batch:
        """`guides` of all conversations as `[guides, 4]`: the row, and what belongs to it."""
        if lesson == "transcription":
            return {}
        found: list[tuple[int, ...]] = []
        for row, example in enumerate(examples):
            # A transcript in view is a place to look at; of recorded sound no places are known.
            read = example.talk[0].given and example.talk[0].answer
            if lesson == "questions" and not read:
                continue
            text = example.text if lesson == "pseudo" else ""
            places = guides(
                example.talk,
                text,
                example.char_frames,
                batch["input_ids"][row],
                batch["labels"][row],
                tokenizer=vocabulary.tokenizer,
                audio_token_id=vocabulary.audio_token_id,
                factor=vocabulary.factor,
            )
            found += [(row, *guide) for guide in places]
        return {"guide": torch.tensor(found, dtype=torch.long).reshape(-1, 4)}

    def wants(self, batch: Batch) -> dict[str, bool]:
        """Attention, where anything is guided."""
        return {"output_attentions": True} if len(batch.get("guide", ())) else {}

    def values(self, batch: Batch, passed: Passed) -> dict[str, torch.Tensor]:
        """`guide`."""
        if not len(batch.get("guide", ())):
            return {}
        return {"guide": attention_loss(passed.outputs.attentions, batch["guide"], self.layers)}


def word_frames(text: str, char_frames: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The spoken words of `text` with the frame of each letter.

    Args:
        text: the sentence.
        char_frames: frame of each character of `text`, int `[chars]`.
    """
    words: list[tuple[str, list[int]]] = [("", [])]
    for char, frame in zip(text, char_frames, strict=True):
        spoken = LETTERS.fold(char)
        if not spoken and (char.isspace() or char in "-—–"):
            words.append(("", []))
        elif spoken:
            words[-1] = (words[-1][0] + spoken, [*words[-1][1], int(frame)])
    return [(word, np.array(frames)) for word, frames in words if word]


def guides(
    talk: Sequence[Turn],
    text: str,
    char_frames: np.ndarray,
    ids: torch.Tensor,
    labels: torch.Tensor,
    *,
    tokenizer: Any,
    audio_token_id: int,
    factor: int,
) -> list[Guide]:
    """What the positions of one conversation about pseudo-audio should listen to.

    Args:
        talk: the turns, in the order of `ids`.
        text: the sentence behind the pseudo-audio.
        char_frames: frame of each character of `text`, int `[chars]`.
        ids: the conversation `[sequence]`.
        labels: -100 outside the answers `[sequence]`.
        tokenizer: the language model's.
        audio_token_id: id of the placeholder.
        factor: encoder frames in an audio token.
    """
    places = (ids == audio_token_id).nonzero().flatten()
    audio, count = int(places[0]), len(places)
    read = None
    if talk[0].given:  # the letters of the transcript are places themselves
        text, talk = talk[0].answer, talk[1:]
        char_frames = np.arange(len(text))
        # The first place: it may be asked for once more further on.
        letters, _ = encode_with_offsets(tokenizer, text)
        read = find_tokens(ids, letters, audio + count, len(ids))
        if read is None:
            return []
    words = word_frames(text, char_frames)

    def span(frames: np.ndarray) -> tuple[int, int]:
        if read is not None:
            return read + int(frames.min()), read + int(frames.max())
        # One token more: a letter often sounds on into the next 80 ms.
        last = min(int(frames.max()) // factor + 1, count - 1)
        return audio + int(frames.min()) // factor, audio + last

    found: list[Guide] = []
    before = audio + count if read is None else read + len(text)
    for turn, (start, end) in zip(talk, answer_spans(labels), strict=True):
        if turn.task == "transcribe" and turn.answer == text:
            for i, (a, b) in enumerate(_offsets(tokenizer, turn.answer)):
                if b > a:
                    found.append((start + i - 1, *span(char_frames[a:b])))
        elif turn.task in ("first_word", "last_word") and words:
            word, frames = words[0 if turn.task == "first_word" else -1]
            if word == turn.word:
                for i, (a, b) in enumerate(_offsets(tokenizer, word)):
                    found.append((start + i - 1, *span(frames[a:b])))
        elif turn.task == "word_present":
            said = [frames for word, frames in words if word == turn.word]
            letters, _ = encode_with_offsets(tokenizer, turn.word)
            asked = find_tokens(ids, letters, before, start, last=True)
            if len(said) == 1 and asked is not None:
                # The first letter may be anywhere yet; from the second on the place gets clear.
                for i, (a, b) in enumerate(_offsets(tokenizer, turn.word)):
                    if i:
                        found.append((asked + i, *span(said[0][a : b + 1])))
        before = end
    return found


def answer_spans(labels: torch.Tensor) -> list[tuple[int, int]]:
    """First and one past the last position of each answer."""
    learned = (labels != IGNORE).int()
    edges = torch.diff(learned, prepend=learned.new_zeros(1), append=learned.new_zeros(1))
    starts, ends = (edges == 1).nonzero().flatten(), (edges == -1).nonzero().flatten()
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def _offsets(tokenizer: Any, text: str) -> list[tuple[int, int]]:
    return encode_with_offsets(tokenizer, text)[1]


def find_tokens(
    ids: torch.Tensor, wanted: Sequence[int], start: int, end: int, *, last: bool = False
) -> int | None:
    """Where `wanted` first (or last) stands in `ids[start:end]`.

    None if a tokenizer joined it to other tokens.
    """
    values = ids[start:end].tolist()
    places = range(len(values) - len(wanted) + 1)
    for place in reversed(places) if last else places:
        if values[place : place + len(wanted)] == list(wanted):
            return start + place
    return None


def attention_loss(
    attentions: tuple[torch.Tensor, ...], guide: torch.Tensor, layers: Sequence[int]
) -> torch.Tensor:
    """Push two heads of some layers to listen where the next piece was said.

    Guided attention (Tachibana et al. 2018) with exact targets: the alignment of pseudo-audio is
    known. The loss is minus the log of the attention that falls into the wanted span.

    Args:
        attentions: per layer `[batch, heads, sequence, sequence]`.
        guide: `[N, 4]`: row, query position, first and last wanted position.
        layers: guided layers.
    """
    row, query, low, high = guide.unbind(1)
    places = torch.arange(attentions[0].shape[-1], device=guide.device)[None]
    wanted = (places >= low[:, None]) & (places <= high[:, None])
    total = attentions[0].new_zeros(())
    for layer in layers:
        rows = attentions[layer][row, :2, query]  # [N, 2, sequence]
        mass = (rows.float() * wanted[:, None]).sum(-1)
        total = total - mass.clamp(min=1e-7).log().mean()
    return total / len(layers)
