"""Recordings that a model learns to speak from: codes of a codec, symbols, and how long each lasts.

Every recording of a set is encoded and aligned once. A cache is a folder with `codes.i16` (int16,
the books of one frame after those of another, recordings in the order of the index) and
`index.jsonl`: a recording a line, with what was found, or why it was left out. `key.json` says what
it was made from. A cache that was cut off is gone on with.
"""

from __future__ import annotations

import hashlib
import json
import logging
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from borealis.audio import SAMPLING_RATE, load_audio
from borealis.data.manifest import Utterance, read_manifest
from borealis.errors import AudioError, PromptError, RecipeError
from borealis.speech.rule import LONGEST_LETTER, LONGEST_PAUSE, longest_frames
from borealis.speech.stream import Spoken
from borealis.speech.symbols import durations, spell
from borealis.training.codec.clips import levelled
from borealis.training.digests import manifest_digest
from borealis.training.run.places import weights_of

if TYPE_CHECKING:
    from borealis.codec import Codec
    from borealis.training.data.aligner import Aligner

logger = logging.getLogger(__name__)

CODES, INDEX, KEY = "codes.i16", "index.jsonl", "key.json"
_METHOD = 1  # of all that is done here; a change makes caches anew
_EDGE = 0.15  # seconds of silence that stay before the first sound and after the last
_AT_ONCE = 8  # recordings that are heard together
_SIGNS = "@&%#*/\\№_"


@dataclass(frozen=True)
class SpeechSource:
    """Recordings of one manifest.

    Args:
        manifest: file name, relative to the data folder.
        voices: voices of the manifest, and the model's name of each.
        fraction: share of the recordings taken, chosen at random.
        commas: seconds of a pause from which on a space is a comma; None leaves texts as they are.
    """

    manifest: str
    voices: Mapping[str, str]
    fraction: float = 1.0
    commas: float | None = None


@dataclass(frozen=True)
class Recording:
    """What one line of a cache is made of."""

    item: Utterance
    voice: str
    commas: float | None = None


def plan_recordings(sources: Sequence[SpeechSource], folder: Path, *, seed: int) -> list[Recording]:
    """The recordings of all sources, shortest first; the same for the same seed.

    Raises:
        RecipeError: a manifest lacks a voice that is named.
    """
    found: list[Recording] = []
    for number, source in enumerate(sources):
        items = read_manifest(folder / source.manifest)
        known = sorted({item.voice for item in items})
        if missing := [name for name in source.voices if name not in known]:
            have = ", ".join(f"'{name}'" for name in known)
            raise RecipeError(
                f"'{source.manifest}' has no recording of the voice '{missing[0]}'; it has {have}."
            )
        items = [item for item in items if item.audio and item.voice in source.voices]
        rng = np.random.default_rng([seed, number])
        kept = rng.permutation(len(items))[: max(1, round(len(items) * source.fraction))]
        found += [
            Recording(items[i], source.voices[items[i].voice], source.commas) for i in sorted(kept)
        ]
    return sorted(found, key=lambda recording: recording.item.duration)


