"""One page of the demo in one language, as Gradio Blocks."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from borealis.demo import pictures
from borealis.demo.desk import MEGABYTES, Desk, Failure, Spoken
from borealis.demo.texts import GRADIO, QUESTIONS, SAYINGS, TEXTS
from borealis.demo.turnstile import Turnstile, Waiting
from borealis.demo.uploads import KEEP_MINUTES, SWEEP_SECONDS
from borealis.inference import Borealis, formats
from borealis.inference.speech import Speech, SpeechPart
from borealis.inference.words import Progress
from borealis.speech.sound import FASTEST, FORMATS, SLOWEST, sixteen_bits

# What static/speak.js plays and shows: `run` names one speech, `parts` are its sound so far, in
# base64, 16 bits at `rate` Hz; with `html`, which shows the whole, come the `files` in base64.
SILENCE: dict[str, Any] = {"run": "", "rate": 0, "parts": [], "html": "", "files": {}}
_PART = 0.2  # seconds of sound that are sent to the page together

# What demo.css can't say: Gradio confines that to what lies inside this box.
_PHONE = "@media (max-width: 480px) {.main.fillable {padding: 1rem .4rem !important}}"

# Fonts of the visitor's system: nothing is fetched from elsewhere.
THEME = gr.themes.Soft(
    primary_hue="teal",
    secondary_hue="teal",
    neutral_hue="slate",
    font=["system-ui", "Segoe UI", "Roboto", "sans-serif"],
    font_mono=["ui-monospace", "Consolas", "monospace"],
).set(
    # Gradio's own colours are too pale for text: every one here has a contrast of 4.5 or more.
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover_dark="*primary_800",
    button_secondary_background_fill_hover_dark="*primary_700",
    color_accent="*primary_700",  # on dark, see demo.css
    block_label_text_color="*primary_800",
    block_label_background_fill_dark="*primary_800",
    block_title_text_color="*primary_800",
    block_title_background_fill_dark="*primary_800",
    input_placeholder_color="*neutral_500",
    input_placeholder_color_dark="*neutral_300",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
    link_text_color="*primary_800",
    link_text_color_dark="*primary_300",
)


def build_page(
    model: Borealis,
    language: str,
    *,
    turnstile: Turnstile | None = None,
    docs: str | None = None,
    calculators: str | None = None,
) -> gr.Blocks:
    """The page.

    Args:
        model: answers for all visitors.
        language: `ru` or `en`.
        turnstile: the line for the model; both pages should share one.
        docs: address of the documentation, if there is one.
        calculators: address of the page with the calculators, if there is one.
    """
    desk = Desk(model, language, turnstile or Turnstile())
    texts = TEXTS[language]
    keep = (SWEEP_SECONDS, KEEP_MINUTES * 60)
    with gr.Blocks(title=texts["title"], analytics_enabled=False, delete_cache=keep) as page:
        gr.HTML(_links(texts, language, docs), padding=False)
        lead = desk.say("lead") + (texts["lead_speaks"] if model.voices else "")
        gr.Markdown(f"# {texts['title']}\n{lead}")
        with gr.Tab(texts["transcribe"], id="transcribe"):
            _transcribe_tab(desk)
        with gr.Tab(texts["ask"], id="ask"):
            _ask_tab(desk)
        if model.voices:
            with gr.Tab(texts["speak"], id="speak"):
                _speak_tab(desk)
        with gr.Tab(texts["look"], id="look"):
            _look_tab(desk, calculators)
        gr.Markdown(desk.say("limits"))
        _api(desk)
    # The line is the turnstile's: it speaks the visitor's language and holds for both pages.
    page.queue(default_concurrency_limit=None)
    return page


def _links(texts: dict[str, str], language: str, docs: str | None) -> str:
    """To the same page in the other language, and to the documentation."""
    other = "en" if language == "ru" else "ru"
    links = [f'<a href="/demo/{other}/" hreflang="{other}" lang="{other}">{texts["other"]}</a>']
    if docs:
        links.insert(0, f'<a href="{docs}">{texts["docs"]}</a>')
    return f'<nav class="bo-links" aria-label="{texts["links"]}">{" ".join(links)}</nav>'


def _recording(desk: Desk, **options: Any) -> gr.Audio:
    # The file as the browser sent it: decoding, with its limits, is ours.
    return gr.Audio(
        sources=["upload", "microphone"],
        type="filepath",
        label=desk.texts["audio"],
        format=None,
        buttons=[],
        **options,
    )


def _look_at_once(
    desk: Desk,
    recording: gr.Audio,
    status: gr.HTML,
    *,
    emptied: Sequence[tuple[Any, Any]] = (),
    run: Any = None,
) -> None:
    """A file that isn't audio is refused when it is chosen, and not when its turn comes.

    Args:
        desk: who looks.
        recording: where files are chosen.
        status: where the refusal is said.
        emptied: what starts anew with another recording, each with what it is then. It is one
            answer that does all this: of two answers to one event either may come last.
        run: work on the recording before; it is cancelled.
    """

    def glance(path: str | None) -> tuple[Any, ...]:
        failure = desk.refusal(path) if path else None
        said = (None, _note(desk, failure)) if failure else (gr.skip(), "")
        return (*said, *(empty for _, empty in emptied))

    recording.input(
        glance,
        recording,
        [recording, status, *(part for part, _ in emptied)],
        cancels=run,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )


def _examples(desk: Desk, target: gr.Audio) -> None:
    files = example_recordings()
    if files:
        gr.Examples(
            [[str(file)] for file in files],
            target,
            label=desk.texts["examples"],
            example_labels=[f"«{beginning}…»" for beginning in files.values()],
            api_visibility="private",
        )


def _stop_button(desk: Desk, run: Any, status: gr.HTML) -> None:
    """`run` is cancelled, and the page says so."""
    stop = gr.Button(desk.texts["stop"], elem_classes="bo-stop")
    stop.click(
        lambda: pictures.note(desk.texts["stopped"]),
        None,
        status,
        cancels=[run],
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )


def _note(desk: Desk, step: Waiting | Failure) -> str:
    if isinstance(step, Waiting):
        return pictures.note(desk.say("waiting", ahead=step.ahead))
    return pictures.note(step.text, kind="error")


# ---- tabs ----


def _transcribe_tab(desk: Desk) -> None:
    texts, language = desk.texts, desk.language

    async def on_transcribe(audio: str | None) -> AsyncIterator[tuple[str, str, str, str]]:
        text, words, files = "", "", ""
        yield "", text, words, files
        async for step in desk.transcribe(audio):
            status = ""
            if isinstance(step, Progress):
                text = step.text + step.guess
                words = pictures.words_html(step.transcript.words or [], language)
                if step.done < 1:
                    percent = f"{100 * step.done:.0f}"
                    status = pictures.note(desk.say("working", percent=percent), done=step.done)
                else:
                    files = pictures.downloads_html(step.transcript, language)
                    status = "" if text.strip() else pictures.note(texts["silence"])
            else:
                status = _note(desk, step)
            yield status, text, words, files

    heard = _recording(desk, elem_id="transcribe-audio")
    with gr.Row():
        write = gr.Button(texts["write"], variant="primary", scale=3)
        holder = gr.Column(scale=1, min_width=120)
    status = gr.HTML(elem_classes="bo-status")
    text = gr.Textbox(label=texts["text"], lines=3, buttons=["copy"], elem_id="transcribe-text")
    words = gr.HTML()
    files = gr.HTML()
    _examples(desk, heard)
    run = write.click(
        on_transcribe,
        heard,
        [status, text, words, files],
        api_visibility="private",
        show_progress="hidden",
    )
    with holder:
        _stop_button(desk, run, status)
    _look_at_once(desk, heard, status)


def _ask_tab(desk: Desk) -> None:
    texts = desk.texts
    speaks = bool(desk.model.voices)

    async def on_ask(
        audio: str | None,
        question: str,
        turns: list[tuple[str, str]],
        aloud: bool = False,
        voice: str | None = None,
    ) -> AsyncIterator[tuple[Any, ...]]:
        now, same = turns, (gr.skip(),) * 3
        quiet = (SILENCE,) if speaks else ()
        yield pictures.note(texts["thinking"]), *same, *quiet
        async for step in desk.ask(audio, question, turns):
            if isinstance(step, str):
                # The box is emptied once: whoever writes the next question meanwhile keeps it.
                box = "" if now is turns else gr.skip()
                now = [*turns, (question.strip(), step)]
                yield pictures.note(texts["thinking"]), _messages(now), now, box, *quiet
            else:
                yield _note(desk, step), *same, *quiet
                if isinstance(step, Failure):
                    return
        yield "", _messages(now), now, gr.skip(), *quiet
        if aloud and now is not turns and now[-1][1] != texts["no_answer"]:
            async for status, sound in _sounding(
                desk, now[-1][1], voice, 1.0, show=lambda s: pictures.sound_html(s, desk.language)
            ):
                yield status, *same, sound

    asked = _recording(desk, elem_id="ask-audio")
    _examples(desk, asked)
    turns = gr.State([])
    talk = gr.Chatbot(
        label=texts["chat"],
        placeholder=texts["chat_empty"],
        render_markdown=False,
        sanitize_html=True,
        height=280,
        buttons=[],
        feedback_options=None,
        elem_id="ask-talk",
    )
    status = gr.HTML(elem_classes="bo-status")
    question = gr.Textbox(
        label=texts["question"],
        placeholder=texts["question_hint"],
        max_length=1000,
        elem_id="ask-question",
    )
    with gr.Row():
        send = gr.Button(texts["send"], variant="primary", scale=3)
        holder = gr.Column(scale=1, min_width=120)
        clear = gr.Button(texts["clear"], scale=1, min_width=120)
    given: list[Any] = [asked, question, turns]
    shown: list[Any] = [status, talk, turns, question]
    emptied: list[tuple[Any, Any]] = [(talk, []), (turns, [])]
    if speaks:
        with gr.Row():
            with gr.Column(scale=1, min_width=180):
                aloud = gr.Checkbox(label=texts["aloud"], elem_id="ask-aloud")
            with gr.Column(scale=2, min_width=260):
                voice = _voices(desk)
        given += [aloud, voice]
        shown.append(_sound("ask-sound"))
        emptied.append((shown[-1], SILENCE))
    gr.Examples(
        [[q] for q in QUESTIONS[desk.language]],
        question,
        label=texts["suggestions"],
        api_visibility="private",
    )
    run = gr.on(
        [send.click, question.submit],
        on_ask,
        given,
        shown,
        api_visibility="private",
        show_progress="hidden",
    )
    with holder:
        _stop_button(desk, run, status)
    gr.on(
        [clear.click, talk.clear, asked.clear],
        lambda: ("", *(empty for _, empty in emptied)),
        None,
        [status, *(part for part, _ in emptied)],
        cancels=[run],
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    # Another recording is another conversation.
    _look_at_once(desk, asked, status, emptied=emptied, run=[run])


def _speak_tab(desk: Desk) -> None:
    texts = desk.texts

    async def on_speak(text: str, voice: str, speed: float) -> AsyncIterator[tuple[str, Any]]:
        async for step in _sounding(
            desk, text, voice, speed, show=lambda s: pictures.speech_html(s, desk.language)
        ):
            yield step

    text = gr.Textbox(
        label=texts["said"],
        placeholder=texts["said_hint"],
        info=desk.say("said_info"),
        lines=3,
        elem_id="speak-text",
    )
    gr.Examples(
        [[saying] for saying in SAYINGS[desk.language]],
        text,
        label=texts["sayings"],
        api_visibility="private",
    )
    with gr.Row():
        voice = _voices(desk, scale=2, min_width=260)
        speed = gr.Slider(
            SLOWEST, FASTEST, value=1, step=0.1, label=texts["speed"], buttons=[], min_width=260
        )
    with gr.Row():
        say = gr.Button(texts["say"], variant="primary", scale=3)
        holder = gr.Column(scale=1, min_width=120)
    status = gr.HTML(elem_classes="bo-status")
    sound = _sound("speak-sound")
    run = say.click(
        on_speak,
        [text, voice, speed],
        [status, sound],
        api_visibility="private",
        show_progress="hidden",
    )
    with holder:
        _stop_button(desk, run, status)


def _voices(desk: Desk, **options: Any) -> gr.Dropdown:
    """Where a voice is chosen; those of the page's language come first."""
    language = desk.language
    voices = sorted(desk.model.voices, key=lambda voice: voice.language != language)
    choices = [(voice.description.get(language, voice.name), voice.name) for voice in voices]
    return gr.Dropdown(
        [(desk.texts["voice_auto"], ""), *choices],
        value="",
        label=desk.texts["voice"],
        filterable=False,
        **options,
    )


