"""Joint decoding inside vLLM: what CTC heard, and the logits processor that listens to it.

A transcription request carries a number of its own, `clip_key`, twice: with the audio, so that the
model leaves its CTC log probabilities under that number, and in `SamplingParams.extra_args`, so
that this logits processor finds them. Both live in the same worker process.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.rnn import pad_sequence
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from borealis.ctc.ngram import Ngram
from borealis.inference.joint import JointScores, PrefixScores, token_labels

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.config import VllmConfig

# 30 s of audio are 1,500 frames of some 70 classes: 0.4 MB. Clips stay until newer ones push them
# out, because a request that vLLM takes out of the batch may come back without a new encoding.
_BYTES_KEPT = 128 * 2**20


class HeardClips:
    """CTC log probabilities `[T, num_classes]` by clip key; the oldest make room for new ones."""

    def __init__(self, limit: int = _BYTES_KEPT) -> None:
        self.limit, self._held = limit, 0
        self._clips: OrderedDict[int, torch.Tensor] = OrderedDict()

    def put(self, key: int, log_probs: torch.Tensor) -> None:
        old = self._clips.pop(key, None)
        self._clips[key] = log_probs
        self._held += log_probs.nbytes - (0 if old is None else old.nbytes)
        while self._held > self.limit and len(self._clips) > 1:
            self._held -= self._clips.popitem(last=False)[1].nbytes

    def get(self, key: int) -> torch.Tensor | None:
        return self._clips.get(key)


# The model and the logits processor are built by vLLM, apart from each other, in one process.
HEARD = HeardClips()


class _Request:
    """One request of the batch: its clip, its weights and the tokens it has so far."""

    def __init__(self, key: int, weight: float, ngram_weight: float, tokens: list[int]) -> None:
        self.key, self.weight, self.ngram_weight, self.tokens = key, weight, ngram_weight, tokens
        self.scored = 0  # tokens that its row of the prefix scores holds
        self.place: int | None = None  # that row


class CTCLogitsProcessor(LogitsProcessor):
    """Adds CTC prefix scores to next-token scores, as `borealis.inference.joint` does.

    All requests of the batch are scored at once. Those without `clip_key` in `extra_args` are left
    alone.
    """

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        extra = sampling_params.extra_args or {}
        for name in ("ctc_weight", "ngram_weight"):
            weight = extra.get(name, 0.0)
            if not isinstance(weight, (int, float)) or not 0 <= weight <= 1:
                raise ValueError(f"{name} is {weight!r}; it must be between 0 and 1.")

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        from vllm.tokenizers import cached_tokenizer_from_config

        config = vllm_config.model_config.hf_config
        tokenizer = cached_tokenizer_from_config(vllm_config.model_config)
        labels = token_labels(tokenizer, config.ctc_labels, config.text_config.vocab_size)
        self.joint = JointScores(labels.to(device), tokenizer.eos_token_id)
        self.ngram = Ngram.of_checkpoint(vllm_config.model_config.model)
        if self.ngram is None and getattr(config, "ngram_decoding_weight", None):
            logging.getLogger(__name__).warning(
                "The checkpoint's settings name a letter n-gram, but it has none: transcripts are "
                "written without, and will have more misspelled words."
            )
        self.device = device
        self.requests: dict[int, _Request] = {}
        self.spelled: PrefixScores | None = None  # a row for each of `self.scored`
        self.scored: list[_Request] = []
        # Their rows in the batch; none when the batch has changed since.
        self.rows: torch.Tensor | None = None
        self.weights = self.ngram_weights = torch.empty(0)
        self.waiting = False

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        if process_dict_updates(self.requests, batch_update, _new_request):
            self.rows = None

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Change the rows of transcription requests of `logits` `[requests, vocab_size]`."""
        if self.rows is None or self.waiting:
            self._arrange()
        if self.spelled is None:
            return logits
        # One token a step; a request that vLLM had taken out of the batch comes back with many.
        while any(request.scored < len(request.tokens) for request in self.scored):
            behind = [request.scored < len(request.tokens) for request in self.scored]
            tokens = [
                request.tokens[request.scored] if late else self.joint.eos_token_id
                for request, late in zip(self.scored, behind, strict=True)
            ]
            last = torch.tensor(tokens, device=self.device)
            heard = self.joint.heard(last, self.spelled.last)
            self.spelled.extend(heard, self.joint.is_mark(last))
            for request, late in zip(self.scored, behind, strict=True):
                request.scored += late
        vocabulary = len(self.joint.labels)
        scores = logits[self.rows, :vocabulary]
        logits[self.rows, :vocabulary] = self.joint.mix(
            scores, self.spelled, self.weights, self.ngram_weights
        )
        return logits

    def _arrange(self) -> None:
        """Make the rows of the prefix scores those of the requests that there are now."""
        stayed, came, clips = [], [], []
        self.waiting = False
        for row, request in list(self.requests.items()):
            if request.place is not None:
                stayed.append((row, request))
            elif (heard := HEARD.get(request.key)) is not None:
                came.append((row, request))
                clips.append(heard)
            elif request.tokens:
                logging.getLogger(__name__).warning(
                    "No CTC scores are left for a clip; its request is decoded without them."
                )
                del self.requests[row]
            else:  # a prompt that vLLM reads in parts: its audio comes with a later one
                self.waiting = True
        if stayed and self.spelled is not None:
            kept = [request.place for _, request in stayed]
            self.spelled.select(torch.tensor(kept, device=self.device))
            self.spelled.own_clips()
        else:
            self.spelled = None
        if clips:
            lengths = torch.tensor([len(clip) for clip in clips], device=self.device)
            fresh = PrefixScores(pad_sequence(clips, batch_first=True), lengths, self.ngram)
            if self.spelled is None:
                self.spelled = fresh
            else:
                self.spelled.join(fresh)
        self.scored = [request for _, request in [*stayed, *came]]
        for place, request in enumerate(self.scored):
            request.place = place
        self.rows = torch.tensor([row for row, _ in [*stayed, *came]], device=self.device)
        weights = [(request.weight, request.ngram_weight) for request in self.scored]
        both = torch.tensor(weights, device=self.device).view(-1, 2)
        self.weights, self.ngram_weights = both[:, :1], both[:, 1:]


def _new_request(
    params: SamplingParams, prompt: list[int] | None, output: list[int]
) -> _Request | None:
    extra: dict[str, Any] = params.extra_args or {}
    key, weight = extra.get("clip_key", 0), extra.get("ctc_weight", 0.0)
    ngram_weight = extra.get("ngram_weight", 0.0)
    if not (key and weight):
        return None
    return _Request(int(key), float(weight), float(ngram_weight), output)
