"""`borealis data check`: what is wrong with a manifest, and between the splits of a data set."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from borealis.audio import SAMPLING_RATE, level_db, load_audio
from borealis.data.limits import LONGEST_SECONDS, SHORTEST_SECONDS, SILENCE_DB
from borealis.data.manifest import Utterance, read_manifest
from borealis.data.row_groups import recording
from borealis.data.text import control_words
from borealis.errors import BorealisError

# Letters and marks of Russian and English text that can be read aloud as it stands.
_SPEAKABLE = re.compile(r"[А-Яа-яЁёA-Za-z\s,.!?:;…'’\"«»„“”()—–-]")
_TOLERANCE = 0.1  # seconds


@dataclass
class Checked:
    """A manifest that was read through.

    Args:
        items: its utterances.
        seconds: of audio that could be read.
        problems: a line each.
        digests: first utterance (from 1) with a recording, by its content.
    """

    items: list[Utterance]
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    digests: dict[str, int] = field(default_factory=dict)

    @property
    def voices(self) -> set[str]:
        """Names of the speakers."""
        return {item.voice for item in self.items if item.voice and item.kind == "speech"}


def check_manifest(path: str | Path, *, any_text: bool = False) -> Checked:
    """Read every recording of a manifest and compare it with what the manifest says.

    Args:
        path: the manifest.
        any_text: digits and foreign letters in the texts are no problem.

    Raises:
        ManifestError: the manifest itself can't be read.
    """
    found = Checked(read_manifest(path))
    for number, item in enumerate(found.items, 1):

        def tell(text: str, number: int = number) -> None:
            found.problems.append(f"utterance {number}: {text}")

        if not any_text and (strange := unspeakable(item.text)):
            tell(f"text outside the alphabet: {strange}")
        if marks := control_words("\n".join(item.texts)):
            tell(f"control words of a prompt, learned as plain text: {' '.join(marks)}")
        if not item.audio:
            continue
        try:
            data = recording(item.audio)
            audio = load_audio(data)
        except BorealisError as error:
            tell(str(error))
            continue
        length = len(audio) / SAMPLING_RATE
        found.seconds += length
        if item.duration and abs(length - item.duration) > _TOLERANCE:
            tell(f"the manifest says {item.duration} s, it lasts {length:.2f} s")
        if length > LONGEST_SECONDS:
            tell(
                f"it lasts {length:.2f} s, and training leaves out what is longer than "
                f"{LONGEST_SECONDS:g} s; 'borealis data import' cuts it"
            )
        elif length < SHORTEST_SECONDS:
            tell(
                f"it lasts {length:.2f} s, and training leaves out what is shorter than "
                f"{SHORTEST_SECONDS:g} s"
            )
        if item.kind == "speech" and level_db(audio) <= SILENCE_DB:
            tell("speech, and the recording is silent")
        if item.kind == "speech" and not (item.text or item.answer or item.messages):
            tell("speech without a text")
        digest = _digest(data)
        same = found.digests.setdefault(digest, number)
        # Several questions about one recording are in order.
        if same != number and _asked(found.items[same - 1]) == _asked(item):
            tell(f"the same recording as utterance {same}")
    return found


def leaks(checked: dict[str, Checked]) -> list[str]:
    """What two manifests share that are meant to be kept apart: voices, recordings, texts."""
    out = []
    names = list(checked)
    for i, one in enumerate(names):
        for two in names[i + 1 :]:
            a, b = checked[one], checked[two]
            if voices := sorted(a.voices & b.voices):
                out.append(f"{one} and {two} share {_some(voices, 'voice')}")
            if count := len(a.digests.keys() & b.digests.keys()):
                out.append(f"{one} and {two} share {count} recording{'s' * (count > 1)}")
            texts = sorted(_texts(a) & _texts(b))
            if texts:
                out.append(f"{one} and {two} share {_some(texts, 'text')}")
    return out


def unspeakable(text: str) -> str:
    """Characters of a text that nobody can read aloud letter by letter, most frequent first."""
    counts = Counter(c for c in text if not _SPEAKABLE.match(c))
    return " ".join(character for character, _ in counts.most_common(8))


def report(paths: Sequence[str | Path], *, any_text: bool = False) -> int:
    """Check manifests, and the splits against each other; prints, and returns the exit code."""
    checked = {Path(path).name: check_manifest(path, any_text=any_text) for path in paths}
    if len(checked) < len(paths):  # equal names in different folders
        checked = {str(path): check_manifest(path, any_text=any_text) for path in paths}
    for name, found in checked.items():
        prefix = f"{name}, " if len(checked) > 1 else ""
        for problem in found.problems:
            print(prefix + problem)
    shared = leaks(checked)
    for line in shared:
        print(line)
    for name, found in checked.items():
        prefix = f"{name}: " if len(checked) > 1 else ""
        voices = {item.voice for item in found.items}
        print(
            f"{prefix}{len(found.items)} utterances, {found.seconds / 3600:.2f} h, "
            f"{len(voices)} voices, {len(found.problems)} problems"
        )
    if len(checked) > 1:
        print(f"between them: {len(shared)} leaks")
    return 2 if shared or any(found.problems for found in checked.values()) else 0


def _asked(item: Utterance) -> tuple[str, str]:
    return item.question, str(item.messages)


def _digest(data: str | bytes) -> str:
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    with open(data, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _texts(found: Checked) -> set[str]:
    """Texts long enough not to be said twice by chance, without marks and capitals."""
    plain = (" ".join(re.findall(r"\w+", item.text.lower())) for item in found.items)
    return {text for text in plain if len(text.split()) > 3}


def _some(values: Sequence[str], what: str) -> str:
    shown = ", ".join(f"'{value}'" for value in values[:3])
    more = f" and {len(values) - 3} more" if len(values) > 3 else ""
    return f"{len(values)} {what}{'s' * (len(values) > 1)}: {shown}{more}"
