"""How much memory the conversations of a server take: `python examples/serving.py`."""

# --8<-- [start:arithmetic]
from borealis.checkpoints import resolve_checkpoint
from borealis.model import BorealisConfig

config = BorealisConfig.from_pretrained(resolve_checkpoint("nano"))
text = config.text_config
# A key and a value of every layer, four bytes each in float32.
per_token = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * 4
audio = config.num_audio_tokens(15 * 16_000)
answer = 16 + 15 * 25  # the longest transcript of 15 s that the server allows
request = audio + answer
print(f"{per_token} bytes a token")
print(f"{audio} audio tokens in 15 s, {request} tokens a request at most")
print(f"{2**30 // (per_token * request)} such requests fit into 1 GiB")
# --8<-- [end:arithmetic]
