"""Keys and values for beam search: the prompt is read once for all beams of a clip.

Transformers repeats a prompt for every beam before it reads it, copies all keys and values when
beams change places, and again when a token is added. A recording is a long prompt, and its beams
share it: here it is read once, and only what the beams themselves have said is moved.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from borealis.inference.attention import GROUPED, share_prompt

_ROOM = 96  # tokens that room is made for at once


class BeamLayer(DynamicLayer):
    """Keys and values of one layer: of the prompt `[clips, heads, length, head_dim]`, and of what
    each beam has said since `[rows, heads, length, head_dim]`, in buffers with room.

    Args:
        keys: of the prompt, a row a clip.
        values: the same.
        beams: rows of each clip.
        shared: attention reads the prompt once for all beams (`borealis.inference.attention`);
            otherwise each row is given a copy.
    """

    def __init__(
        self, keys: torch.Tensor, values: torch.Tensor, beams: int, *, shared: bool = False
    ) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self.prompt, self.beams, self.shared = (keys, values), beams, shared
        self.length = 0  # of what was said
        nothing = [part[:, :, :0].repeat_interleave(beams, 0) for part in self.prompt]
        self._buffers = [_with_room(part) for part in nothing]
        # What is put in another order is written here, and the two change places.
        self._spare = [torch.empty_like(part) for part in self._buffers]
        self._show()

    def _show(self) -> tuple[torch.Tensor, torch.Tensor]:
        said = [part[:, :, : self.length] for part in self._buffers]
        if self.shared:
            share_prompt(said[0], *self.prompt)
        else:
            whole = zip(self.prompt, said, strict=True)
            said = [torch.cat([p.repeat_interleave(self.beams, 0), s], 2) for p, s in whole]
        self.keys, self.values = said
        return said[0], said[1]

    def get_seq_length(self) -> int:
        """Places of the prompt and of what was said."""
        return self.prompt[0].shape[2] + self.length

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add new places; returns all keys and values, or with `shared` those after the prompt."""
        end = self.length + key_states.shape[2]
        if end > self._buffers[0].shape[2]:
            self._buffers = [_with_room(part[:, :, : self.length]) for part in self._buffers]
            self._spare = [torch.empty_like(part) for part in self._buffers]
        for part, new in zip(self._buffers, (key_states, value_states), strict=True):
            part[:, :, self.length : end] = new
        self.length = end
        return self._show()

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Let each row go on from the row `beam_idx` names, which listens to the same clip."""
        for part, spare in zip(self._buffers, self._spare, strict=True):
            said = part[:, :, : self.length]
            spare[:, :, : self.length] = said.index_select(0, beam_idx.to(part.device))
        self._buffers, self._spare = self._spare, self._buffers


def _with_room(part: torch.Tensor) -> torch.Tensor:
    rows, heads, length, head_dim = part.shape
    buffer = part.new_empty(rows, heads, length + _ROOM, head_dim)
    buffer[:, :, :length] = part
    return buffer


def read_prompt(
    model: Any, inputs_embeds: torch.Tensor, attention_mask: torch.Tensor, beams: int
) -> DynamicCache:
    """Read all of a prompt but its last place, which `generate` reads, and keep it for the beams.

    Args:
        model: a causal language model that takes embeddings.
        inputs_embeds: `[clips, length, hidden_size]`, padded on the left.
        attention_mask: `[clips, length]`.
        beams: rows of each clip in what follows.
    """
    read = DynamicCache(config=model.config.get_text_config())
    positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)
    model(
        inputs_embeds=inputs_embeds[:, :-1],
        attention_mask=attention_mask[:, :-1],
        position_ids=positions[:, :-1],
        past_key_values=read,
        use_cache=True,
        logits_to_keep=1,
    )
    cache = DynamicCache()
    layers: list[Any] = read.layers
    shared = model.config.get_text_config()._attn_implementation == GROUPED
    cache.layers = [BeamLayer(layer.keys, layer.values, beams, shared=shared) for layer in layers]
    return cache
