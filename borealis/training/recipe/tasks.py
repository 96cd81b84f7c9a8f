"""Keys of the tasks that a stage learns; the code of each is in `borealis.training.tasks`.

A stage lists its tasks with their shares. What a task says of questions is here too: which kinds
(`borealis.data.kinds`), and how often each.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from borealis.data.kinds import KINDS
from borealis.training.recipe.section import Section

# Beside the kinds of questions: what the model is, and the wish for a transcript.
ABOUT, TRANSCRIBE = "about", "transcribe"


def _all(*more: str, words: bool = False) -> dict[str, float]:
    """Every kind that can be asked, equally often."""
    return {kind.name: 1.0 for kind in KINDS if kind.words or not words} | dict.fromkeys(more, 1.0)


class TaskSection(Section):
    """A task."""

    share: float = Field(
        1.0, ge=0, description="Share of the stage's batches, relative to those of its other tasks."
    )

    @field_validator("kinds", "read_kinds", mode="after", check_fields=False)
    @classmethod
    def _are_known(cls, kinds: dict[str, float]) -> dict[str, float]:
        known = (*(kind.name for kind in KINDS), ABOUT, TRANSCRIBE)
        if unknown := [name for name in kinds if name not in known]:
            raise ValueError(f"there is no kind '{unknown[0]}'; there are {', '.join(known)}")
        if not any(kinds.values()) or min(kinds.values()) < 0:
            raise ValueError("give shares of 0 or more, and one that isn't 0")
        # In one order, so that how a file orders them changes nothing.
        return {name: kinds[name] for name in known if name in kinds}


class TextSection(TaskSection):
    """Sentences of data.corpora, for spelling."""


class ChatSection(TaskSection):
    """Chat without a recording: what the model is, or a question that needs the missing sound."""

    about: float = Field(0.7, ge=0, le=1, description="Share of what the model is.")


class ConversationsSection(TaskSection):
    """Conversations without audio, from sources."""

    sources: list[str] = Field(description="Sources (data.sources) that they come from.")


class LettersSection(TaskSection):
    """Letters by CTC alone: nobody reads the audio tokens (losses.ctc)."""


class TranscriptionSection(TaskSection):
    """Recordings, to be written down, or with the conversation of their own."""

    questions: float = Field(
        0.0, ge=0, le=1, description="Share of clips with a question instead of transcription."
    )
    kinds: dict[str, float] = Field(
        default_factory=lambda: _all(ABOUT),
        description="How often each kind of question is asked, relative to the others; what isn't "
        "named isn't asked. Where a clip's answer isn't known it is asked for its kind of sound.",
    )
    follow_up: float = Field(0.0, ge=0, le=1, description="Share of clips with a second turn.")
    follow_up_questions: float = Field(
        0.75, ge=0, le=1, description="Share of the second turns that are questions."
    )


class QuestionsSection(TaskSection):
    """Nothing but questions about clips, each answer of a kind equally often (features)."""

    kinds: dict[str, float] = Field(
        default_factory=_all, description="How often each kind is asked, relative to the others."
    )
    read: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the conversations that begin with a transcript, as `Borealis.ask` "
        "begins with transcribe_before_answer.",
    )


class PseudoSection(TaskSection):
    """Sentences that nobody recorded, as pseudo-audio, to be written down."""

    questions: float = Field(
        0.0, ge=0, le=1, description="Share of sentences with a question instead."
    )
    kinds: dict[str, float] = Field(
        default_factory=lambda: _all(words=True),
        description="How often each kind is asked, relative to the others.",
    )

    @field_validator("kinds", mode="after")
    @classmethod
    def _of_words(cls, kinds: dict[str, float]) -> dict[str, float]:
        return _only_words(kinds)


class PseudoQuestionsSection(TaskSection):
    """Nothing but questions about sentences that nobody recorded."""

    kinds: dict[str, float] = Field(
        default_factory=lambda: _all(words=True),
        description="How often each kind is asked, relative to the others.",
    )
    read: float = Field(
        0.0, ge=0, le=1, description="Share of the conversations that begin with a transcript."
    )
    read_kinds: dict[str, float] = Field(
        default_factory=lambda: _all(TRANSCRIBE, words=True),
        description="How often each kind is asked in these; transcribe: once more, please.",
    )

    @field_validator("kinds", "read_kinds", mode="after")
    @classmethod
    def _of_words(cls, kinds: dict[str, float]) -> dict[str, float]:
        return _only_words(kinds)


class _OfSpeech(TaskSection):
    sets: list[str] = Field(min_length=1, description="Recordings (data.speech) it learns from.")
    voices: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict,
        description="How often recordings of a voice are taken in an epoch; those that aren't "
        "named once.",
    )


class SpeechTaskSection(_OfSpeech):
    """Texts, to be spoken: symbols and codec tokens in one stream (model.speech.voices)."""


class ListeningSection(_OfSpeech):
    """Codec tokens in the place of audio, to be written down."""


def _only_words(kinds: dict[str, float]) -> dict[str, float]:
    heard = {kind.name for kind in KINDS if not kind.words} | {ABOUT}
    if wrong := [name for name in kinds if name in heard]:
        raise ValueError(f"'{wrong[0]}' can't be asked of text alone")
    return kinds


class TasksSection(Section):
    """What a stage learns: the tasks it names, each with its share."""

    text: TextSection | None = Field(None, description="Sentences of data.corpora.")
    chat: ChatSection | None = Field(None, description="Chat without a recording.")
    conversations: ConversationsSection | None = Field(
        None, description="Conversations without audio, beside sources."
    )
    letters: LettersSection | None = Field(None, description="Letters by CTC alone.")
    transcription: TranscriptionSection | None = Field(
        None, description="Recordings, to be written down."
    )
    questions: QuestionsSection | None = Field(None, description="Nothing but questions.")
    pseudo: PseudoSection | None = Field(None, description="Sentences as pseudo-audio.")
    pseudo_questions: PseudoQuestionsSection | None = Field(
        None, description="Nothing but questions about these."
    )
    speech: SpeechTaskSection | None = Field(None, description="Texts, to be spoken.")
    listening: ListeningSection | None = Field(
        None, description="Codec tokens, to be written down."
    )

    @property
    def given(self) -> dict[str, TaskSection]:
        """The tasks that are named, in the order of this section; without those of share 0."""
        found: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: task for name, task in found.items() if task is not None and task.share}

    def share(self, *names: str) -> float:
        """Share of the batches that belong to the tasks called so, 0 to 1."""
        given = self.given
        whole = sum(task.share for task in given.values())
        return sum(given[name].share for name in names if name in given) / whole
