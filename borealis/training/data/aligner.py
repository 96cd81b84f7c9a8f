"""A Borealis model that tells where in a recording each letter is heard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from borealis.checkpoints import resolve_checkpoint
from borealis.ctc.alphabet import Alphabet
from borealis.errors import RecipeError
from borealis.model import BorealisForConditionalGeneration, BorealisProcessor
from borealis.training.weights.precision import use_bfloat16


class Aligner:
    """Hears letters.

    Args:
        name: bundled model, folder or hub id; its adapter must be of the kind `ctc`.
        key: of the recipe, that names it.

    Raises:
        RecipeError: it hears no letters.
    """

    def __init__(self, name: str, key: str = "data.aligner") -> None:
        folder = resolve_checkpoint(name)
        self.model = BorealisForConditionalGeneration.from_pretrained(folder).eval()
        self.processor = BorealisProcessor.from_pretrained(folder)
        config = self.model.config
        if config.ctc_labels is None:
            raise RecipeError(
                f"{key} is '{name}', which hears no letters: its adapter is of the kind "
                f"{config.adapter_type}, not ctc."
            )
        self.alphabet = Alphabet(config.ctc_labels)
        self.longest = config.window_length  # samples
        self.step = config.frame_length / config.sampling_rate  # seconds between rows
        search = getattr(config, "search", None) or {}
        self.delay = float(search.get("letter_delay", 0.0))
        self.bfloat16 = use_bfloat16("auto", use_cpu=True)

    @torch.inference_mode()
    def __call__(self, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What CTC hears: natural log `[T, num_classes]` of each clip.

        Args:
            clips: float32 at 16 kHz `[num_samples]` each, none longer than `longest`.
        """
        features = self.processor.extract_features(list(clips))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            heard = self.model.model.hear(features["input_features"], features["num_samples"])
        return [row.numpy() for row in heard.log_probs()]