def speech_key(
    sources: Sequence[SpeechSource],
    folder: Path,
    speech: Mapping[str, Any],
    aligner: str,
    *,
    seed: int,
) -> str:
    """What a cache depends on, as a digest.

    Args:
        sources: what is read.
        folder: data folder.
        speech: `config.speech` of the model.
        aligner: name of the model that aligns.
        seed: of the choice of recordings.
    """
    from borealis.codec.loading import bundled

    said = [
        _METHOD,
        [
            [manifest_digest(folder / s.manifest), dict(s.voices), s.fraction, s.commas]
            for s in sources
        ],
        # By what it holds where it is on this machine, else by its name.
        weights_of(str(bundled().get(speech["codec"], speech["codec"]))) or speech["codec"],
        [speech["num_codebooks"], speech["symbols"], LONGEST_LETTER, LONGEST_PAUSE],
        weights_of(aligner) or aligner,
        seed,
    ]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def build_speech(
    recordings: Sequence[Recording],
    output: Path,
    *,
    codec: Codec,
    num_codebooks: int,
    symbols: str,
    aligner: Aligner,
) -> Counter[str]:
    """Encode and align recordings into a cache folder.

    Args:
        recordings: what to read.
        output: folder of the cache; one that was cut off is gone on with.
        codec: makes the codes.
        num_codebooks: books that are kept, the coarsest first.
        symbols: that can be spoken.
        aligner: tells where letters are.

    Returns:
        How many recordings are in the cache (`kept`), and by reason how many were left out.
    """
    output.mkdir(parents=True, exist_ok=True)
    partial, index_file = output / f"{CODES}.partial", output / INDEX
    done, frames, size = _done_before(index_file) if partial.is_file() else (0, 0, 0)
    if done:
        logger.info("%s: going on after %d recordings", output.name, done)
    with (
        partial.open("r+b" if done else "wb") as codes,
        index_file.open("r+b" if done else "wb") as index,
    ):
        codes.truncate(frames * num_codebooks * 2)
        codes.seek(0, 2)
        index.truncate(size)
        index.seek(0, 2)
        for begin in range(done, len(recordings), _AT_ONCE):
            group = recordings[begin : begin + _AT_ONCE]
            rows = list(_rows(group, codec, num_codebooks, symbols, aligner))
            for _, spoken in rows:
                if spoken is not None:
                    codes.write(np.ascontiguousarray(spoken.codes.T).astype(np.int16).tobytes())
            codes.flush()
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row, _ in rows]
            index.write("".join(lines).encode())
            index.flush()
            if (begin + _AT_ONCE) % 512 < _AT_ONCE:
                logger.info("%s: %d of %d recordings", output.name, begin, len(recordings))
    # The name appears last: a cache that has it is complete.
    partial.rename(output / CODES)
    return counts_of(output)


def counts_of(folder: Path) -> Counter[str]:
    """How many recordings of a cache were kept, and by reason how many weren't."""
    rows = (folder / INDEX).read_text(encoding="utf-8").splitlines()
    return Counter(json.loads(row).get("left_out", "kept") for row in rows)


