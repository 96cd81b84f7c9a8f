"""Written text made speakable: "5 кг" becomes "пять килограмм", for training and for speech.

`speakable` is the way in. A text goes through four steps, each a file: `characters` refuses what
can't be said and leaves out what isn't said; `russian` or `english` writes out numbers,
abbreviations and names; `origins` finds for what a library wrote where it came from; `speakable`
spells the rest in the letters of nano's CTC alphabet and ё. Russian numerals are declined by
ru-normalizr, which was measured to be the best library for it (`results/spoken-text.json`); the
rules here and the lists of `russian.yaml` hold what it lacks.
"""

from borealis.data.spoken.speakable import MAX_CHARACTERS, Speakable, SpokenWord, speakable

__all__ = ["MAX_CHARACTERS", "Speakable", "SpokenWord", "speakable"]
