"""The form of /v1/audio/transcriptions: the file, and fields that are taken or refused by name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from borealis import arguments
from borealis.errors import PromptError
from borealis.serving import formats
from borealis.serving.errors import Message, RequestError, shown

_MAX_HINT = 1_000
_MAX_HOT = 10_000  # characters of all hot words
_INT64 = 2**63
_TAKEN = {
    *("model", "language", "prompt", "response_format", "temperature", "stream", "seed"),
    *("timestamp_granularities", "chunking_strategy", "hotwords"),
}
# Parameters that OpenAI or vLLM have and this server hasn't, with a sentence of their own.
_REFUSED = {
    "include": "Probabilities of tokens aren't given here; verbose_json has avg_logprob for every "
    "segment. Leave 'include' out.",
    "known_speaker_names": "Speakers aren't told apart here. Leave 'known_speaker_names' out.",
    "known_speaker_references": "Speakers aren't told apart here. Leave 'known_speaker_references' "
    "out.",
    "to_language": "Speech isn't translated here: the transcript is in the language of the "
    "recording. Leave 'to_language' out.",
    "use_beam_search": "How a transcript is searched for isn't for the client to choose. Leave "
    "'use_beam_search' out.",
}


@dataclass(frozen=True)
class Options:
    """What a client asked for besides the file.

    Which of it a model can do is looked at in `borealis.serving.transcription`.
    """

    model: str | None = None
    language: str | None = None
    prompt: str = ""
    response_format: str = "json"
    temperature: float = 0.0
    seed: int | None = None
    stream: bool = False
    words: bool = False  # tell when each word was said
    hot_words: tuple[str, ...] = ()


async def read_form(scope: Message, body: bytes) -> tuple[bytes, Options]:
    """The file and the options of a request.

    Args:
        scope: of the request.
        body: all of it.

    Raises:
        RequestError: it isn't such a form, has no file, or asks for what isn't here.
    """

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    request = Request(scope, receive)
    kind = request.headers.get("content-type", "").partition(";")[0]
    if kind.strip().lower() != "multipart/form-data":
        raise RequestError("Send the file as multipart/form-data, in the field 'file'.")
    try:
        # The body is in memory and within its limit already.
        parser = MultiPartParser(
            request.headers, request.stream(), max_files=1, max_fields=32, max_part_size=1 << 20
        )
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError, AssertionError) as error:
        raise RequestError(f"The form can't be read: {_first_line(error)}.") from None
    try:
        options = _options(form)
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise RequestError("There is no file: send it in the field 'file'.", param="file")
        return await file.read(), options
    finally:
        await form.close()


def _fields(form: FormData) -> tuple[dict[str, str], list[str], list[str]]:
    """Fields that are known, by name; granularities of times; hot words."""
    text: dict[str, str] = {}
    granularities: list[str] = []
    hot: list[str] = []
    for key, value in form.multi_items():
        name, bracket, inner = key.partition("[")
        if isinstance(value, UploadFile):
            if key != "file":
                raise RequestError(
                    f"A file came in the field '{shown(key)}'; send it in 'file'.", param=key
                )
            continue
        if not value:  # an empty field is one that was left out
            continue
        if name in _REFUSED:
            raise RequestError(_REFUSED[name], param=name, code="unsupported_parameter")
        if key == "file":
            raise RequestError(
                "The field 'file' holds text; send a file, with a filename.", param="file"
            )
        if name not in _TAKEN or (bracket and inner != "]"):
            raise RequestError(
                f"The field '{shown(key)}' isn't supported here; leave it out.",
                param=key,
                code="unsupported_parameter",
            )
        if name == "timestamp_granularities":
            granularities.append(value)
        elif name == "hotwords":
            hot.append(value)
        elif name in text:
            raise RequestError(f"The field '{name}' came twice.", param=name)
        else:
            text[name] = value
    return text, granularities, hot


def _options(form: FormData) -> Options:
    text, granularities, hot = _fields(form)
    try:
        language = arguments.language(text.get("language"))
    except PromptError as error:
        raise RequestError(shown(error, 200), param="language") from None
    wanted = text.get("response_format", "json")
    if wanted == "diarized_json":
        raise RequestError(
            "Speakers aren't told apart here, so there is no diarized_json; take verbose_json.",
            param="response_format",
            code="unsupported_parameter",
        )
    if wanted not in formats.FORMATS:
        raise RequestError(
            f"The response_format is '{shown(wanted, 20)}'; it may be "
            f"{', '.join(formats.FORMATS)}.",
            param="response_format",
        )
    stream = text.get("stream", "false").lower()
    if stream not in ("true", "false", "1", "0"):
        raise RequestError("'stream' must be true or false.", param="stream")
    streamed = stream in ("true", "1")
    if streamed and wanted not in ("json", "text"):
        raise RequestError(f"{wanted} can't be streamed; take json.", param="response_format")
    _check_granularities(granularities, wanted)
    if text.get("chunking_strategy", "auto") != "auto":
        raise RequestError(
            "Long recordings are cut at their pauses, and how isn't for the client to choose: give "
            "'auto' as chunking_strategy or leave it out.",
            param="chunking_strategy",
            code="unsupported_parameter",
        )
    hint = text.get("prompt", "").strip()
    if len(hint) > _MAX_HINT or "<|" in hint or shown(hint, _MAX_HINT) != hint:
        raise RequestError(
            f"The prompt may have {_MAX_HINT} characters and no marks like <|audio|>.",
            param="prompt",
        )
    return Options(
        model=text.get("model"),
        language=language,
        prompt=hint,
        response_format=wanted,
        temperature=_temperature(text.get("temperature", "0")),
        seed=_seed(text.get("seed")),
        stream=streamed,
        words="word" in granularities,
        hot_words=_hot_words(hot),
    )


def _check_granularities(wanted: list[str], response_format: str) -> None:
    param = "timestamp_granularities[]"
    if unknown := next((value for value in wanted if value not in ("segment", "word")), None):
        raise RequestError(
            f"timestamp_granularities is '{shown(unknown, 20)}'; it may be 'segment' or 'word'.",
            param=param,
        )
    if wanted and response_format != "verbose_json":
        raise RequestError(
            "timestamp_granularities needs the response_format verbose_json.", param=param
        )


def _hot_words(fields: list[str]) -> tuple[str, ...]:
    """Words and phrases, apart by commas or line breaks, each once."""
    if sum(map(len, fields)) > _MAX_HOT or any(shown(f, _MAX_HOT) != f for f in fields):
        raise RequestError(
            f"All hot words together may have {_MAX_HOT} characters of text.", param="hotwords"
        )
    words = (word.strip() for field in fields for word in re.split(r"[,\r\n]", field))
    return tuple(dict.fromkeys(word for word in words if word))


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 2:
        raise RequestError("'temperature' must be a number from 0 to 2.", param="temperature")
    return value


def _seed(text: str | None) -> int | None:
    if text is None:
        return None
    value = int(text) if re.fullmatch("-?[0-9]{1,19}", text) else _INT64
    if not -_INT64 <= value < _INT64:
        raise RequestError("'seed' must be a whole number of 64 bits.", param="seed")
    return value


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