def _sound(name: str) -> gr.HTML:
    """Where speech is played and shown; its value is like `SILENCE`."""
    return gr.HTML(
        SILENCE, html_template="${value.html}", js_on_load=static("speak.js"), elem_id=name
    )


async def _sounding(
    desk: Desk, text: str, voice: str | None, speed: float, *, show: Callable[[Speech], str]
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """What the page says about how it goes, and the sound, see `SILENCE`.

    Args:
        desk: who speaks.
        text: what is said.
        voice: who says it.
        speed: how fast.
        show: HTML of the whole.
    """
    run, rate, parts = secrets.token_hex(8), 0, list[str]()
    held: list[np.ndarray] = []
    speaking = pictures.note(desk.texts["speaking"])
    yield speaking, SILENCE
    async for step in desk.speak(text, voice, speed):
        now = SILENCE | {"run": run, "rate": rate, "parts": list(parts)}
        if isinstance(step, SpeechPart):
            rate = desk.model.speaker.codec.sampling_rate
            held.append(step.waveform)
            if sum(map(len, held)) >= _PART * rate:
                parts.append(_in_text(sixteen_bits(np.concatenate(held)).tobytes()))
                held.clear()
                yield speaking, now | {"rate": rate, "parts": list(parts)}
        elif isinstance(step, Spoken):
            if held:
                parts.append(_in_text(sixteen_bits(np.concatenate(held)).tobytes()))
            files, html = await asyncio.to_thread(_whole, step.speech, show)
            whole = {"rate": rate, "parts": parts, "html": html, "files": files}
            yield pictures.note(desk.texts["cut"]) if step.cut else "", now | whole
        else:
            yield _note(desk, step), now


def _whole(speech: Speech, show: Callable[[Speech], str]) -> tuple[dict[str, str], str]:
    """The files in base64, and the HTML."""
    return {form: _in_text(speech.encode(form)) for form in pictures.SOUNDS}, show(speech)


def _in_text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _look_tab(desk: Desk, calculators: str | None) -> None:
    texts = desk.texts

    async def on_look(audio: str | None) -> AsyncIterator[tuple[str, str]]:
        yield pictures.note(texts["thinking"]), ""
        async for step in desk.inspect(audio):
            if isinstance(step, (Waiting, Failure)):
                yield _note(desk, step), ""
            else:
                yield "", pictures.inspection_html(step, desk.language)

    heard = _recording(desk, elem_id="look-audio")
    with gr.Row():
        show = gr.Button(texts["show"], variant="primary", scale=3)
        holder = gr.Column(scale=1, min_width=120)
    status = gr.HTML(elem_classes="bo-status")
    picture = gr.HTML(js_on_load=static("look.js"), elem_id="look-picture")
    _examples(desk, heard)
    run = show.click(
        on_look, heard, [status, picture], api_visibility="private", show_progress="hidden"
    )
    with holder:
        _stop_button(desk, run, status)
    _look_at_once(desk, heard, status)
    if calculators:
        with gr.Accordion(texts["calculators"], open=False):
            gr.HTML(
                f'<iframe class="bo-frame" loading="lazy" src="{calculators}" '
                f'title="{texts["calculators"]}"></iframe>'
            )


def _messages(turns: list[tuple[str, str]]) -> list[dict[str, str]]:
    """A conversation for the screen. Gradio would take tags in it for HTML, so they are escaped."""
    roles = ("user", "assistant")
    return [
        {"role": role, "content": escape(text, quote=False)}
        for turn in turns
        for role, text in zip(roles, turn, strict=True)
    ]


# ---- for programs ----


def _api(desk: Desk) -> None:
    """Named endpoints, see the page of the documentation; their errors are the same words."""

    async def transcribe(audio: str | None) -> dict[str, Any]:
        progress = await _last(desk, desk.transcribe(audio))
        result: dict[str, Any] = progress.transcript.to_dict()
        return result

    async def stream(audio: str | None) -> AsyncIterator[str]:
        async for step in _results(desk, desk.transcribe(audio)):
            yield step.text + step.guess

    async def subtitle(audio: str | None, form: str) -> str:
        if form not in pictures.DOWNLOADS:
            raise _error(desk, desk.say("bad_form"))
        progress = await _last(desk, desk.transcribe(audio))
        return formats.write(progress.transcript, form)

    async def ask(audio: str | None, question: str, history: Any) -> AsyncIterator[str]:
        async for answer in _results(desk, desk.ask(audio, question, _history(history))):
            yield answer

    async def look(audio: str | None) -> dict[str, Any]:
        seen = await _last(desk, desk.inspect(audio))
        return {
            "duration": seen.duration,
            "windows": len(seen.windows),
            "encoder_frames": seen.num_encoder_frames,
            "audio_tokens": seen.num_audio_tokens,
            "text": seen.text,
            "attention": [
                {
                    "word": w.text,
                    "start": w.start,
                    "weights": [round(float(x), 3) for x in w.weights],
                }
                for w in seen.words
            ],
        }

    audio = _recording(desk, visible=False)
    question = gr.Textbox(visible=False, label="question")
    form = gr.Textbox("srt", visible=False, label="form")
    history = gr.JSON(value=[], visible=False, label="history")
    text, data = gr.Textbox(visible=False, label="text"), gr.JSON(visible=False, label="result")
    button = gr.Button(visible=False)
    button.click(transcribe, audio, data, api_name="transcribe")
    button.click(stream, audio, text, api_name="transcribe_stream")
    button.click(subtitle, [audio, form], text, api_name="subtitles")
    button.click(ask, [audio, question, history], text, api_name="ask")
    button.click(look, audio, data, api_name="look")
    if desk.model.voices:
        _speech_api(desk)


def _speech_api(desk: Desk) -> None:
    async def speak(text: str, voice: str, speed: float, form: str) -> dict[str, Any]:
        if form not in FORMATS:
            raise _error(desk, desk.say("bad_sound"))
        spoken = await _last(desk, desk.speak(text, voice, speed))
        speech = spoken.speech
        return {
            "audio": _in_text(await asyncio.to_thread(speech.encode, form)),
            "format": form,
            "voice": speech.voice,
            "duration": round(speech.duration, 3),
            "spoken": speech.spoken,
            "left_out": list(speech.left_out),
            "cut": spoken.cut,
            "words": [{"start": w.start, "end": w.end, "text": w.text} for w in speech.words],
        }

    text = gr.Textbox(visible=False, label="text")
    voice = gr.Textbox("", visible=False, label="voice")
    speed = gr.Number(1.0, visible=False, label="speed")
    form = gr.Textbox("wav", visible=False, label="form")
    data = gr.JSON(visible=False, label="result")
    voices = [asdict(voice) for voice in desk.model.voices]
    button = gr.Button(visible=False)
    button.click(speak, [text, voice, speed, form], data, api_name="speak")
    button.click(lambda: voices, None, data, api_name="voices")


async def _results(desk: Desk, steps: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """What a program is told; the line isn't."""
    async for step in steps:
        if isinstance(step, Failure):
            raise _error(desk, step.text)
        if not isinstance(step, Waiting):
            yield step


async def _last(desk: Desk, steps: AsyncIterator[Any]) -> Any:
    step = None
    async for step in _results(desk, steps):  # noqa: B007
        pass
    return step


def _error(desk: Desk, text: str) -> gr.Error:
    return gr.Error(text, title=desk.texts["error"], print_exception=False)


def _history(history: Any) -> list[tuple[str, str]]:
    """Pairs of question and answer from what a program sent."""
    if isinstance(history, str):
        history = json.loads(history or "[]")
    return [(str(q), str(a)) for q, a in history or []]


def example_recordings() -> dict[Path, str]:
    """Recordings of `examples/audio` and how what is said in them begins.

    They are there where the package runs from a checkout or a Space.
    """
    folder = Path(str(resources.files("borealis"))).parent / "examples" / "audio"
    if not (folder / "manifest.jsonl").is_file():
        return {}
    lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()[:4]
    rows = [json.loads(line) for line in lines]
    return {folder / row["audio"]: " ".join(row["text"].split()[:4]) for row in rows}


def static(name: str) -> str:
    """A file that comes with the package."""
    return (Path(__file__).parent / "static" / name).read_text(encoding="utf-8")


def mount_options(path: str) -> dict[str, Any]:
    """What Gradio 6 takes when a page is mounted at `path`."""
    return {
        "path": path,
        "root_path": path,  # Gradio loses it where it answers without the queue
        "theme": THEME,
        "css": static("demo.css"),
        "allowed_paths": [str(p) for p in example_recordings()],
        "max_file_size": MEGABYTES * 1024 * 1024,
        "show_error": False,
        "footer_links": [],
        "run_history": False,
        "ssr_mode": False,
    }


def head(language: str) -> str:
    """HTML that stands before everything of Gradio's in the page."""
    texts = TEXTS[language]
    settings = {
        "language": language,
        "words": list(GRADIO[language].items()),
        "limit": MEGABYTES * 1024 * 1024,
        "tooLarge": pictures.note(
            texts["too_large"].format(megabytes=MEGABYTES), kind="error bo-toast"
        ),
    }
    given = json.dumps(settings, ensure_ascii=False).replace("<", "\\u003c")
    return (
        f'<link rel="icon" href="/favicon.ico"><title>{escape(texts["title"])}</title>'
        f"<style>{_PHONE}</style><script>({static('first.js')})({given});</script>"
    )
