"""Contrast of text with what is painted behind it, as WCAG counts it, from the pixels of a page.

The colour of a text is its computed one; what lies behind it is taken from a picture of the page
without its texts, so gradients, shadows and half-transparent layers are what they look like.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

# Every text that is in sight: what it says, its colour with alpha, and its boxes. What something
# else covers, or what is scrolled away, isn't.
_TEXTS = """() => {
  const found = [];
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (colour) => {  // whatever notation it is written in
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const opacity = (element) => {
    let all = 1;
    for (let e = element; e; e = e.parentElement) all *= Number(getComputedStyle(e).opacity);
    return all;
  };
  const add = (element, text, boxes, style) => {
    if (!text.trim() || !element.checkVisibility({visibilityProperty: true})) return;
    const seen = [...boxes].filter((box) => {
      if (box.width < 3 || box.height < 3) return false;
      const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
      return top && (element.contains(top) || top.contains(element));
    }).map(({x, y, width, height}) => [x, y, width, height]);
    const [r, g, b, a] = rgba(style.color);
    const shown = a * opacity(element);
    if (seen.length && shown > 0) {
      found.push({text: text.trim().slice(0, 60), colour: [r, g, b, shown], boxes: seen});
    }
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (element.closest('script, style, textarea, select, option, noscript')) continue;
    range.selectNodeContents(walker.currentNode);
    add(element, walker.currentNode.data, range.getClientRects(), getComputedStyle(element));
  }
  for (const field of document.querySelectorAll('input:not([type=file]), textarea')) {
    const box = field.getBoundingClientRect();
    const line = {x: box.x + 8, y: box.y + 8, width: box.width - 16, height: Math.min(24, box.height - 16)};
    if (field.value) add(field, field.value, [line], getComputedStyle(field));
    else add(field, field.placeholder, [line], getComputedStyle(field, '::placeholder'));
  }
  return found;
}"""

_WITHOUT_TEXTS = """*, *::before, *::after, *::placeholder {
  color: transparent !important; -webkit-text-fill-color: transparent !important;
  text-decoration-color: transparent !important; text-shadow: none !important;
  caret-color: transparent !important;
}"""
_AT_ONCE = "*, *::before, *::after {transition: none !important; animation: none !important}"


def contrasts(page: Any) -> list[tuple[float, str]]:
    """The contrast of every text in the window, 1 to 21, weakest first.

    Colours change at once on the page from now on.
    """
    page.add_style_tag(content=_AT_ONCE)
    texts = page.evaluate(_TEXTS)
    style = page.add_style_tag(content=_WITHOUT_TEXTS)
    picture = _pixels(page.screenshot())
    style.evaluate("style => style.remove()")
    found = []
    for text in texts:
        *colour, alpha = text["colour"]
        behind = np.concatenate([_cut(picture, box) for box in text["boxes"]])
        if not len(behind):
            continue
        before = alpha * np.asarray(colour, float) + (1 - alpha) * behind
        light, dark = np.sort([_luminance(before), _luminance(behind)], axis=0)[::-1]
        # A border or an icon may run through a box, so not the very worst pixel.
        found.append((float(np.quantile((light + 0.05) / (dark + 0.05), 0.1)), text["text"]))
    return sorted(found)


def faint(page: Any, least: float = 4.5) -> list[str]:
    """Texts whose contrast is under `least`, with their contrast."""
    return [f"{ratio:.2f}: {text}" for ratio, text in contrasts(page) if ratio < least]


def _pixels(picture: bytes) -> np.ndarray:
    """`[height, width, 3]`, 0 to 255."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), float)


def _cut(picture: np.ndarray, box: list[float]) -> np.ndarray:
    """Pixels of a box, `[n, 3]`."""
    x, y, width, height = box
    rows = slice(max(0, round(y)), max(0, round(y + height)))
    columns = slice(max(0, round(x)), max(0, round(x + width)))
    return picture[rows, columns].reshape(-1, 3)


def _luminance(colours: np.ndarray) -> np.ndarray:
    """Relative luminance of sRGB `[n, 3]`, 0 to 1."""
    part = colours / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])
