"""The model through transformers alone, as any other: `python examples/transformers_api.py`."""

# --8<-- [start:main]
import torch
from transformers import AutoModelForMultimodalLM, AutoProcessor

import borealis  # noqa: F401 - the Auto classes of transformers know Borealis by this
from borealis.audio import load_audio
from borealis.checkpoints import resolve_checkpoint

folder = resolve_checkpoint("nano")  # an ordinary checkpoint folder in your cache
network = AutoModelForMultimodalLM.from_pretrained(folder, dtype=torch.float32)
processor = AutoProcessor.from_pretrained(folder)

messages = [
    {"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": "Запиши речь."}]}
]
prompt = processor.apply_chat_template(messages, add_generation_prompt=True)
inputs = processor(text=prompt, audio=load_audio("examples/audio/speech.flac"))
output = network.generate(**inputs, max_new_tokens=200, do_sample=False)
fresh = output[:, inputs["input_ids"].shape[1] :]
print(processor.batch_decode(fresh, skip_special_tokens=True)[0])
# --8<-- [end:main]
