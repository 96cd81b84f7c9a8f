"""A long recording and its text without times -> clips with their part of the text.

Our own CTC writes down the recording and tells when each word was said. Its words are laid over
those of the given text; where they agree on both sides of a pause the recording may be cut. Of all
ways to cut, the one is taken that keeps most of the text in clips that agree with what was heard.
What disagrees is left out: nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

from borealis.ctc.alignment import written_words
from borealis.data.text import LETTERS

if TYPE_CHECKING:
    import numpy as np

    from borealis.long_audio import LongAudio

_PAUSE = 0.12  # seconds between two words at least where a recording is cut
_REACH = 0.4  # seconds around a word within which a cut is looked for
_WORST = 0.3  # share of the letters in which a clip may differ from what was heard
_LOST = 8  # letters in a row that are only in the text, or only in the sound: something is missing
_UNLIKE = 0.6  # share of the letters in which words may differ that stand for each other
_FIRM = 6  # letters that must agree at the edge of a clip
_SHORTEST = 1.0  # seconds of a clip
# In letters: what a cut costs, so that clips are no shorter than they need be; and what a pause of
# a second and the end of a sentence are worth there.
_CUT, _QUIET, _SENTENCE = 30.0, 40.0, 15.0


class TimedWord(Protocol):
    """A word that was heard, with its times in seconds."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Piece:
    """A clip to be cut.

    Args:
        start: seconds.
        end: seconds.
        text: its part of the given text.
        error: share of its letters in which it differs from what was heard.
    """

    start: float
    end: float
    text: str
    error: float


@dataclass(frozen=True)
class Aligned:
    """What came of a recording.

    Args:
        pieces: clips in order.
        words: of the given text.
        kept: words that are in clips.
    """

    pieces: list[Piece]
    words: int
    kept: int


@dataclass(frozen=True)
class _Edge:
    """A place where a clip may begin or end: seconds, and how long the pause there is."""

    time: float
    pause: float


def align_text(
    text: str,
    heard: Sequence[TimedWord],
    audio: np.ndarray | LongAudio,
    *,
    rate: int,
    longest: float,
) -> Aligned:
    """Cut a recording and its text into clips.

    Args:
        text: of the whole recording.
        heard: what the model wrote down of it, all words with times.
        audio: float32 mono `[num_samples]`.
        rate: of `audio`, Hz.
        longest: seconds of a clip.
    """
    words = written_words(text)
    cuts = _Cuts(words, heard, audio, rate)
    pieces = cuts.best(longest)
    made = [
        Piece(
            cuts.starts[a].time,
            cuts.ends[b].time,
            _tidy(" ".join(words[a:b])),
            round(cuts.error(a, b), 3),
        )
        for a, b in pieces
    ]
    return Aligned(made, len(words), sum(b - a for a, b in pieces))


def _tidy(text: str) -> str:
    """Without dashes at its edges: they belong to what the clip was cut from."""
    return re.sub(r"^[—–-]\s+|\s+[—–-]$", "", text)


def _letters(word: str) -> str:
    """What of a word can be heard; of a number nothing."""
    return LETTERS.fold(word).replace(" ", "") if not any(c.isdigit() for c in word) else ""


