"""Draws the pictures of how/road.md from the bundled model: `python tools/draw_road.py`.

`road-sound`: the first three seconds of a recording as wave, log-mel features, audio tokens and the
letters that the adapter read. `road-attention`: which audio tokens each written letter listened
to. Both come as SVG for the light and for the dark theme. Run it again when the weights change.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import borealis
from borealis.audio import SAMPLING_RATE, load_audio
from borealis.checkpoints import BUNDLE, bundled
from borealis.inference.inspection import answer_attention
from borealis.inference.words import ctc_log_probs

ROOT = Path(__file__).resolve().parent.parent
RECORDING = ROOT / "examples" / "audio" / "speech.flac"
OUTPUT = ROOT / "docs" / "assets" / "img"

# Training showed these heads where to listen (guide_layers of the recipe, `attention_loss`).
LAYERS, HEADS = (1, 2), (0, 1)

WIDTH, LEFT, RIGHT = 640, 12, 12
SECONDS = 3.0  # of the first picture
LETTER_HEIGHT, SPACE_HEIGHT, LABELS = 9, 7, 148
FAINT = 0.04  # attention that isn't drawn


@dataclass(frozen=True)
class Theme:
    """Colours of one variant: text, lines, what is heard, and its `r, g, b` for the raster."""

    name: str
    text: str
    line: str
    sound: str
    raster: tuple[int, int, int]


THEMES = (
    Theme("light", "#37474f", "#b0bec5", "#00796b", (0, 77, 64)),
    Theme("dark", "#cfd8dc", "#546e7a", "#4db6ac", (128, 222, 208)),
)


@dataclass(frozen=True)
class Heard:
    """What a recording becomes on its way.

    Args:
        audio: float32 `[num_samples]`.
        mel: log-mel features of the recording `[num_mel_bins, mel_frames]`, 100 frames a second.
        letters: what CTC read in each audio token.
        written: the transcript.
        attention: `[characters, audio tokens]`, mean of the guided heads.
    """

    audio: np.ndarray
    mel: np.ndarray
    letters: list[str]
    written: str
    attention: np.ndarray


def hear(recording: Path) -> Heard:
    """Transcribe a recording and look inside."""
    model = borealis.load("nano", device="cpu")
    config, audio = model.model.config, load_audio(recording)
    ids, heads = answer_attention(model, audio, model.transcribe(audio).text)
    rows = heads[np.ix_(LAYERS, HEADS)].mean((0, 1))  # [answer tokens, audio tokens]
    written, attention = by_character(model.processor.tokenizer, ids, rows)
    mel = model.processor.extract_features([audio])["input_features"][0]
    return Heard(
        audio=audio,
        mel=mel[:, : len(audio) // config.hop_length].numpy(),
        letters=read_letters(ctc_log_probs(model, audio), config),
        written=written,
        attention=attention,
    )


def by_character(tokenizer: Any, ids: list[int], rows: np.ndarray) -> tuple[str, np.ndarray]:
    """The text of `ids`, and for each character the mean row of the tokens that write it.

    A token may be a part of a character (bytes) or hold several.
    """
    text = ""
    waiting: list[np.ndarray] = []
    attention: list[np.ndarray] = []
    for end, row in enumerate(rows, 1):
        whole = tokenizer.decode(ids[:end]).rstrip("\N{REPLACEMENT CHARACTER}")
        waiting.append(row)
        if len(whole) > len(text):
            attention += [np.mean(waiting, 0)] * (len(whole) - len(text))
            text, waiting = whole, []
    return text, np.stack(attention)


def read_letters(log_probs: np.ndarray, config: Any) -> list[str]:
    """For each audio token the letters that CTC read in its frames, without repetitions."""
    best = [0, *log_probs.argmax(-1).tolist()]
    heard = [""] * -(-len(log_probs) // config.downsample_factor)
    for frame, (before, label) in enumerate(pairwise(best)):
        if label not in (0, before):
            heard[frame // config.downsample_factor] += config.ctc_labels[label - 1]
    return heard


# ---- drawing ----


class Drawing:
    """SVG elements of a picture `WIDTH` wide."""

    def __init__(self, theme: Theme, title: str) -> None:
        self.theme, self.title = theme, title
        self.parts: list[str] = []

    def add(self, element: str) -> None:
        self.parts.append(element)

    def text(
        self, x: float, y: float, text: str, *, size: int = 16, anchor: str = "middle"
    ) -> None:
        self.add(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
            f'fill="{self.theme.text}">{escape(text)}</text>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float) -> None:
        self.add(
            f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{self.theme.line}" '
            'stroke-width="1" fill="none"/>'
        )

    def seconds(self, left: float, width: float, y: float, seconds: float) -> None:
        """A ruler in whole seconds under a picture."""
        self.line(left, y, left + width, y)
        for second in range(int(seconds) + 1):
            x = left + width * second / seconds
            self.line(x, y, x, y + 5)
            self.text(x, y + 20, str(second))

    def save(self, path: Path, height: float) -> None:
        body = "\n".join(self.parts)
        path.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
            f'font-family="sans-serif" role="img"><title>{escape(self.title)}</title>\n'
            f"<metadata>{weights()}</metadata>\n{body}\n</svg>\n",
            encoding="utf-8",
        )
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1024:.0f} KB")


def weights() -> str:
    """What the pictures were drawn from, so that a test sees when they are out of date."""
    with (bundled()["nano"] / BUNDLE).open("rb") as stream:
        return f"weights {hashlib.file_digest(stream, 'sha256').hexdigest()[:16]}"


def draw_sound(heard: Heard, theme: Theme) -> None:
    """Wave, log-mel features, audio tokens and letters over one ruler."""
    drawing = Drawing(theme, "wave, log-mel features, audio tokens, letters")
    width = WIDTH - LEFT - RIGHT
    shown = round(SECONDS * SAMPLING_RATE)
    wave = heard.audio[:shown].reshape(-1, shown // 600)  # [600 columns, samples of a column]
    scale, middle = 28 / np.abs(wave).max(), 32
    xs = LEFT + width * (np.arange(len(wave)) + 0.5) / len(wave)
    columns = zip(xs, wave.min(1) * scale, wave.max(1) * scale, strict=True)
    path = "".join(f"M{x:.1f} {middle - high:.1f}V{middle - low:.1f}" for x, low, high in columns)
    drawing.add(f'<path d="{path}" stroke="{theme.sound}" stroke-width="1" fill="none"/>')

    top, height = 72, 130
    mel = heard.mel[:, : round(SECONDS * 100)]
    drawing.add(
        f'<image x="{LEFT}" y="{top}" width="{width}" height="{height}" '
        f'preserveAspectRatio="none" href="{raster(mel, theme)}"/>'
    )

    top += height + 12
    cell = width * 0.08 / SECONDS
    for token, letters in enumerate(heard.letters[: math.ceil(SECONDS / 0.08)]):
        x = LEFT + token * cell
        wide = min(cell, LEFT + width - x) - 2
        drawing.add(
            f'<rect x="{x + 1:.1f}" y="{top}" width="{wide:.1f}" height="16" rx="2" '
            f'fill="{theme.sound}" fill-opacity="0.35"/>'
        )
        drawing.text(x + cell / 2, top + 34, letters.strip(), size=14)

    top += 36
    drawing.seconds(LEFT, width, top + 12, SECONDS)
    drawing.save(OUTPUT / f"road-sound-{theme.name}.svg", top + 40)


def draw_attention(heard: Heard, theme: Theme) -> None:
    """A row for each written letter, a column for each audio token."""
    drawing = Drawing(theme, "attention of the written letters to the audio tokens")
    left, width = LABELS, WIDTH - LABELS - RIGHT
    column = width / len(heard.letters)
    y, word, word_top = 8.0, "", 8.0
    for letter, row in zip([*heard.written, " "], [*heard.attention, None], strict=True):
        if row is None or letter.isspace():
            if word:
                drawing.text(LABELS - 10, (word_top + y) / 2 + 5, word, anchor="end")
            word, y = "", y + SPACE_HEIGHT
            word_top = y
            continue
        if not word:
            drawing.line(left, y - SPACE_HEIGHT / 2, left + width, y - SPACE_HEIGHT / 2)
        word += letter
        for token in np.flatnonzero(row > FAINT):
            drawing.add(
                f'<rect x="{left + token * column:.1f}" y="{y:.0f}" width="{column:.1f}" '
                f'height="{LETTER_HEIGHT}" fill="{theme.sound}" '
                f'fill-opacity="{min(1.0, float(row[token])):.2f}"/>'
            )
        y += LETTER_HEIGHT
    drawing.seconds(left, width, y, len(heard.letters) * 0.08)
    drawing.save(OUTPUT / f"road-attention-{theme.name}.svg", y + 28)


def raster(mel: np.ndarray, theme: Theme) -> str:
    """Log-mel features as a data URI: the louder, the less transparent; low pitch at the bottom."""
    low, high = np.percentile(mel, [5, 99.5])
    alpha = (np.clip((mel - low) / (high - low), 0, 1) * 255).astype(np.uint8)[::-1]
    pixels = np.empty((*alpha.shape, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = theme.raster, alpha
    stream = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(stream, "WEBP", quality=85, method=6)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


def main() -> None:
    """Draw everything."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    heard = hear(RECORDING)
    for theme in THEMES:
        draw_sound(heard, theme)
        draw_attention(heard, theme)


if __name__ == "__main__":
    main()
