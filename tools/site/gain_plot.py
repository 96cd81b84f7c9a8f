"""Draws what fine-tuning gives: WER by the number of recordings (`results/training-gain.json`)."""

from __future__ import annotations

import math
from typing import Any

_WIDTH, _HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 36, 160, 16, 50
SUBJECTS = {
    "stranger": ("a stranger on the telephone", "чужой голос по телефону"),
    "terms": ("words of a trade", "слова профессии"),
}
_COLOURS = {"stranger": "var(--md-typeset-a-color)", "terms": "var(--md-code-hl-keyword-color)"}


def points(subject: dict[str, Any]) -> list[tuple[int, list[float]]]:
    """Clips, and the word error rates of the runs with so many; 0 clips is the model before."""
    found: dict[int, list[float]] = {0: [subject["before"]["word_error_rate"]]}
    for row in subject["after"]:
        found.setdefault(row["clips"], []).append(row["word_error_rate"])
    return sorted(found.items())


def plot(metrics: dict[str, Any], language: str) -> str:
    """The picture as SVG, in colours of the page: a dot for each run, a line through their means.

    Args:
        metrics: of the result file.
        language: `en` or `ru`.
    """
    russian = language == "ru"
    series = {name: points(metrics[name]) for name in SUBJECTS if name in metrics}
    clips = sorted({n for line in series.values() for n, _ in line})
    highest = max(rate for line in series.values() for _, rates in line for rate in rates)
    top = math.ceil(highest * 10) / 10

    def x(count: int) -> float:
        share = clips.index(count) / max(1, len(clips) - 1)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(rate: float) -> float:
        return _TOP + (1 - rate / top) * (_HEIGHT - _TOP - _BOTTOM)

    title = (
        "WER до и после дообучения по числу записей"
        if russian
        else "WER before and after fine-tuning by the number of recordings"
    )
    out = [
        f'<svg class="bo-plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">',
        f"<title>{title}</title>",
    ]
    for step in range(0, round(top * 10) + 1, 2):
        height = y(step / 10)
        out.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height:.1f}" y2="{height:.1f}" '
            'stroke="currentColor" stroke-opacity="0.15"/>'
            f'<text x="{_LEFT - 8}" y="{height + 4:.1f}" text-anchor="end" font-size="14" '
            f'fill="currentColor">{step * 10}</text>'
        )
    for count in clips:
        out.append(
            f'<text x="{x(count):.1f}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle" '
            f'font-size="14" fill="currentColor">{count}</text>'
        )
    below = (
        "записей для обучения; слева — WER, %" if russian else "recordings to learn from; WER, %"
    )
    out.append(
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 6}" text-anchor="middle" '
        f'font-size="14" fill="currentColor">{below}</text>'
    )
    for name, line in series.items():
        means = [(x(n), y(sum(rates) / len(rates))) for n, rates in line]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in means)
        colour = _COLOURS[name]
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [
            f'<circle cx="{x(n):.1f}" cy="{y(rate):.1f}" r="3.5" fill="{colour}"/>'
            for n, rates in line
            for rate in rates
        ]
        out.append(
            f'<text x="{means[-1][0] + 10:.1f}" y="{means[-1][1] + 4:.1f}" font-size="14" '
            f'fill="{colour}">{_wrapped(SUBJECTS[name][russian], means[-1])}</text>'
        )
    return "\n".join([*out, "</svg>"])


def _wrapped(title: str, end: tuple[float, float]) -> str:
    """A title in lines of at most about 20 letters."""
    lines = [""]
    for word in title.split():
        if lines[-1] and len(lines[-1]) + len(word) > 19:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "".join(
        f'<tspan x="{end[0] + 10:.1f}" dy="{1.2 * bool(number):g}em">{line}</tspan>'
        for number, line in enumerate(lines)
    )
