"""What was heard last, so that a recording is encoded once, whatever is asked of it."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from threading import Lock

import torch
from torch.nn.utils.rnn import pad_sequence

from borealis.model.modeling import BorealisModel, Heard

_KEPT = 16  # windows: eight minutes at most
# Windows at once on a processor: eight are slower, as they don't fit into its caches, and take a
# third of a gigabyte.
_ON_PROCESSOR = 2


class Hearing:
    """`model.hear`, which remembers the last windows by what is in them.

    A recording is written down before it is asked about, it is asked several questions, and each
    turn of a conversation brings it along again. Its windows are the same sound every time.

    Args:
        model: with its audio tower and adapter.
    """

    def __init__(self, model: BorealisModel) -> None:
        self.model = model
        self._known: OrderedDict[bytes, Heard] = OrderedDict()
        self._weights: tuple = ()
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[Hearing], tuple[BorealisModel]]:
        return Hearing, (self.model,)  # a copy has heard nothing yet

    @torch.inference_mode()
    def __call__(self, input_features: torch.Tensor, num_samples: torch.Tensor) -> Heard:
        """See `AudioEncoding.hear`.

        Args:
            input_features: log-mel `[windows, num_mel_bins, mel_frames]`.
            num_samples: samples of audio in each window `[windows]`.
        """
        self._forget_after_training()
        keys = [
            self._key(window, samples)
            for window, samples in zip(input_features, num_samples.tolist(), strict=True)
        ]
        with self._lock:
            known = {key: self._known[key] for key in keys if key in self._known}
        # The first of each; a batch may hold the same recording several times.
        fresh = [r for r, key in enumerate(keys) if key not in known and keys.index(key) == r]
        size = _ON_PROCESSOR if input_features.device.type == "cpu" else max(1, len(fresh))
        for at in range(0, len(fresh), size):
            rows = fresh[at : at + size]
            heard = self.model.hear(input_features[rows], num_samples[rows])
            known |= {keys[row]: window for row, window in zip(rows, _apart(heard), strict=True)}
            if len(rows) == len(keys):
                self._keep(known)
                return heard
        self._keep(known)
        return _together([known[key] for key in keys])

    def _forget_after_training(self) -> None:
        """Other weights hear other things: a step of training, a checkpoint, another device."""
        parts = (self.model.audio_tower, self.model.adapter)
        weights = tuple(
            (w.data_ptr(), 0 if w.is_inference() else w._version)
            for part in parts
            for w in part.parameters()
        )
        with self._lock:
            if weights != self._weights:
                self._known.clear()
                self._weights = weights

    def _key(self, window: torch.Tensor, samples: int) -> bytes:
        config = self.model.config
        window = window[:, : config.encoder_samples(samples) // config.hop_length].contiguous()
        data = window.to("cpu", torch.float32).numpy().tobytes()
        return blake2b(data, digest_size=16, key=str(samples).encode()).digest()

    def _keep(self, known: dict[bytes, Heard]) -> None:
        with self._lock:
            for key, window in known.items():
                self._known[key] = window
                self._known.move_to_end(key)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)


def _apart(heard: Heard) -> list[Heard]:
    """Each window alone, without padding and without holding on to the batch."""
    windows = []
    sizes = zip(heard.token_mask.sum(1).tolist(), heard.mask.sum(1).tolist(), strict=True)
    for row, (tokens, frames) in enumerate(sizes):
        windows.append(
            Heard(
                heard.tokens[row : row + 1, :tokens].clone(),
                heard.token_mask[row : row + 1, :tokens].clone(),
                None if heard.logits is None else heard.logits[row : row + 1, :frames].clone(),
                heard.mask[row : row + 1, :frames].clone(),
            )
        )
    return windows


def _together(windows: list[Heard]) -> Heard:
    def padded(parts: list[torch.Tensor]) -> torch.Tensor:
        return pad_sequence([part[0] for part in parts], batch_first=True)

    logits = [window.logits for window in windows if window.logits is not None]
    return Heard(
        padded([window.tokens for window in windows]),
        padded([window.token_mask for window in windows]),
        padded(logits) if logits else None,
        padded([window.mask for window in windows]),
    )
