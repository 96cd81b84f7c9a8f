"""Rows -> utterances of a manifest: recordings measured, long ones cut into clips."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from borealis.audio import SAMPLING_RATE, level_db, load_audio, open_audio
from borealis.data.importers.alignment import TimedWord, align_text
from borealis.data.importers.rows import Found, Problem, Row, Stored
from borealis.data.importers.segments import Limits, joined, usable
from borealis.data.limits import SILENCE_DB
from borealis.data.manifest import Utterance
from borealis.errors import AudioError

if TYPE_CHECKING:
    import numpy as np

    from borealis.long_audio import LongAudio

# Words of a recording with their times, given it and its language.
Listen: TypeAlias = "Callable[[np.ndarray | LongAudio, str], Sequence[TimedWord]]"


@dataclass(frozen=True)
class Made:
    """An utterance and the split it belongs to, "" if there is only one."""

    item: Utterance
    split: str


@dataclass
class Clips:
    """Makes utterances and the files of those that are part of a recording.

    Args:
        room: gives the folder in which clips are written, called when there is one. None: rows
            that need it are problems.
        final: where that folder will be in the end; utterances name their files there.
        listen: what writes down long recordings that have a text and no times; None: they are
            problems.
        language: of rows that don't say theirs.
        voice: likewise.
        limits: shortest and longest clip, seconds.
        notes: what was done with long recordings.
    """

    room: Callable[[], Path] | None = None
    final: Path = Path("clips")
    listen: Listen | None = None
    language: str = "ru"
    voice: str = ""
    limits: Limits = field(default_factory=Limits)
    notes: list[str] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)

    def make(self, found: Iterable[Found]) -> Iterator[Made | Problem]:
        """Utterances, and problems, of what importers found, in its order."""

        def recording(row: Found) -> tuple[Any, ...]:
            if isinstance(row, Problem):
                return (None,)
            return (row.audio, row.start is not None)

        for _, group in groupby(found, key=recording):
            rows = list(group)
            problems = [row for row in rows if isinstance(row, Problem)]
            yield from problems
            whole = [row for row in rows if isinstance(row, Row) and row.start is None]
            parts = [row for row in rows if isinstance(row, Row) and row.start is not None]
            try:
                for row in whole:
                    yield from self._whole(row)
                if parts:
                    yield from self._parts(parts)
            except AudioError as error:
                yield Problem("a recording that can't be read", str(error).rstrip("."))

    def _whole(self, row: Row) -> Iterator[Made | Problem]:
        if row.audio is None:
            yield self._made(row, "", 0.0)
            return
        audio = _read(row.audio)
        seconds = len(audio) / SAMPLING_RATE
        shown = f"{row.place}: the recording"
        speech = row.more.get("kind", "speech") == "speech"
        if seconds < self.limits.shortest:
            text = f"{shown} lasts {seconds:.2f} s, less than {self.limits.shortest:g} s"
            yield Problem(f"a recording under {self.limits.shortest:g} s", text)
        elif speech and level_db(audio) <= SILENCE_DB:
            yield Problem("a silent recording", f"{shown} is silent")
        elif seconds > self.limits.longest:
            yield from self._long(row, audio, seconds)
        elif isinstance(row.audio, Path):
            yield self._made(row, str(row.audio.resolve()), seconds)
        elif self.room is None:
            yield self._no_room(row)
        else:
            suffix = Path(row.audio.name).suffix.lower()
            target = self._target(Path(row.audio.name.partition(".")[0]).name, suffix)
            target.write_bytes(row.audio.read())
            yield self._made(row, self._there(target), seconds)

    def _long(
        self, row: Row, audio: np.ndarray | LongAudio, seconds: float
    ) -> Iterator[Made | Problem]:
        """A recording that is longer than a clip, with a text but without times."""
        if self.listen is None or self.room is None or not row.text or row.more:
            text = f"{row.place}: the recording lasts {seconds:.2f} s and has no times"
            yield Problem(f"a recording over {self.limits.longest:g} s without times", text)
            return
        heard = self.listen(audio, row.language or self.language)
        longest = self.limits.longest
        aligned = align_text(row.text, heard, audio, rate=SAMPLING_RATE, longest=longest)
        self.notes.append(
            f"{row.place}: no times; aligned by ear, {aligned.kept} of {aligned.words} words in "
            f"{len(aligned.pieces)} clips"
        )
        if aligned.kept < aligned.words:
            left = aligned.words - aligned.kept
            text = (
                f"{row.place}: {left} of {aligned.words} words couldn't be aligned with the sound"
            )
            yield Problem("a part that can't be aligned", text)
        for piece in aligned.pieces:
            part = replace(row, text=piece.text, start=piece.start, end=piece.end)
            yield self._cut(part, audio)

    def _parts(self, rows: Sequence[Row]) -> Iterator[Made | Problem]:
        """Stretches of one recording."""
        assert rows[0].audio is not None
        audio = _read(rows[0].audio)
        seconds = len(audio) / SAMPLING_RATE
        if len(rows) == 1 and not rows[0].start and (rows[0].end or 0.0) >= seconds - 0.05:
            yield from self._whole(replace(rows[0], start=None, end=None))
            return
        if self.room is None:
            yield self._no_room(rows[0])
            return
        for found in joined(usable(rows, seconds, self.limits), self.limits):
            yield found if isinstance(found, Problem) else self._cut(found, audio)

    def _cut(self, row: Row, audio: np.ndarray | LongAudio) -> Made | Problem:
        """A stretch as a file of its own: FLAC, mono, 16 kHz."""
        import numpy as np
        import soundfile

        assert row.start is not None and row.end is not None and row.audio is not None
        clip = audio[round(row.start * SAMPLING_RATE) : round(row.end * SAMPLING_RATE)]
        seconds = len(clip) / SAMPLING_RATE
        shown = f"{row.place} ({row.start:.2f} to {row.end:.2f} s)"
        if seconds < self.limits.shortest:
            reason = f"a segment under {self.limits.shortest:g} s"
            return Problem(reason, f"{shown} lasts {seconds:.2f} s")
        if row.more.get("kind", "speech") == "speech" and level_db(clip) <= SILENCE_DB:
            return Problem("a silent segment", f"{shown} is silent")
        name = row.audio.stem if isinstance(row.audio, Path) else Path(row.audio.name).stem
        target = self._target(f"{name}-{row.start:07.2f}", ".flac")
        samples = np.clip(clip, -1.0, 1.0)
        soundfile.write(target, samples, SAMPLING_RATE, format="FLAC", subtype="PCM_16")
        return self._made(row, self._there(target), seconds)

    def _target(self, name: str, suffix: str) -> Path:
        """A new file of the folder of clips; names of others are made harmless."""
        assert self.room is not None
        plain = re.sub(r"[^\w.-]+", "_", name)[-80:].strip(".") or "clip"
        name, number = f"{plain}{suffix}", 1
        while name.lower() in self._names:
            number += 1
            name = f"{plain}_{number}{suffix}"
        self._names.add(name.lower())
        return self.room() / name

    def _there(self, target: Path) -> str:
        return str(self.final.resolve() / target.name)

    def _made(self, row: Row, audio: str, seconds: float) -> Made:
        item = Utterance(
            audio,
            row.text,
            round(seconds, 2),
            language=row.language or self.language,
            voice=row.voice or self.voice,
            gender=row.gender,
            **row.more,
        )
        return Made(item, row.split)

    def _no_room(self, row: Row) -> Problem:
        text = f"{row.place} is to be cut; cut it by 'borealis data import' first"
        return Problem("a recording that is to be cut", text)


def _read(audio: Path | Stored) -> np.ndarray | LongAudio:
    return open_audio(audio) if isinstance(audio, Path) else load_audio(audio.read())
