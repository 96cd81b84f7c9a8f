"""How a transcript is found, step by step: `python examples/decoding.py`."""

# Every section stands on the page beside its explanation and imports what it needs.
# ruff: noqa: E402

# --8<-- [start:search]
import borealis
from borealis.ctc.alphabet import Alphabet
from borealis.ctc.ngram import Ngram
from borealis.ctc.search import PrefixBeamSearch
from borealis.inference.words import ctc_log_probs

model = borealis.load()
alphabet = Alphabet(model.model.config.ctc_labels)
log_probs = ctc_log_probs(model, borealis.load_audio("examples/audio/post.flac"))

likeliest = log_probs.argmax(1).tolist()  # [frames], 0 is the blank
changes = [now for before, now in zip([0, *likeliest], likeliest, strict=False) if now != before]
print("likeliest:", alphabet.text(changes).strip())

search = PrefixBeamSearch(alphabet, ngram=Ngram.of_checkpoint(model.model.name_or_path))
for found in search.decode([log_probs], language="ru")[0][:3]:
    print(f"{found.score:5.1f} {found.heard:6.1f}  {found.text}")
# --8<-- [end:search]

# --8<-- [start:language]
for language in (None, "ru", "en"):
    print(language, "|", model.transcribe("examples/audio/sleep.flac", language=language).text)
# --8<-- [end:language]

# --8<-- [start:settings]
from borealis.inference import CTCDecoding

for beams in (1, 8, 64):
    settings = CTCDecoding(num_beams=beams)
    print(f"{beams:>2}", model.transcribe("examples/audio/post.flac", decoding=settings).text)
# --8<-- [end:settings]
