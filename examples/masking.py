"""What a training example looks like: ids, and labels that cover answers only.

Run it with `python examples/masking.py`.
"""

# --8<-- [start:encode]
from itertools import groupby

from transformers import AutoTokenizer

from borealis.checkpoints import resolve_checkpoint
from borealis.training.data.talks import IGNORE, encode_messages

tokenizer = AutoTokenizer.from_pretrained(resolve_checkpoint("nano"))
messages = [
    {"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": "Кто это?"}]},
    {"role": "assistant", "content": "Мужчина."},
    {"role": "user", "content": "Точно?"},
    {"role": "assistant", "content": "Да."},
]
audio = tokenizer.convert_tokens_to_ids("<|audio|>")
ids, labels = encode_messages(tokenizer, messages, [3], audio)

pairs = zip(ids, labels, strict=True)
for learned, run in groupby(pairs, key=lambda pair: pair[1] != IGNORE):
    text = tokenizer.decode([token for token, _ in run])
    print("learned" if learned else "-100   ", repr(text))
# --8<-- [end:encode]

# --8<-- [start:tail]
for token, label in list(zip(ids, labels, strict=True))[-8:]:
    print(f"{tokenizer.decode([token])!r:16}{token:5}{label:6}")
# --8<-- [end:tail]
