"""HTML of the demo: words with times, downloads, pictures of a recording and of made speech.

Whatever came from a model or a visitor is escaped here; nothing else makes HTML.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import quote

import numpy as np

from borealis.demo.texts import TEXTS, number
from borealis.inference import Transcript, Word, formats
from borealis.inference.inspection import Inspection
from borealis.inference.speech import Speech, SpokenPiece

SURE, HALF_SURE = 0.9, 0.6
DOWNLOADS = {"srt": "application/x-subrip", "vtt": "text/vtt", "json": "application/json"}
_TEAL = (31, 169, 155)
_FAINT = 0.02  # attention that isn't drawn
_WAVE_COLUMNS = 700
SOUNDS = ("wav", "mp3")  # that speech is downloaded as
SHOWN_SECONDS = 30  # of made speech
_SPOKEN_COLUMNS = 100  # of its wave in a second
_GOLDEN = 137.508  # degrees: tokens that follow one another are far apart in colour


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
        _row(escape(texts["wave"]), _wave(seen.audio, _WAVE_COLUMNS) + _grid(seen), "bo-wave"),
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


def _wave(audio: np.ndarray, columns: int) -> str:
    """Lowest and highest sample of each column."""
    columns = min(columns, len(audio))
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
    cuts = [("cut", at) for at in seen.cuts]
    return _lines([*cuts, *(("window", edge) for edge in (0.0, seen.shown))], seen.shown)


def _lines(others: Iterable[tuple[str, float]], shown: float) -> str:
    """Whole seconds and other lines, each of a kind and at a second."""
    lines = [*(("second", float(s)) for s in range(1, int(shown) + 1)), *others]
    return "".join(
        f'<i class="bo-line {kind}" style="left:{100 * at / shown:.3f}%"></i>' for kind, at in lines
    )


def _ruler(seconds: float) -> str:
    return "".join(
        f'<span style="left:{100 * s / seconds:.3f}%">{s}</span>' for s in range(int(seconds) + 1)
    )


# ---- made speech ----


def sound_html(speech: Speech, language: str) -> str:
    """A player and links to the files; `static/speak.js` gives them the sound."""
    texts = TEXTS[language]
    links = " ".join(
        f'<a class="bo-file" data-form="{form}" download="borealis.{form}">{form.upper()}</a>'
        for form in SOUNDS
    )
    left = ""
    if speech.left_out:
        said = texts["left_out"].format(left_out=" ".join(speech.left_out))
        left = f'<p class="bo-help">{escape(said)}</p>'
    return (
        f'<audio class="bo-player" controls aria-label="{escape(texts["speak"])}"></audio>'
        f'<div class="bo-files"><span>{escape(texts["download"])}</span>{links}</div>'
        f'{left}<p class="bo-help">{escape(texts["synthetic"])}</p>'
    )


def speech_html(speech: Speech, language: str) -> str:
    """The player, and under it wave, words, symbols and tokens of the speech over one ruler.

    Args:
        speech: what was said; its first `SHOWN_SECONDS` are drawn.
        language: of the page.
    """
    texts, shown = TEXTS[language], min(speech.duration, float(SHOWN_SECONDS))
    frame = speech.pieces[0].frame if speech.pieces else 0.0
    counts = texts["spoken_counts"].format(
        seconds=number(speech.duration, 1, language),
        symbols=number(sum(len(piece.symbols) for piece in speech.pieces), 0, language),
        frames=number(sum(piece.codes.shape[1] for piece in speech.pieces), 0, language),
        ms=f"{frame * 1000:.0f}",
    )
    if shown < speech.duration:
        counts += " " + texts["spoken_shown"].format(shown=SHOWN_SECONDS)
    drawn = speech.waveform[: round(shown * speech.sampling_rate)]
    wave = _wave(drawn, round(shown * _SPOKEN_COLUMNS)) + _lines((), shown)
    words = "".join(
        _box(escape(word.text), word.start, word.end, shown, "bo-said")
        for word in speech.words
        if word.start < shown
    )
    pieces = [piece for piece in speech.pieces if piece.start < shown]
    symbols = "".join(_symbols(piece, shown) for piece in pieces)
    tokens = "".join(_tokens(piece, shown) for piece in pieces)
    rows = [
        _row(escape(texts["wave"]), wave, "bo-wave"),
        _row(escape(texts["spoken_words"]), words, "bo-saids"),
        _row(escape(texts["symbols"]), symbols, "bo-symbols"),
        _row(escape(texts["tokens"]), tokens, "bo-tokens"),
        _row(escape(texts["seconds"]), _ruler(shown), "bo-ruler"),
    ]
    said = {"say": texts["spoken_say"], "symbol": texts["spoken_symbol"], "lang": language}
    data = " ".join(f'data-{k}="{escape(v)}"' for k, v in said.items())
    spoken = texts["spoken_as"].format(spoken=speech.spoken)
    return (
        f'<div class="bo-look bo-speech" data-seconds="{shown:.4f}" {data}>'
        f'{sound_html(speech, language)}<p class="bo-spoken">{escape(spoken)}</p>'
        f'<p class="bo-counts">{escape(counts)}</p>'
        f'<p class="bo-readout" aria-live="polite">{escape(texts["spoken_hover"])}</p>'
        f'<div class="bo-scroll" tabindex="0" role="region" '
        f'aria-label="{escape(texts["spoken_title"])}">'
        f'<div class="bo-sheet" style="--seconds:{shown:.3f}">{"".join(rows)}'
        '<i class="bo-cursor" hidden></i></div></div>'
        f'<p class="bo-help">{escape(texts["spoken_help"])}</p></div>'
    )


def _box(inside: str, start: float, end: float, shown: float, kind: str, more: str = "") -> str:
    """Something that lasts from one second to another."""
    left, width = 100 * start / shown, 100 * (end - start) / shown
    return f'<b class="{kind}" style="left:{left:.4f}%;width:{width:.4f}%"{more}>{inside}</b>'


def _symbols(piece: SpokenPiece, shown: float) -> str:
    """Symbols as wide as they last. Those that last no frame aren't heard nor drawn."""
    boxes, at = [], piece.start
    for symbol, frames in zip(piece.symbols, piece.durations, strict=True):
        start, at = at, at + float(frames) * piece.frame
        if frames and start < shown:
            face = escape("·" if symbol == " " else symbol)
            kind = "bo-symbol" if symbol.isalpha() else "bo-symbol pause"
            more = (
                f' data-symbol="{face}" data-start="{start:.4f}" '
                f'data-ms="{frames * piece.frame * 1000:.0f}"'
            )
            boxes.append(_box(face, start, min(at, shown), shown, kind, more))
    return "".join(boxes)


def _tokens(piece: SpokenPiece, shown: float) -> str:
    """Tokens of the first codebook, a frame each."""
    width, boxes = 100 * piece.frame / shown, []
    for place, token in enumerate(piece.codes[0]):
        start = piece.start + place * piece.frame
        if start >= shown:
            break
        hue = int(token) * _GOLDEN % 360
        boxes.append(
            f'<b class="bo-token" style="left:{100 * start / shown:.4f}%;width:{width:.4f}%;'
            f'--hue:{hue:.0f}" data-start="{start:.4f}" data-frame="{piece.frame:.5f}">'
            f"{token}</b>"
        )
    return "".join(boxes)
