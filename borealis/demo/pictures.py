"""HTML of the demo: words with times, downloads, the picture of a recording and of attention.

Whatever came from a model or a visitor is escaped here; nothing else makes HTML.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from urllib.parse import quote

import numpy as np

from borealis.demo.texts import TEXTS, number
from borealis.inference import Transcript, Word, formats
from borealis.inference.inspection import Inspection

SURE, HALF_SURE = 0.9, 0.6
DOWNLOADS = {"srt": "application/x-subrip", "vtt": "text/vtt", "json": "application/json"}
_TEAL = (31, 169, 155)
_FAINT = 0.02  # attention that isn't drawn
_WAVE_COLUMNS = 700


def note(text: str, *, kind: str = "", done: float | None = None) -> str:
    """A line about what goes on; with `done`, a progress bar. An error is read aloud at once."""
    if not text:
        return ""
    role = "alert" if "error" in kind else "status"
    bar = "" if done is None else f'<progress max="1" value="{done:.3f}"></progress>'
    return f'<div class="bo-note {kind}" role="{role}">{escape(text)}{bar}</div>'


def words_html(words: Sequence[Word], language: str) -> str:
    """Words with the second of their beginning; unsure ones underlined."""
    if not words:
        return ""
    texts = TEXTS[language]
    chips = []
    for word in words:
        start, end = number(word.start, 2, language), number(word.end, 2, language)
        if word.confidence is None:
            kind, title = "half", texts["word_title_unknown"].format(start=start, end=end)
        else:
            kind = (
                "sure"
                if word.confidence >= SURE
                else "half"
                if word.confidence >= HALF_SURE
                else "low"
            )
            title = texts["word_title"].format(
                start=start, end=end, percent=f"{word.confidence:.0%}"[:-1]
            )
        chips.append(
            f'<span class="bo-word {kind}" title="{escape(title)}">'
            f"<b>{escape(word.text)}</b><small>{start}</small></span>"
        )
    return (
        f'<section class="bo-words" aria-label="{escape(texts["words"])}">{" ".join(chips)}'
        f"<p>{escape(texts['words_help'])}</p></section>"
    )


def downloads_html(transcript: Transcript, language: str) -> str:
    """Links to the files. They are in the page itself, so the server keeps none."""
    if not transcript.text:
        return ""
    links = " ".join(
        f'<a class="bo-file" download="borealis{formats.SUFFIXES[form]}" href="data:{kind};'
        f'charset=utf-8,{quote(formats.write(transcript, form), safe="")}">{form.upper()}</a>'
        for form, kind in DOWNLOADS.items()
    )
    return f'<div class="bo-files"><span>{escape(TEXTS[language]["download"])}</span>{links}</div>'


# ---- look inside ----


def inspection_html(seen: Inspection, language: str) -> str:
    """Counts, wave, log-mel features and the attention of every word over one ruler."""
    texts = TEXTS[language]
    counts = texts["counts"].format(
        samples=number(seen.num_samples, 0, language),
        windows=len(seen.windows),
        frames=number(seen.num_encoder_frames, 0, language),
        tokens=number(seen.num_audio_tokens, 0, language),
        ms=f"{seen.token_seconds * 1000:.0f}",
    )
    if len(seen.windows) > 1:
        counts += " " + texts["shown"].format(
            shown=number(seen.shown, 0, language), duration=number(seen.duration, 1, language)
        )
    rows = [
        _row(escape(texts["wave"]), _wave(seen.audio) + _grid(seen), "bo-wave"),
        _row(escape(texts["mel"]), _mel(seen.mel, texts["mel"]) + _grid(seen), "bo-mel"),
        *(_attention_row(word, seen) for word in seen.words),
        _row(escape(texts["seconds"]), _ruler(seen.shown), "bo-ruler"),
    ]
    silence = "" if seen.words else note(texts["silence"])
    said = {"say": texts["hover_say"], "word": texts["hover_word"], "lang": language}
    data = " ".join(f'data-{k}="{escape(v)}"' for k, v in said.items())
    return (
        f'<div class="bo-look" data-step="{seen.token_seconds}" data-seconds="{seen.shown:.4f}" '
        f'{data}><p class="bo-counts">{escape(counts)}</p>{silence}'
        f'<p class="bo-readout" aria-live="polite">{escape(texts["hover"])}</p>'
        f'<div class="bo-scroll" tabindex="0" role="region" '
        f'aria-label="{escape(texts["map_title"])}">'
        f'<div class="bo-sheet" style="--seconds:{seen.shown:.3f}">{"".join(rows)}'
        '<i class="bo-cursor" hidden></i></div></div>'
        f'<p class="bo-help">{escape(texts["map_help"])}</p></div>'
    )


def _row(label: str, inside: str, kind: str, data: str = "") -> str:
    return (
        f'<div class="bo-row {kind}"{data}><span class="bo-label">{label}</span>'
        f'<div class="bo-track">{inside}</div></div>'
    )


def _attention_row(word: object, seen: Inspection) -> str:
    text, start, weights = word.text, word.start, word.weights  # type: ignore[attr-defined]
    strongest = max(float(weights.max()), 1e-6)
    cells = "".join(
        f'<rect x="{start / seen.token_seconds + i:.2f}" width="1" height="1" '
        f'fill-opacity="{min(1.0, w / strongest):.2f}"/>'
        for i, w in enumerate(weights)
        if w > _FAINT
    )
    wide = seen.shown / seen.token_seconds
    # Of what the word gave to the sound at all: most of a head's attention may go to the text.
    shares = " ".join(f"{100 * w / max(float(weights.sum()), 1e-6):.0f}" for w in weights)
    data = f' data-word="{escape(text)}" data-start="{start:.4f}" data-shares="{shares}"'
    picture = (
        f'<svg viewBox="0 0 {wide:.3f} 1" preserveAspectRatio="none" aria-hidden="true">{cells}'
        "</svg>"
    )
    return _row(escape(text), picture, "bo-attention", data)


def _wave(audio: np.ndarray) -> str:
    """Lowest and highest sample of each column."""
    columns = min(_WAVE_COLUMNS, len(audio))
    edges = np.linspace(0, len(audio), columns + 1).astype(int)[:-1]
    low, high = np.minimum.reduceat(audio, edges), np.maximum.reduceat(audio, edges)
    scale = 48 / max(float(np.abs(audio).max()), 1e-6)
    path = "".join(
        f"M{x + 0.5} {50 - h * scale:.1f}V{50 - min(lo, h - 0.5 / scale) * scale:.1f}"
        for x, (lo, h) in enumerate(zip(low, high, strict=True))
    )
    return (
        f'<svg viewBox="0 0 {columns} 100" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="{path}"/></svg>'
    )


def _mel(mel: np.ndarray, name: str) -> str:
    """Log-mel features as a picture: the louder, the less transparent; low pitch at the bottom."""
    from PIL import Image

    low, high = np.percentile(mel, [5, 99.5])
    alpha = (np.clip((mel - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)[::-1]
    pixels = np.empty((*alpha.shape, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = _TEAL, alpha
    stream = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(stream, "WEBP", quality=80, method=4)
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<img alt="{escape(name)}" src="data:image/webp;base64,{data}">'


def _grid(seen: Inspection) -> str:
    """Borders of encoder windows, places where the recording was cut, and whole seconds."""
    marks = [("second", s) for s in range(1, int(seen.shown) + 1)]
    lines = [
        *marks,
        *(("cut", at) for at in seen.cuts),
        *(("window", edge) for edge in (0.0, seen.shown)),
    ]
    return "".join(
        f'<i class="bo-line {kind}" style="left:{100 * at / seen.shown:.3f}%"></i>'
        for kind, at in lines
    )


def _ruler(seconds: float) -> str:
    return "".join(
        f'<span style="left:{100 * s / seconds:.3f}%">{s}</span>' for s in range(int(seconds) + 1)
    )
