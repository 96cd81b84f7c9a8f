"""Draws the picture of how/decoding.md from the bundled model: `python -m tools.draw_beam`.

The last word of a recording, in which the likeliest letters are wrong: above, the probability of
each letter in each frame; below, the best prefixes that the search follows at a few moments. Comes
as SVG in both languages, for the light and for the dark theme. Run it again when the weights or the
search change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import borealis
from borealis.audio import load_audio
from borealis.ctc.alphabet import BLANK, Alphabet
from borealis.ctc.ngram import Ngram
from borealis.ctc.search import PrefixBeamSearch, SearchSettings
from borealis.inference.words import ctc_log_probs
from tools.draw_road import LEFT, OUTPUT, RIGHT, ROOT, THEMES, WIDTH, Drawing, Theme

RECORDING = ROOT / "examples" / "audio" / "post.flac"
FIRST, LAST = 183, 229  # frames of the word, 20 ms each
MOMENTS = (188, 192, 196, 201, 211, 226)  # after these frames the prefixes are shown
SHOWN, FAINT = 4, 0.02  # prefixes in a column; a probability that isn't drawn
ROW, CELL_HEIGHT, GUTTER = 24, 14, 20

WORDS = {
    "ru": {
        "title": "Вероятности букв и начала слова, которые ведёт поиск",
        "heard": "Вероятности букв: чем плотнее клетка, тем вероятнее",
        "followed": "Лучшие начала слова в эти моменты и их места",
        "blank": "нет",
        "space": "пробел",
        "seconds": "с",
        "point": ",",
    },
    "en": {
        "title": "Probabilities of letters, and the prefixes that the search follows",
        "heard": "Probabilities of letters: the denser a cell, the likelier",
        "followed": "The best beginnings of the word at these moments, and their places",
        "blank": "none",
        "space": "space",
        "seconds": "s",
        "point": ".",
    },
}


@dataclass(frozen=True)
class Beam:
    """A search at one moment.

    Args:
        frame: the last frame that it has seen.
        prefixes: what the word may begin with, the best first.
    """

    frame: int
    prefixes: list[str]


def follow() -> tuple[np.ndarray, Alphabet, list[Beam], str]:
    """Probabilities `[frames, classes]`, their letters, the moments, and the word found."""
    model = borealis.load("nano", device="cpu")
    alphabet = Alphabet(model.model.config.ctc_labels)
    ngram = Ngram.of_checkpoint(model.model.name_or_path)
    search = PrefixBeamSearch(alphabet, SearchSettings(), ngram=ngram)
    log_probs = ctc_log_probs(model, load_audio(RECORDING))
    found = search.decode([log_probs], language="ru")[0][0].text
    before, word = found.rsplit(" ", 1)
    moments = [
        Beam(frame, _beginnings(prefixes, f"{before} "))
        for frame, prefixes in zip(
            MOMENTS, search.watch(log_probs, MOMENTS, language="ru"), strict=True
        )
    ]
    return np.exp(log_probs), alphabet, moments, word


def _beginnings(prefixes: list[str], before: str) -> list[str]:
    """What stands after `before` in the prefixes that begin with it."""
    return [text.removeprefix(before) for text in prefixes if text.startswith(before)]


# ---- drawing ----


def draw(
    theme: Theme,
    language: str,
    probs: np.ndarray,
    alphabet: Alphabet,
    moments: list[Beam],
    word: str,
) -> None:
    """One variant of the picture."""
    words = WORDS[language]
    drawing = Drawing(theme, words["title"])
    left = LEFT + 62
    width = WIDTH - left - RIGHT
    cell = width / (LAST - FIRST)
    part = probs[FIRST:LAST]
    classes = [c for c in range(len(alphabet)) if part[:, c].max() > 0.2]
    names = {BLANK: words["blank"], alphabet.space: words["space"]}
    # The blank and the space below the letters.
    classes.sort(key=lambda c: (c in names, c == BLANK, alphabet.text([c])))
    drawing.text(LEFT, 18, words["heard"], size=15, anchor="start")
    top = 32.0
    for row, c in enumerate(classes):
        y = top + row * (CELL_HEIGHT + 3)
        drawing.text(left - 8, y + 12, names.get(c, alphabet.text([c])), size=14, anchor="end")
        for frame in np.flatnonzero(part[:, c] > FAINT):
            drawing.add(
                f'<rect x="{left + frame * cell:.1f}" y="{y:.0f}" width="{cell - 1:.1f}" '
                f'height="{CELL_HEIGHT}" fill="{theme.sound}" '
                f'fill-opacity="{float(part[frame, c]):.2f}"/>'
            )
    y = top + len(classes) * (CELL_HEIGHT + 3) + 4
    drawing.line(left, y, left + width, y)
    for tenth in range(-(-FIRST // 10), LAST // 10 + 1):  # a mark every 0.2 s
        x = left + (tenth * 10 - FIRST) * cell
        drawing.line(x, y, x, y + 5)
        drawing.text(x, y + 20, _seconds(tenth * 10, words), size=13)
    for moment in moments:
        x = left + (moment.frame + 1 - FIRST) * cell - 0.5
        drawing.add(
            f'<path d="M{x:.1f} {top - 3:.0f}V{y:.0f}" stroke="{theme.line}" stroke-width="1" '
            'stroke-dasharray="3 3" fill="none"/>'
        )

    y += 50
    drawing.text(LEFT, y, words["followed"], size=15, anchor="start")
    _draw_prefixes(drawing, y + 26, moments, word, words)
    drawing.save(OUTPUT / language / f"beam-{theme.name}.svg", y + 26 + 20 + (SHOWN + 1) * ROW)


def _draw_prefixes(
    drawing: Drawing, top: float, moments: list[Beam], word: str, words: dict[str, str]
) -> None:
    """A column for each moment: the best, and the one that wins in the end."""
    theme, column = drawing.theme, (WIDTH - LEFT - RIGHT) / len(MOMENTS)
    for number, moment in enumerate(moments):
        x = LEFT + (number + 0.5) * column
        drawing.text(x, top, _seconds(moment.frame + 1, words), size=13)
        shown = dict.fromkeys(moment.prefixes[:SHOWN])
        winner = next((p for p in moment.prefixes if p and word.startswith(p)), None)
        if winner is not None:
            shown[winner] = None
        for row, prefix in enumerate(shown):
            wins = word.startswith(prefix)
            place = moment.prefixes.index(prefix) + 1
            drawing.add(
                f'<text x="{x:.1f}" y="{top + 26 + row * ROW:.1f}" font-size="13" '
                f'text-anchor="middle" fill="{theme.sound if wins else theme.text}" '
                f'font-weight="{700 if wins else 400}">{place} {prefix.replace(" ", "␣")}</text>'
            )


def _seconds(frame: int, words: dict[str, str]) -> str:
    """When a frame begins, as the language writes it."""
    return f"{frame / 50:.2f}".replace(".", words["point"]) + f" {words['seconds']}"


def main() -> None:
    """Draw everything."""
    probs, alphabet, moments, word = follow()
    for language in WORDS:
        (OUTPUT / language).mkdir(parents=True, exist_ok=True)
        for theme in THEMES:
            draw(theme, language, probs, alphabet, moments, word)


if __name__ == "__main__":
    main()
