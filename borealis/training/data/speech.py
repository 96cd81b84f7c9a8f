"""Recordings that a model learns to speak from: codes of a codec, symbols, and how long each lasts.

Every recording of a set is aligned with its text once, which takes long, and encoded once, which
doesn't: another codec needs no other alignment. A cache is a folder with

* `aligned.jsonl`: a recording a line, its symbols and where each ends, or why it is left out;
* `codes.i16`: int16, the books of one frame after those of another, recordings in that order;
* `index.jsonl`: a recording a line, as it is learned.

`aligned.key.json` and `key.json` say what they were made from. What was cut off is gone on with.
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

from borealis.audio import load_audio
from borealis.data.manifest import Utterance, read_manifest
from borealis.errors import AudioError, PromptError, RecipeError
from borealis.files import write_text
from borealis.speech.rule import LONGEST_LETTER, LONGEST_PAUSE, longest_frames
from borealis.speech.stream import Spoken
from borealis.speech.symbols import spell, symbol_ends, whole_frames
from borealis.training.data.level import levelled
from borealis.training.digests import manifest_digest, weights_of

if TYPE_CHECKING:
    from borealis.codec import Codec
    from borealis.training.data.aligner import Aligner

logger = logging.getLogger(__name__)

ALIGNED, ALIGNED_KEY = "aligned.jsonl", "aligned.key.json"
CODES, INDEX, CODES_KEY = "codes.i16", "index.jsonl", "key.json"
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


def alignment_key(
    sources: Sequence[SpeechSource], folder: Path, symbols: str, aligner: str, *, seed: int
) -> str:
    """What an alignment depends on, as a digest.

    Args:
        sources: what is read.
        folder: data folder.
        symbols: that can be spoken.
        aligner: name of the model that aligns.
        seed: of the choice of recordings.
    """
    said = [
        _METHOD,
        [[manifest_digest(folder / s.manifest), sorted(s.voices), s.fraction] for s in sources],
        symbols,
        # By what it holds where it is on this machine, else by its name.
        weights_of(aligner) or aligner,
        seed,
    ]
    return _digest(said)


def codes_key(sources: Sequence[SpeechSource], speech: Mapping[str, Any], alignment: str) -> str:
    """What codes depend on, as a digest.

    Args:
        sources: what is read.
        speech: `config.speech` of the model.
        alignment: see `alignment_key`.
    """
    from borealis.codec.loading import bundled

    codec = speech["codec"]
    said = [
        alignment,
        [[dict(s.voices), s.commas] for s in sources],
        weights_of(str(bundled().get(codec, codec))) or codec,
        [speech["num_codebooks"], LONGEST_LETTER, LONGEST_PAUSE],
    ]
    return _digest(said)


def _digest(said: Any) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def is_made(folder: Path, name: str, note: str, key: str) -> bool:
    """Whether a part of a cache is whole and was made from the same; what isn't is taken away.

    Args:
        folder: of the cache; the note is written.
        name: file of the part, which has this name once it is whole.
        note: file that says what it was made from.
        key: what it should be made from.
    """
    path = folder / note
    same = path.is_file() and json.loads(path.read_text(encoding="utf-8"))["key"] == key
    if not same:
        if (folder / name).exists():
            logger.warning("speech %s: made from something else, making it anew", folder.name)
        for old in (name, f"{name}.partial", *([INDEX] if name == CODES else [])):
            (folder / old).unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"key": key}))
    return (folder / name).is_file()


# ---- alignment ----


def align_recordings(
    recordings: Sequence[Recording], output: Path, *, symbols: str, aligner: Aligner
) -> None:
    """Write where each symbol of recordings ends.

    Args:
        recordings: what to read.
        output: folder of the cache; one that was cut off is gone on with.
        symbols: that can be spoken.
        aligner: tells where letters are.
    """
    partial = output / f"{ALIGNED}.partial"
    done, size = _whole_groups(partial)
    with partial.open("r+b" if done else "wb") as file:
        file.truncate(size)
        file.seek(size)
        for _, group in _groups(recordings, len(done), f"aligned {output.name}"):
            rows = _aligned(group, symbols, aligner)
            file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
            file.flush()
    partial.rename(output / ALIGNED)


def _groups(
    recordings: Sequence[Recording], done: int, what: str
) -> Iterator[tuple[int, Sequence[Recording]]]:
    if done:
        logger.info("%s: going on after %d recordings", what, done)
    for begin in range(done, len(recordings), _AT_ONCE):
        yield begin, recordings[begin : begin + _AT_ONCE]
        if begin % 512 < _AT_ONCE:
            logger.info("%s: %d of %d recordings", what, begin, len(recordings))


def _whole_groups(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Rows of a file that was cut off, whole groups of them, and how many bytes they are."""
    if not path.is_file():
        return [], 0
    lines = [s for s in path.read_bytes().splitlines(keepends=True) if s.endswith(b"\n")]
    lines = lines[: len(lines) // _AT_ONCE * _AT_ONCE]
    return [json.loads(line) for line in lines], sum(map(len, lines))


def _aligned(group: Sequence[Recording], symbols: str, aligner: Aligner) -> list[dict[str, Any]]:
    """Symbols of recordings and where they end in seconds, or why they are left out."""
    rows: list[dict[str, Any]] = []
    sounds: list[np.ndarray] = []
    for recording in group:
        item = recording.item
        row: dict[str, Any] = {"audio": item.audio, "text": item.text, "language": item.language}
        rows.append(row)
        try:
            sound = load_audio(item.audio)
            if reason := unsaid(item.text):
                row["left_out"] = reason
            elif len(sound) > aligner.longest:
                row["left_out"] = "longer than the aligner hears at once"
            else:
                row["symbols"] = spell(item.text, symbols).symbols
                sounds.append(sound)
        except PromptError:
            row["left_out"] = "text without letters"
        except AudioError:
            row["left_out"] = "recording can't be read"
    kept = [row for row in rows if "left_out" not in row]
    heard = aligner(sounds) if sounds else []
    for row, log_probs in zip(kept, heard, strict=True):
        ends = symbol_ends(
            row["symbols"], log_probs, aligner.alphabet, step=aligner.step, delay=aligner.delay
        )
        if ends is None:
            row["left_out"] = "text doesn't fit the recording"
        else:
            row["ends"] = [round(float(end), 3) for end in ends]
    return rows


# ---- codes ----


def encode_recordings(
    recordings: Sequence[Recording], output: Path, *, codec: Codec, num_codebooks: int
) -> None:
    """Write the codes of recordings that are aligned.

    Args:
        recordings: what to read, as they were aligned.
        output: folder of the cache; one that was cut off is gone on with.
        codec: makes the codes.
        num_codebooks: books that are kept, the coarsest first.
    """
    lines = (output / ALIGNED).read_text(encoding="utf-8").splitlines()
    partial, index_file = output / f"{CODES}.partial", output / INDEX
    done, size = _whole_groups(index_file) if partial.is_file() else ([], 0)
    frames = sum(sum(row.get("durations", ())) for row in done)
    mode = "r+b" if done else "wb"
    with partial.open(mode) as codes, index_file.open(mode) as index:
        for file, end in ((codes, frames * num_codebooks * 2), (index, size)):
            file.truncate(end)
            file.seek(end)
        for begin, group in _groups(recordings, len(done), f"encoded {output.name}"):
            rows = [json.loads(line) for line in lines[begin : begin + len(group)]]
            for recording, row in zip(group, rows, strict=True):
                spoken = _spoken(recording, row, codec, num_codebooks)
                row.pop("ends", None)
                if isinstance(spoken, str):
                    row["left_out"] = spoken
                    continue
                row["voice"], row["symbols"] = spoken.voice, spoken.symbols
                row["durations"] = spoken.durations.tolist()
                codes.write(np.ascontiguousarray(spoken.codes.T).astype(np.int16).tobytes())
            codes.flush()
            index.write(
                "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
            )
            index.flush()
    # The name appears last: a cache that has it is complete.
    partial.rename(output / CODES)


def counts_of(folder: Path) -> Counter[str]:
    """How many recordings of a cache were kept, and by reason how many weren't."""
    rows = (folder / INDEX).read_text(encoding="utf-8").splitlines()
    return Counter(json.loads(row).get("left_out", "kept") for row in rows)


def _spoken(recording: Recording, row: Mapping[str, Any], codec: Codec, books: int) -> Spoken | str:
    """A recording as it is learned, or why it isn't."""
    if "left_out" in row:
        return row["left_out"]
    symbols = row["symbols"]
    try:
        sound = load_audio(recording.item.audio, output_rate=codec.sampling_rate)
    except AudioError:
        return "recording can't be read"
    codes = codec.encode(levelled(sound, "speech"), num_codebooks=books).codes
    frame = codec.hop_length / codec.sampling_rate
    lasts = whole_frames(np.array(row["ends"]), frame=frame, num_frames=codes.shape[1])
    # Silence at both ends is as long as in any other recording.
    most = int(_EDGE / frame)
    before, after = (max(0, int(n) - most) for n in (lasts[0], lasts[-1]))
    codes = codes[:, before : codes.shape[1] - after]
    lasts[0], lasts[-1] = lasts[0] - before, lasts[-1] - after
    longest = [longest_frames(symbol, 1 / frame) for symbol in symbols]
    if any(n > most for n, most in zip(lasts, longest, strict=True)):
        return "a sound lasts too long"
    if recording.commas is not None:
        pause = recording.commas / frame
        symbols = "".join(
            "," if symbol == " " and place and n >= pause else symbol
            for place, (symbol, n) in enumerate(zip(symbols, lasts, strict=True))
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
    # Longer ones are words that somebody shouts.
    if any(1 < len(w) < 6 and w.isupper() for w in words) and not text.isupper():
        return "text with abbreviations"
    return ""


@dataclass(frozen=True)
class SpokenClip:
    """A recording of a cache.

    Args:
        spoken: its symbols and codes.
        text: as it was written.
        language: `ru` or `en`.
        audio: path of the recording.
    """

    spoken: Spoken
    text: str = field(compare=False)
    language: str
    audio: str = ""


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
                self.clips.append(SpokenClip(spoken, row["text"], row["language"], row["audio"]))
                offset = end

    def __len__(self) -> int:
        return len(self.clips)


def stream_length(spoken: Spoken) -> int:
    """Tokens that `borealis.speech.stream.write_stream` makes of a spoken text."""
    return spoken.codes.size + len(spoken.symbols) + 4
