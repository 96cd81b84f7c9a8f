"""The pictures show the model that is bundled, in both languages and palettes."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tests.docs.blocks import ROOT
from tools import draw_architecture, draw_beam, draw_road


@pytest.mark.parametrize("language", draw_architecture.LANGUAGES)
@pytest.mark.parametrize("theme", draw_architecture.PALETTES)
def test_the_picture_is_fresh(language, theme):
    path = ROOT / "docs/assets/img" / language / f"architecture-{theme}.svg"
    fresh = draw_architecture.draw(language, theme)
    assert path.read_text(encoding="utf-8") == fresh, "run tools/draw_architecture.py"


@pytest.mark.parametrize("language", draw_architecture.LANGUAGES)
def test_the_picture_can_be_read_aloud_and_names_the_widths(language):
    root = ElementTree.fromstring(draw_architecture.draw(language, "light"))
    tags = [child.tag.rpartition("}")[2] for child in root]
    assert tags[:2] == ["title", "desc"] and root.get("role") == "img"
    texts = [element.text for element in root.iter() if element.tag.endswith("}text")]
    _, sizes = draw_architecture.widths()
    assert {str(width) for row in sizes.values() for width in row.values()} <= set(texts)


@pytest.mark.parametrize(
    "picture",
    ["road-sound", "road-attention", *(f"{language}/beam" for language in draw_beam.WORDS)],
)
@pytest.mark.parametrize("theme", [theme.name for theme in draw_road.THEMES])
def test_the_road_and_the_beam_are_drawn_from_the_present_weights(picture, theme):
    root = ElementTree.parse(draw_road.OUTPUT / f"{picture}-{theme}.svg").getroot()
    drawn = [element.text for element in root if element.tag.endswith("}metadata")]
    assert drawn == [draw_road.weights()], "run tools/draw_road.py and tools/draw_beam.py"
