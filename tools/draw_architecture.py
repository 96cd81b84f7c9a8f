"""Draws the architecture picture of the story, in two languages and two palettes.

    python tools/draw_architecture.py            # writes docs/assets/img/<language>/
    python tools/draw_architecture.py --check    # writes nothing; 1 when a picture is stale

Widths of borealis-nano come from the bundled checkpoint's config, so the picture can't fall behind
it. Those of the model with 5 billion parameters are the ones its authors published (Whisper
large v3 and Qwen3-4B: 1280, 4 x 1280, 2560).
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent
LANGUAGES = ("ru", "en")
FULL = {"encoder": 1280, "hidden": 2560}

WIDTH, BOX, ROW, GAP, TOP = 496, 264, 52, 26, 62
COLUMNS = (330, 402, 464)  # centres of: rate, full size, nano


@dataclass(frozen=True)
class Palette:
    """Colours of a theme: text, quiet text, lines, and what is trained."""

    text: str
    quiet: str
    line: str
    accent: str
    fill: str


PALETTES = {
    "light": Palette("#1f2328", "#57606a", "#6e7781", "#00695c", "#e0f2f1"),
    "dark": Palette("#e6edf3", "#9da7b3", "#8b949e", "#4db6ac", "#12312e"),
}

# Title, a line below it, samples or vectors a second, and which width the row has.
_ROWS = {
    "ru": (
        ("Звук", "один канал, 16 кГц", "16 000", ""),
        ("Лог-мел-спектрограмма", "окна до 30 секунд", "100", ""),
        ("Аудиоэнкодер Whisper", "заморожен", "50", "encoder"),
        ("Склейка по {factor}", "хвост окна — нулями", "12,5", "joined"),
        ("Адаптер", "обучается", "12,5", "hidden"),
        ("Языковая модель", "обучается целиком или LoRA", "", "hidden"),
        ("Текст", "", "", ""),
    ),
    "en": (
        ("Sound", "one channel, 16 kHz", "16,000", ""),
        ("Log-mel features", "windows of up to 30 s", "100", ""),
        ("Whisper's encoder", "frozen", "50", "encoder"),
        ("Join by {factor}", "a short tail is zero-filled", "12.5", "joined"),
        ("Adapter", "trained", "12.5", "hidden"),
        ("Language model", "trained whole or by LoRA", "", "hidden"),
        ("Text", "", "", ""),
    ),
}
_FROZEN, _TRAINED, _PROMPT = 2, (4, 5), 4
_WORDS = {
    "ru": {
        "title": "Архитектура Borealis",
        "desc": "Звук с частотой 16 кГц превращается в лог-мел-спектрограмму. Замороженный "
        "аудиоэнкодер Whisper даёт 50 векторов в секунду, они склеиваются по {factor}. Адаптер "
        "переводит их в аудиотокены. Аудиотокены встают в запрос, языковая модель пишет текст.",
        "rate": "в секунду",
        "full": "5 млрд",
        "nano": "nano",
        "ask": "вопрос",
    },
    "en": {
        "title": "The architecture of Borealis",
        "desc": "Sound at 16 kHz becomes log-mel features. Whisper's frozen encoder gives 50 "
        "vectors a second, which are joined by {factor}. The adapter turns them into audio tokens. "
        "They are put into the prompt, and the language model writes the text.",
        "rate": "a second",
        "full": "5B",
        "nano": "nano",
        "ask": "question",
    },
}


def widths() -> tuple[int, dict[str, dict[str, int]]]:
    """Frames per audio token, and the width of each row for both models."""
    path = ROOT / "borealis" / "checkpoints" / "nano" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    nano = {
        "encoder": config["audio_config"]["d_model"],
        "hidden": config["text_config"]["hidden_size"],
    }
    factor = config["downsample_factor"]
    return factor, {
        name: {**values, "joined": values["encoder"] * factor}
        for name, values in (("full", FULL), ("nano", nano))
    }


def draw(language: str, theme: str) -> str:
    """The picture as SVG."""
    factor, sizes = widths()
    words, rows, palette = _WORDS[language], _ROWS[language], PALETTES[theme]
    out = [_text(COLUMNS[0], 26, words["rate"], "quiet")]
    out += [_text(x, 26, words[k], "quiet") for x, k in zip(COLUMNS[1:], sizes, strict=True)]
    y = TOP - 18
    for number, (title, below, rate, width) in enumerate(rows):
        kind = "frozen" if number == _FROZEN else "trained" if number in _TRAINED else "plain"
        out.append(f'<rect class="{kind}" x="8" y="{y}" width="{BOX}" height="{ROW}" rx="8"/>')
        middle = y + ROW / 2
        heading = title.format(factor=factor)
        if below:
            out.append(_text(8 + BOX / 2, middle - 4, heading, "title"))
            out.append(_text(8 + BOX / 2, middle + 15, below, "quiet"))
        else:
            out.append(_text(8 + BOX / 2, middle + 6, heading, "title"))
        out.append(_text(COLUMNS[0], middle + 6, rate))
        if width:
            for x, name in zip(COLUMNS[1:], sizes, strict=True):
                out.append(_text(x, middle + 6, str(sizes[name][width])))
        y += ROW
        if number == _PROMPT:
            out += [_arrow(y), _prompt(y + GAP, words["ask"])]
            y += GAP + 34
        if number + 1 < len(rows):
            out.append(_arrow(y))
            y += GAP
    height = y + 10
    style = (
        f"text{{font-family:system-ui,'Segoe UI',Roboto,sans-serif;font-size:17px;"
        f"fill:{palette.text};text-anchor:middle}}"
        f".title{{font-weight:600}}.quiet{{font-size:15px;fill:{palette.quiet}}}"
        f"rect{{fill:none;stroke:{palette.line};stroke-width:1.5}}.frozen{{stroke-dasharray:6 4}}"
        f".trained{{stroke:{palette.accent};stroke-width:2.5;fill:{palette.fill}}}"
        f".token{{fill:{palette.accent};stroke:none}}.word{{fill:{palette.line};stroke:none}}"
        f"path{{fill:none;stroke:{palette.line};stroke-width:1.5}}"
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" role="img" lang="{language}">',
            f"<title>{escape(words['title'])}</title>",
            f"<desc>{escape(words['desc'].format(factor=factor))}</desc>",
            f"<style>{style}</style>",
            *out,
            "</svg>",
            "",
        ]
    )


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{x:g}" y="{y:g}">{escape(text)}</text>' if text else ""


def _arrow(y: float) -> str:
    x, tip = 8 + BOX / 2, y + GAP - 3
    return f'<path d="M{x:g} {y + 2:g}V{tip:g}m-5 -6l5 6l5 -6"/>'


def _prompt(y: float, ask: str) -> str:
    """A strip of the prompt: a mark, audio tokens, a mark, the question in words."""
    kinds = ["word", *["token"] * 9, "word"]
    cells = [
        f'<rect class="{kind}" x="{8 + 16 * i}" y="{y}" width="12" height="32" rx="2"/>'
        for i, kind in enumerate(kinds)
    ]
    return "\n".join([*cells, _text(8 + 16 * len(kinds) + 48, y + 22, ask)])


def main() -> int:
    """Write the pictures, or compare them; 1 when `--check` finds a stale one."""
    parser = argparse.ArgumentParser(description="Draw the architecture picture of the story.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if stale")
    check = parser.parse_args().check
    stale = []
    for language in LANGUAGES:
        for theme in PALETTES:
            path = ROOT / "docs" / "assets" / "img" / language / f"architecture-{theme}.svg"
            fresh = draw(language, theme)
            if path.is_file() and path.read_text(encoding="utf-8") == fresh:
                continue
            stale.append(path.relative_to(ROOT))
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(fresh, encoding="utf-8")
    for path in stale:
        print(f"{path}: {'stale; run tools/draw_architecture.py' if check else 'written'}")
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main())