def _done_before(index: Path) -> tuple[int, int, int]:
    """Recordings in whole groups of a cache that was cut off, their frames, and bytes of rows."""
    if not index.is_file():
        return 0, 0, 0
    lines = [s for s in index.read_bytes().splitlines(keepends=True) if s.endswith(b"\n")]
    lines = lines[: len(lines) // _AT_ONCE * _AT_ONCE]
    frames = sum(sum(json.loads(line).get("durations", ())) for line in lines)
    return len(lines), frames, sum(map(len, lines))


def _rows(
    group: Sequence[Recording], codec: Codec, books: int, symbols: str, aligner: Aligner
) -> Iterator[tuple[dict[str, Any], Spoken | None]]:
    """What the index says of recordings, and what is kept of each."""
    reasons: dict[int, str] = {}
    spelled: dict[int, str] = {}
    sounds: dict[int, np.ndarray] = {}
    for i, recording in enumerate(group):
        text = recording.item.text
        if reason := unsaid(text):
            reasons[i] = reason
            continue
        try:
            spelled[i] = spell(text, symbols).symbols
            sounds[i] = load_audio(recording.item.audio)
        except PromptError:
            reasons[i] = "text without letters"
        except AudioError:
            reasons[i] = "recording can't be read"
        else:
            if len(sounds[i]) > aligner.longest:
                reasons[i] = "longer than the aligner hears at once"
    kept = [i for i in spelled if i not in reasons]
    heard = aligner([sounds[i] for i in kept]) if kept else []
    found: dict[int, Spoken | str] = {}
    for i, log_probs in zip(kept, heard, strict=True):
        sound = sounds[i]
        if codec.sampling_rate != SAMPLING_RATE:
            sound = load_audio(group[i].item.audio, output_rate=codec.sampling_rate)
        found[i] = _spoken(group[i], spelled[i], sound, log_probs, codec, books, aligner)
    for i, recording in enumerate(group):
        row: dict[str, Any] = {"audio": recording.item.audio, "text": recording.item.text}
        spoken = found.get(i, reasons.get(i, ""))
        if isinstance(spoken, str):
            yield row | {"left_out": spoken}, None
        else:
            yield (
                row
                | {
                    "language": recording.item.language,
                    "voice": spoken.voice,
                    "symbols": spoken.symbols,
                    "durations": spoken.durations.tolist(),
                },
                spoken,
            )


def _spoken(
    recording: Recording,
    symbols: str,
    sound: np.ndarray,
    log_probs: np.ndarray,
    codec: Codec,
    books: int,
    aligner: Aligner,
) -> Spoken | str:
    """A recording as it is learned, or why it isn't."""
    codes = codec.encode(levelled(sound, "speech"), num_codebooks=books).codes
    frame = codec.hop_length / codec.sampling_rate
    lasts = durations(
        symbols,
        log_probs,
        aligner.alphabet,
        step=aligner.step,
        frame=frame,
        num_frames=codes.shape[1],
        delay=aligner.delay,
    )
    if lasts is None:
        return "text doesn't fit the recording"
    # Silence at both ends is as long as in any other recording.
    most = int(_EDGE / frame)
    before, after = (max(0, int(n) - most) for n in (lasts[0], lasts[-1]))
    codes = codes[:, before : codes.shape[1] - after]
    lasts[0], lasts[-1] = lasts[0] - before, lasts[-1] - after
    rate = 1 / frame
    if any(n > longest_frames(s, rate) for s, n in zip(symbols, lasts, strict=True)):
        return "a sound lasts too long"
    if recording.commas is not None:
        pause = recording.commas / frame
        symbols = "".join(
            "," if s == " " and i > 0 and n >= pause else s
            for i, (s, n) in enumerate(zip(symbols, lasts, strict=True))
        )
    return Spoken(symbols, lasts, codes, recording.voice)


def unsaid(text: str) -> str:
    """Why nobody can tell from a text how it was said; empty where it can be told.

    Numbers, signs and abbreviations are read out in words that the text doesn't have.
    """
    kinds = {unicodedata.category(char) for char in text}
    if any(kind.startswith("N") for kind in kinds):
        return "text with numbers"
    if kinds & {"Sm", "Sc", "So"} or any(char in _SIGNS for char in text):
        return "text with signs"
    words = [word.strip(".,!?:;«»\"'()-—–") for word in text.split()]
    if any(len(w) > 1 and w.isupper() for w in words) and not text.isupper():
        return "text with abbreviations"
    return ""


@dataclass(frozen=True)
class SpokenClip:
    """A recording of a cache.

    Args:
        spoken: its symbols and codes.
        text: as it was written.
        language: `ru` or `en`.
    """

    spoken: Spoken
    text: str = field(compare=False)
    language: str


class SpeechCache:
    """Read one or several cache folders as one list of recordings.

    Args:
        folders: of the caches.
        num_codebooks: of the model.

    Raises:
        RecipeError: a cache isn't there.
    """

    def __init__(self, folders: Sequence[Path], num_codebooks: int) -> None:
        self.clips: list[SpokenClip] = []
        for folder in folders:
            if not (folder / CODES).is_file():
                raise RecipeError(
                    f"There is no cache of speech at '{folder}'. 'borealis train' makes it from "
                    "the recipe's data.speech."
                )
            codes = np.fromfile(folder / CODES, np.int16).reshape(-1, num_codebooks)
            offset = 0
            for line in (folder / INDEX).read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                if "left_out" in row:
                    continue
                lasts = np.array(row["durations"], np.int32)
                end = offset + int(lasts.sum())
                spoken = Spoken(row["symbols"], lasts, codes[offset:end].T, row["voice"])
                self.clips.append(SpokenClip(spoken, row["text"], row["language"]))
                offset = end

    def __len__(self) -> int:
        return len(self.clips)


def stream_length(spoken: Spoken) -> int:
    """Tokens that `borealis.speech.stream.write_stream` makes of a spoken text."""
    return spoken.codes.size + len(spoken.symbols) + 4
