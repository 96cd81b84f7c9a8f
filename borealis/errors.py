"""Errors that a user can cause; each says what was wrong and what to do."""


class BorealisError(Exception):
    """Base of every error that Borealis raises on purpose."""


class AudioError(BorealisError):
    """The audio can't be used."""


class AudioNotFoundError(AudioError):
    """There is no such file."""


class AudioFormatError(AudioError):
    """Not audio, a broken file, or a format no decoder reads."""


class AudioEmptyError(AudioError):
    """The audio holds no samples."""


class AudioTooLongError(AudioError):
    """The audio lasts longer than the limit."""


class AudioTooLargeError(AudioError):
    """The file has more bytes than the limit."""


class AudioTimeoutError(AudioError):
    """The file takes longer to decode than the limit."""


class AudioValueError(AudioError):
    """An array of the wrong shape or type, or with values that aren't finite."""


class PromptError(BorealisError):
    """Text and audio of a prompt don't fit together."""


class CheckpointError(BorealisError):
    """A checkpoint is missing, broken, or of another architecture."""


class CodecError(BorealisError):
    """A codec that can't be had, or codes, tokens or a file of codes that aren't right."""


class RecipeError(BorealisError):
    """A recipe, or the data it names, is wrong."""


class ManifestError(BorealisError):
    """A manifest is missing or a line of it is wrong."""


class TrainingError(BorealisError):
    """Training can't go on: a loss that isn't finite, a disk that is full."""


class SpeechError(BorealisError):
    """A text can't be said: nothing in it is speech, or it has letters no rule can say."""


class SpeechEmptyError(SpeechError):
    """Nothing of the text is said: it is empty, or has neither a letter nor a digit."""


class SpeechMarkupError(SpeechError):
    """The text has tags, such as SSML."""


class SpeechAlphabetError(SpeechError):
    """The text has letters that no rule can say."""


class OutputError(BorealisError):
    """A file can't be written, or would be written over an input."""