class _Cuts:
    """Where a text may be cut, and how well each part of it agrees with what was heard.

    Args:
        words: of the text.
        heard: of the recording.
        audio: the recording.
        rate: Hz.
    """

    def __init__(
        self,
        words: Sequence[str],
        heard: Sequence[TimedWord],
        audio: np.ndarray | LongAudio,
        rate: int,
    ) -> None:
        self._words, self._heard, self._audio, self._rate = words, heard, audio, rate
        self._seconds = len(audio) / rate
        given = [_letters(word) for word in words]
        said = [_letters(word.text) for word in heard]
        self._length = [0, *accumulate(map(len, given))]
        # Numbers have no letters and agree with nothing.
        keys = [letters or f"\0{number}" for number, letters in enumerate(given)]
        matcher = SequenceMatcher(None, keys, said, autojunk=False)
        count = len(words) + 1
        edits, inner = [0] * (count + 1), [0] * (count + 1)
        broken, between = [0] * (count + 1), [0] * (count + 1)
        self.starts: dict[int, _Edge] = {}  # by the number of the first word
        self.ends: dict[int, _Edge] = {}  # by the number of the word after the last
        for kind, i, i_end, j, j_end in matcher.get_opcodes():
            if kind == "equal":
                self._edges(given, i, i_end, j)
                continue
            a, b = "".join(given[i:i_end]), "".join(said[j:j_end])
            differ = _distance(a, b)
            bad = max(len(a), len(b)) >= _LOST and differ > _UNLIKE * max(len(a), len(b))
            bad |= any(not letters for letters in given[i:i_end])
            # What is only in the sound stands between two words, the rest is part of the text.
            (inner if kind == "insert" else edits)[i + 1] += differ
            (between if kind == "insert" else broken)[i + 1] += bad
        self._edits, self._inner = list(accumulate(edits)), list(accumulate(inner))
        self._broken, self._between = list(accumulate(broken)), list(accumulate(between))

    def error(self, a: int, b: int) -> float:
        """Share of the letters in which the words from `a` to before `b` differ from the sound."""
        differ = self._edits[b] - self._edits[a] + self._inner[b] - self._inner[a + 1]
        return differ / max(1, self._length[b] - self._length[a])

    def _sound(self, a: int, b: int) -> bool:
        lost = self._broken[b] - self._broken[a] + self._between[b] - self._between[a + 1]
        return not lost and self.error(a, b) <= _WORST

    def _edges(self, given: Sequence[str], i: int, i_end: int, j: int) -> None:
        """Note the pauses around words that agree, from word `i` of the text and `j` heard on."""
        for word in range(i, i_end):
            at = j + word - i
            one = self._heard[at]
            first, last = at == 0, at + 1 == len(self._heard)
            before = 0.0 if first else self._heard[at - 1].end
            after = self._seconds if last else self._heard[at + 1].start
            # Before the first word and after the last nobody speaks, however short that is.
            pause = max(one.start - before, _PAUSE * first)
            if pause >= _PAUSE and sum(map(len, given[word:i_end])) >= _FIRM:
                low = max(before, one.start - _REACH)
                self.starts[word] = _Edge(self._quietest(low, one.start), pause)
            pause = max(after - one.end, _PAUSE * last)
            if pause >= _PAUSE and sum(map(len, given[i : word + 1])) >= _FIRM:
                high = min(after, one.end + _REACH)
                self.ends[word + 1] = _Edge(self._quietest(one.end, high), pause)

    def _quietest(self, low: float, high: float) -> float:
        """The middle of the quietest 60 ms, seconds."""
        import numpy as np

        width = max(1, round(0.06 * self._rate))
        first, last = round(low * self._rate), min(round(high * self._rate), len(self._audio))
        if last - first <= width:
            return min((low + high) / 2, self._seconds)
        part = np.asarray(self._audio[first:last], np.float64)
        energy = np.concatenate([[0.0], np.cumsum(part**2)])
        sums = energy[width:] - energy[:-width]
        # Of equally quiet places the middle one.
        quiet = np.flatnonzero(sums <= sums.min() * 1.05 + 1e-9)
        return float((first + int(quiet[len(quiet) // 2]) + width // 2) / self._rate)

    def best(self, longest: float) -> list[tuple[int, int]]:
        """First words and words after the last of the clips that keep most of the text."""
        count = len(self._words)
        value, came = [0.0] * (count + 1), [-1] * (count + 1)
        starts = sorted(self.starts)
        first = 0  # of those that aren't too far back
        for end in range(1, count + 1):
            value[end] = value[end - 1]
            if (edge := self.ends.get(end)) is None:
                continue
            while first < len(starts) and edge.time - self.starts[starts[first]].time > longest:
                first += 1
            for start in starts[first:]:
                if start >= end:
                    break
                seconds = edge.time - self.starts[start].time
                if not _SHORTEST <= seconds <= longest or not self._sound(start, end):
                    continue
                gain = value[start] + self._worth(start, end)
                if gain > value[end]:
                    value[end], came[end] = gain, start
        pieces, at = [], count
        while at > 0:
            if came[at] >= 0:
                pieces.append((came[at], at))
                at = came[at]
            else:
                at -= 1
        return pieces[::-1]

    def _worth(self, start: int, end: int) -> float:
        letters = (self._length[end] - self._length[start]) * (1 - self.error(start, end))
        pauses = min(self.starts[start].pause, 0.5) + min(self.ends[end].pause, 0.5)
        sentence = self._words[end - 1].rstrip(' »"”)').endswith((".", "!", "?", "…"))
        return letters - _CUT + _QUIET * pauses / 2 + _SENTENCE * sentence


def _distance(a: str, b: str) -> int:
    """Edits between two texts; of long ones their length, as they have nothing in common."""
    if not a or not b or len(a) * len(b) > 250_000:
        return max(len(a), len(b))
    row = list(range(len(b) + 1))
    for i, one in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, two in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (one != two))
    return row[-1]
