"""CTC prefix beam search with a letter n-gram, known words and hot words; no language model.

Prefixes are followed frame by frame (Graves, 2012, "Sequence Transduction with Recurrent Neural
Networks"; Hannun et al., 2014, "First-Pass Large Vocabulary Continuous Speech Recognition using
Bi-Directional Recurrent DNNs"): each has the probability of all paths that spell it and end in a
blank, and of those that end in its last letter. What letters are likely in text is added to the
log probability (shallow fusion). All prefixes of all clips of a batch move at once in numpy.

Spaces are no letters here: several are one, and one before the first letter is none. A path that
says them spells the same prefix, so nothing can be gained by saying more of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from borealis.ctc.alphabet import BLANK, Alphabet
from borealis.ctc.hot import HotWords
from borealis.ctc.ngram import Ngram
from borealis.ctc.words import NO_WORD, grown

NEVER = np.float32(-1e30)
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class SearchSettings:
    """How a beam search weighs what it hears against what is written in texts.

    Args:
        num_beams: prefixes that are kept after each frame.
        ngram_weight: factor of the n-gram's natural log probabilities.
        letter_bonus: nats for each letter beside what the n-gram says of it; without it the shorter
            text wins.
        unknown_word_cost: nats taken for a word that the texts don't have, at its end.
        hot_word_bonus: nats for each letter of a hot word that is spelled to its end.
        num_letters: how many letters are tried in a frame, the likeliest.
        min_log_prob: a letter below this log probability isn't tried.
        beam_margin: nats; a prefix so far behind the best isn't followed.
        sure_blank: natural log; frames with a likelier blank are passed over in one step.
    """

    num_beams: int = 128
    ngram_weight: float = 1.1
    letter_bonus: float = 2.2
    unknown_word_cost: float = 4.0
    hot_word_bonus: float = 2.0
    num_letters: int = 8
    min_log_prob: float = -9.0
    beam_margin: float = 20.0
    sure_blank: float = -0.02


@dataclass(frozen=True)
class Hypothesis:
    """A spelling that was found.

    Args:
        text: its letters.
        score: what it was chosen by: log probability of all its paths and score of the text.
        heard: the log probability alone.
    """

    text: str
    score: float
    heard: float


class PrefixBeamSearch:
    """The search with one model's letters and texts; it holds no state of a clip.

    Args:
        alphabet: letters of the posteriors.
        settings: see `SearchSettings`.
        ngram: which letters follow which, if known.
        hot_words: words that are expected, if any.
    """

    def __init__(
        self,
        alphabet: Alphabet,
        settings: SearchSettings | None = None,
        *,
        ngram: Ngram | None = None,
        hot_words: HotWords | None = None,
    ) -> None:
        self.alphabet, self.settings = alphabet, settings or SearchSettings()
        self.ngram, self.hot_words = ngram, hot_words

    def decode(
        self,
        log_probs: Sequence[np.ndarray],
        *,
        language: str | None = None,
    ) -> list[list[Hypothesis]]:
        """Search clips, all together.

        Args:
            log_probs: of each clip, natural log `[frames, classes]`, class 0 is the blank.
            language: binds the letters to its script; without one each clip is of the script that
                most of what was heard belongs to.

        Returns:
            For each clip its hypotheses, the best first; there is always one, perhaps empty.
        """
        heard = [self._bound(clip, language) for clip in log_probs]
        beams = _Beams(len(heard), self)
        steps = [_steps(clip, self.settings.sure_blank) for clip in heard]
        longest = max((len(frames) for frames, _ in steps), default=0)
        # Frames [longest, clips, classes]; where a clip has ended, a sure blank changes nothing.
        rows = np.full((longest, len(heard), len(self.alphabet)), NEVER, np.float32)
        rows[:, :, BLANK] = 0.0
        runs = np.zeros((longest + 1, len(heard)), np.float32)
        passed = np.zeros((longest + 1, len(heard)), bool)
        for place, (frames, blanks) in enumerate(steps):
            rows[: len(frames), place] = heard[place][frames]
            runs[: len(blanks), place] = blanks
            passed[: len(blanks), place] = blanks < 0
        for at in range(longest):
            beams.rest(runs[at], passed[at])
            beams.step(rows[at])
        beams.rest(runs[longest], passed[longest])
        return beams.finish()

    def watch(
        self, log_probs: np.ndarray, moments: Sequence[int], *, language: str | None = None
    ) -> list[list[str]]:
        """Search one clip, and tell what is followed on the way.

        Args:
            log_probs: of the clip, as `decode` takes them.
            moments: numbers of frames, in their order.
            language: as for `decode`.

        Returns:
            For each moment the prefixes that are followed after that frame, the best first.
        """
        heard = self._bound(log_probs, language)
        frames, blanks = _steps(heard, self.settings.sure_blank)
        runs = blanks.astype(np.float32)[:, None]
        beams, at, followed = _Beams(1, self), 0, []
        for moment in moments:
            while at < len(frames) and frames[at] <= moment:
                beams.rest(runs[at], runs[at] < 0)
                beams.step(heard[frames[at]][None])
                at += 1
            followed.append(beams.prefixes(0))
        return followed

    def _bound(self, log_probs: np.ndarray, language: str | None) -> np.ndarray:
        """The posteriors with the letters of other scripts ruled out."""
        out = np.array(log_probs, np.float32)
        if language is None:
            scripts = self.alphabet.scripts
            if len(scripts) < 2 or not len(out):
                return out
            probs = np.exp(out)
            mass = {script: probs[:, own].sum() for script, own in scripts.items()}
            best = max(mass, key=lambda script: mass[script])
            foreign = np.any([own for script, own in scripts.items() if script != best], axis=0)
        else:
            foreign = ~self.alphabet.allowed(language)
        out[:, foreign] = NEVER
        return out


def _steps(log_probs: np.ndarray, sure_blank: float) -> tuple[np.ndarray, np.ndarray]:
    """Frames that must be looked at, and the blanks passed over before each and after the last.

    Returns:
        Indices `[n]`, and sums of log probabilities `[n + 1]`, 0 where nothing was passed over.
    """
    if not len(log_probs):
        return np.zeros(0, np.int64), np.zeros(1, np.float32)
    sure = log_probs[:, BLANK] > sure_blank
    frames = np.flatnonzero(~sure)
    # A blank that is certain (0.0) was still passed over: keep its sum below zero.
    summed = np.concatenate([[0.0], np.cumsum(np.where(sure, log_probs[:, BLANK], 0.0))])
    counted = np.concatenate([[0], np.cumsum(sure)])
    edges = np.concatenate([[-1], frames, [len(log_probs)]])
    runs = summed[edges[1:]] - summed[edges[:-1] + 1]
    passed = counted[edges[1:]] - counted[edges[:-1] + 1] > 0
    return frames, np.where(passed, np.minimum(runs, -1e-12), 0.0)


class _Beams:
    """The prefixes of all clips: arrays `[clips, num_beams]`."""

    def __init__(self, clips: int, search: PrefixBeamSearch) -> None:
        settings, self.search = search.settings, search
        shape = (clips, settings.num_beams)
        self.blank = np.full(shape, NEVER, np.float64)  # all paths that end in a blank (or space)
        self.blank[:, 0] = 0.0
        self.letter = np.full(shape, NEVER, np.float64)  # all that end in the last letter
        self.text = np.zeros(shape, np.float64)  # score of the text
        self.last = np.zeros(shape, np.int64)
        ngram, self.space = search.ngram, search.alphabet.space
        # A text begins as after a space.
        self.context = np.full(shape, ngram.step(0, self.space) if ngram else 0, np.int32)
        self.word = np.full(shape, NO_WORD, np.int64)
        self.hot = np.zeros(shape, np.int32)
        # What a prefix spells and what it was spelled from, as hashes.
        self.spelled = np.zeros(shape, np.uint64)
        self.spelled[:, 1:] = np.arange(1, shape[1], dtype=np.uint64)  # no prefix yet: all differ
        self.parent = np.full(shape, ~np.uint64(0), np.uint64)
        # The tree of all prefixes that ever were, to read texts from.
        self.node = np.full(shape, -1, np.int64)
        self._origins: list[np.ndarray] = []
        self._letters: list[np.ndarray] = []
        self._nodes = 0

    def rest(self, runs: np.ndarray, passed: np.ndarray) -> None:
        """Sure blanks: their log probabilities `[clips]`, and where there were any `[clips]`."""
        if not passed.any():
            return
        total = np.logaddexp(self.blank, self.letter) + runs[:, None]
        self.blank = np.where(passed[:, None], total, self.blank)
        self.letter = np.where(passed[:, None], NEVER, self.letter)

    def step(self, row: np.ndarray) -> None:
        """One frame of each clip: log probabilities `[clips, classes]`."""
        settings = self.search.settings
        clips, beams = self.blank.shape
        clip = np.arange(clips)[:, None]
        total = np.logaddexp(self.blank, self.letter)
        alive = total > NEVER / 2
        quiet_end = (self.last == self.space) | (self.last == BLANK)
        blank, space = row[:, BLANK, None], row[:, self.space, None]
        stays_blank = total + np.where(quiet_end, np.logaddexp(blank, space), blank)
        stays_letter = np.where(quiet_end, NEVER, self.letter + row[clip, self.last])

        # One letter more.
        wanted = row.copy()
        wanted[:, BLANK] = NEVER
        count = min(settings.num_letters, wanted.shape[1] - 1)
        letters = np.argpartition(-wanted, count - 1, axis=1)[:, :count]  # [clips, letters]
        heard = np.take_along_axis(wanted, letters, 1)
        repeats = letters[:, None] == self.last[..., None]
        longer = np.where(repeats, self.blank[..., None], total[..., None]) + heard[:, None]
        possible = alive[..., None] & (heard > settings.min_log_prob)[:, None]
        possible &= ~(quiet_end[..., None] & (letters == self.space)[:, None])

        # A prefix may be reached both by staying and from the prefix that is a letter shorter.
        same = self.parent[:, :, None] == self.spelled[:, None, :]  # [clips, longer, shorter]
        same &= alive[:, :, None] & alive[:, None, :]
        at_clip, at_long = np.nonzero(same.any(2))
        if len(at_clip):
            at_short = same[at_clip, at_long].argmax(1)
            added = self.last[at_clip, at_long]
            again = added == self.last[at_clip, at_short]
            comes = np.where(again, self.blank[at_clip, at_short], total[at_clip, at_short])
            comes = comes + row[at_clip, added]
            into = np.where((added == self.space)[:, None], [[True, False]], [[False, True]])
            for part, target in enumerate((stays_blank, stays_letter)):
                mine = into[:, part]
                where = at_clip[mine], at_long[mine]
                target[where] = np.logaddexp(target[where], comes[mine])
            place = letters[at_clip] == added[:, None]
            row_of, letter_of = np.nonzero(place)
            possible[at_clip[row_of], at_short[row_of], letter_of] = False

        stays = np.logaddexp(stays_blank, stays_letter) + self.text
        floor = stays.max(1) - settings.beam_margin
        possible &= longer + self.text[..., None] > floor[:, None, None]
        of_clip, of_beam, of_letter = np.nonzero(possible)
        grown_letters = letters[of_clip, of_letter]
        arrives = longer[of_clip, of_beam, of_letter]
        context, text, word, hot = self._scored(of_clip, of_beam, grown_letters)

        # The best of all, by clip.
        candidates = np.full((clips, beams * (1 + count)), NEVER, np.float64)
        candidates[:, :beams] = np.where(alive, stays, NEVER)
        index = np.zeros(candidates.shape, np.int64)
        slot = beams + of_beam * count + of_letter
        candidates[of_clip, slot] = arrives + text
        index[of_clip, slot] = np.arange(len(of_clip))
        best = np.argpartition(-candidates, beams - 1, axis=1)[:, :beams]
        kept = np.take_along_axis(candidates, best, 1) > NEVER / 2
        grows = kept & (best >= beams)
        source = np.where(best < beams, best, (best - beams) // count)
        for name in ("text", "last", "context", "word", "hot", "spelled", "parent", "node"):
            setattr(self, name, np.take_along_axis(getattr(self, name), source, 1))
        stays_here = kept & ~grows
        self.blank = np.where(stays_here, np.take_along_axis(stays_blank, source, 1), NEVER)
        self.letter = np.where(stays_here, np.take_along_axis(stays_letter, source, 1), NEVER)
        pick = index[clip, best][grows]
        added = grown_letters[pick]
        is_space = added == self.space
        self.blank[grows] = np.where(is_space, arrives[pick], NEVER)
        self.letter[grows] = np.where(is_space, NEVER, arrives[pick])
        self.text[grows], self.context[grows] = text[pick], context[pick]
        self.word[grows], self.hot[grows] = word[pick], hot[pick]
        self.last[grows] = added
        before = self.spelled[grows]
        self.parent[grows] = before
        self.spelled[grows] = _hashed(before, added)
        self._origins.append(self.node[grows])
        self._letters.append(added)
        self.node[grows] = self._nodes + np.arange(len(added))
        self._nodes += len(added)

    def _scored(
        self, clip: np.ndarray, beam: np.ndarray, letters: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Context, score of the text, word and place among hot words after these letters."""
        search, settings = self.search, self.search.settings
        context, word = self.context[clip, beam], self.word[clip, beam]
        hot, text = self.hot[clip, beam], self.text[clip, beam]
        ends = letters == self.space
        text = text + np.where(ends, self._word_end(word, hot), 0.0)
        if search.ngram is not None:
            context, scores = search.ngram.follow(context, letters)
            text = text + settings.ngram_weight * scores + settings.letter_bonus
        if search.hot_words is not None:
            hot, gains = search.hot_words.follow(hot, letters)
            text = text + settings.hot_word_bonus * gains
        word = np.where(ends, NO_WORD, grown(word, letters))
        return context, text, word, hot

    def _word_end(self, words: np.ndarray, hot: np.ndarray) -> np.ndarray:
        """What the end of a word costs, 0 or less `[n]`."""
        search = self.search
        if search.ngram is None or search.ngram.words is None:
            return np.zeros(words.shape)
        known = (words == NO_WORD) | search.ngram.words.has(words)
        if search.hot_words is not None:
            known |= search.hot_words.whole(hot)
        return np.where(known, 0.0, -search.settings.unknown_word_cost)

    def prefixes(self, clip: int) -> list[str]:
        """What is followed of a clip at this moment, the best first."""
        scores = np.logaddexp(self.blank, self.letter)[clip] + self.text[clip]
        texts = self._texts()[clip]
        return list(dict.fromkeys(texts[beam] for beam in sorted(texts, key=lambda b: -scores[b])))

    def _texts(self) -> list[dict[int, str]]:
        """For each clip, what each of its beams that are followed spells."""
        origins = np.concatenate(self._origins) if self._origins else np.zeros(0, np.int64)
        letters = np.concatenate(self._letters) if self._letters else np.zeros(0, np.int64)
        followed = np.logaddexp(self.blank, self.letter) > NEVER / 2
        found: list[dict[int, str]] = []
        for clip, alive in enumerate(followed):
            texts: dict[int, str] = {}
            for beam in np.flatnonzero(alive).tolist():
                spelled, node = [], int(self.node[clip, beam])
                while node >= 0:
                    spelled.append(int(letters[node]))
                    node = int(origins[node])
                texts[beam] = self.search.alphabet.text(reversed(spelled))
            found.append(texts)
        return found

    def finish(self) -> list[list[Hypothesis]]:
        """The texts, each clip's best first. The end of a text is as a space after it."""
        search = self.search
        heard = np.logaddexp(self.blank, self.letter)
        open_word = (self.last != self.space) & (self.last != BLANK)
        self.text += np.where(open_word, self._word_end(self.word, self.hot), 0.0)
        if search.hot_words is not None:
            self.text += search.settings.hot_word_bonus * search.hot_words.end(self.hot)
        at = np.nonzero(open_word & (heard > NEVER / 2))
        if search.ngram is not None and len(at[0]):
            spaces = np.full(len(at[0]), self.space)
            scores = search.ngram.follow(self.context[at], spaces)[1]
            self.text[at] += search.settings.ngram_weight * scores + search.settings.letter_bonus
        out = []
        for clip, texts in enumerate(self._texts()):
            found: dict[str, tuple[float, float]] = {}
            for beam, written in texts.items():
                text = written.strip()
                before = found.get(text, (NEVER, self.text[clip, beam]))
                both = np.logaddexp(before[0], heard[clip, beam])
                found[text] = both, before[1]
            hypotheses = [
                Hypothesis(text, float(sound + score), float(sound))
                for text, (sound, score) in found.items()
            ]
            out.append(sorted(hypotheses, key=lambda h: -h.score))
        return out


def _hashed(before: np.ndarray, letters: np.ndarray) -> np.ndarray:
    """What a prefix spells with a letter more, as a number."""
    mixed = (before ^ letters.astype(np.uint64)) * _MIX
    return mixed ^ (mixed >> np.uint64(29))
