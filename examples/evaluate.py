"""How error rates mislead, and what Borealis does about it: `python examples/evaluate.py`."""

# Every section stands on the page beside its explanation and imports what it needs.
# ruff: noqa: E402

# --8<-- [start:normalize]
from borealis.evaluation.normalization import NORMALIZER_VERSION, normalize

print("version", NORMALIZER_VERSION)
for text in ("«Всё ещё идёт?» — спросил он.", "кто-то, где-то", "замо́к", "5 фунтов"):
    print(f"{text:<32}{normalize(text)}")
# --8<-- [end:normalize]

# --8<-- [start:traps]
from borealis.evaluation.metrics import error_rates

for said, written in (
    ("Ещё идёт снег.", "Еще идет снег"),
    ("Он что-то сказал.", "Он что то сказал."),
    ("Пришло пять писем.", "Пришло 5 писем."),
    ("Он что-то сказал.", "Он чтото сказал."),
    ("Как дела?", "Как у вас идут ваши дела?"),
):
    rates = error_rates([said], [written])
    print(f"WER {rates.word_error_rate:5.0%}  CER {rates.character_error_rate:4.0%}  {written}")
# --8<-- [end:traps]

# --8<-- [start:silence]
rates = error_rates(["", "Да, слышу."], ["Спасибо за просмотр", "Да, слышу."])
print("WER", rates.word_error_rate)
print("clips without speech", rates.wordless, "words invented there", rates.invented_words)
# --8<-- [end:silence]

# --8<-- [start:interval]
import numpy as np

from borealis.evaluation.metrics import bootstrap_interval

rng = np.random.default_rng(0)
for utterances in (20, 200, 2000):
    words = rng.integers(5, 20, utterances)
    errors = rng.binomial(words, 0.2)  # a model that gets every fifth word wrong
    low, high = bootstrap_interval(errors, words)
    print(f"{utterances:>5} utterances: {low:.1%} to {high:.1%}")
# --8<-- [end:interval]

# --8<-- [start:run]
import borealis
from borealis.evaluation.runner import evaluate_manifest

report = evaluate_manifest(borealis.load(), "examples/audio/manifest.jsonl")
rates = report.rates
low, high = rates.word_error_rate_95
print(f"WER {rates.word_error_rate:.1%} ({low:.1%} to {high:.1%}), {rates.words} words")
print(f"CER {rates.character_error_rate:.1%}")
# --8<-- [end:run]
