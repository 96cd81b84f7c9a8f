"""One page of the demo in one language, as Gradio Blocks."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from borealis.audio import AudioLimits, load_audio
from borealis.demo.texts import QUESTIONS, TEXTS, explain
from borealis.errors import BorealisError
from borealis.inference import Borealis

MEGABYTES, MINUTES = 25, 30
LIMITS = AudioLimits(max_bytes=MEGABYTES * 1024 * 1024, max_seconds=MINUTES * 60)
_NUMBERS = {"megabytes": MEGABYTES, "minutes": MINUTES}

# Fonts of the visitor's system: nothing is fetched from elsewhere.
THEME = gr.themes.Soft(
    font=["system-ui", "Segoe UI", "Roboto", "sans-serif"],
    font_mono=["ui-monospace", "Consolas", "monospace"],
)
CSS = ".gradio-container {max-width: 760px !important; margin: auto} footer {display: none}"


def build_page(model: Borealis, language: str, other_path: str) -> gr.Blocks:
    """The page.

    Args:
        model: answers for all visitors.
        language: `ru` or `en`.
        other_path: where the page in the other language is.
    """
    texts = TEXTS[language]

    def read(path: str | None) -> np.ndarray:
        if not path:
            raise gr.Error(texts["no_audio"], print_exception=False)
        try:
            return load_audio(path, limits=LIMITS)
        except BorealisError as error:
            raise gr.Error(explain(error, language, **_NUMBERS), print_exception=False) from None

    def transcribe(audio: str | None) -> Iterator[str]:
        clip, text = read(audio), ""
        for piece in model.transcribe(clip, language=language, stream=True):
            text += piece
            yield text
        if not text.strip():
            yield texts["silence"]

    def ask(audio: str | None, question: str) -> Iterator[str]:
        clip, answer = read(audio), ""
        if not (question or "").strip():
            raise gr.Error(texts["no_question"], print_exception=False)
        for piece in model.ask(clip, question, stream=True):
            answer += piece
            yield answer

    def recording() -> gr.Audio:
        # The file as the browser sent it: decoding, with its limits, is ours.
        return gr.Audio(
            sources=["microphone", "upload"], type="filepath", label=texts["audio"], format=None
        )

    with gr.Blocks(
        title=texts["title"], analytics_enabled=False, delete_cache=(3600, 3600)
    ) as page:
        gr.Markdown(f"# {texts['title']}\n{texts['lead']}\n\n[{texts['other']}]({other_path})")
        with gr.Tab(texts["transcribe"]):
            heard = recording()
            write = gr.Button(texts["write"], variant="primary")
            text = gr.Textbox(label=texts["text"], lines=4, buttons=["copy"])
            _examples(heard, texts["examples"])
            write.click(transcribe, heard, text, api_name="transcribe")
        with gr.Tab(texts["ask"]):
            asked = recording()
            question = gr.Textbox(label=texts["question"], placeholder=texts["question_hint"])
            gr.Examples([[q] for q in QUESTIONS[language]], question, label=texts["suggestions"])
            send = gr.Button(texts["send"], variant="primary")
            answer = gr.Textbox(label=texts["answer"], lines=2, buttons=["copy"])
            _examples(asked, texts["examples"])
            send.click(ask, [asked, question], answer, api_name="ask")
            question.submit(ask, [asked, question], answer, api_visibility="private")
        gr.Markdown(texts["limits"].format(**_NUMBERS))
    page.queue(max_size=32, default_concurrency_limit=1)
    return page


def _examples(target: gr.Audio, label: str) -> None:
    files = example_recordings()
    if files:
        gr.Examples([[str(f)] for f in files], target, label=label)


def example_recordings() -> list[Path]:
    """The recordings of `examples/audio`, where the package runs from a checkout."""
    folder = Path(str(resources.files("borealis"))).parent / "examples" / "audio"
    return sorted(folder.glob("*.flac"))[:3]


def blocks_options() -> dict[str, Any]:
    """What Gradio 6 takes when a page is mounted."""
    return {"theme": THEME, "css": CSS}
