"""The rule of a stream of speech inside vLLM: of all tokens only those that may come are left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

from borealis.speech.choosing import shaped
from borealis.speech.rule import StreamRule
from borealis.speech.vocabulary import SpeechVocabulary

if TYPE_CHECKING:
    from vllm.config import VllmConfig

ARGUMENT = "borealis_speech"  # of `SamplingParams.extra_args`


def speech_params(
    rule: StreamRule, *, temperature: float, top_k: int, seed: int, max_tokens: int
) -> SamplingParams:
    """How vLLM writes a stream of speech.

    Args:
        rule: a fresh one.
        temperature: 0 takes the most probable token.
        top_k: how many of the most probable ones are drawn from.
        seed: of the draws.
        max_tokens: that the engine has room for behind the prompt.
    """
    said = {"symbols": rule.symbols, "frame_rate": rule.frame_rate, "top_k": top_k}
    return SamplingParams(
        temperature=temperature,
        top_k=0,  # of codes alone: see `borealis.speech.choosing`
        seed=seed,
        max_tokens=min(rule.longest, max_tokens),
        stop_token_ids=[rule.vocabulary.codec.end_id],
        detokenize=False,
        extra_args={ARGUMENT: said},
        output_kind=RequestOutputKind.DELTA,
    )


class SpeechLogits(AdapterLogitsProcessor):
    """Leaves a request of `speech_params` the tokens of its rule; others are as they were.

    The logit of `<|next_symbol|>` goes to the symbol that is due, so what is sampled is what is
    written. See `borealis.speech.rule`.
    """

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        super().__init__(vllm_config, device, is_pin_memory)
        speech = getattr(vllm_config.model_config.hf_config, "speech", None) or {}
        self.vocabulary = SpeechVocabulary.of_settings(speech) if speech.get("voices") else None

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        said = (sampling_params.extra_args or {}).get(ARGUMENT)
        if said is None:
            return
        known = isinstance(said, dict) and set(said) == {"symbols", "frame_rate", "top_k"}
        if not known or not isinstance(said["symbols"], str) or not said["symbols"]:
            raise ValueError(
                f"'{ARGUMENT}' wants symbols, frame_rate and top_k; see speech_params."
            )
        if not isinstance(said["frame_rate"], (int, float)) or not 0 < said["frame_rate"] < 1e6:
            raise ValueError(f"The frame_rate of '{ARGUMENT}' isn't a rate.")
        if not isinstance(said["top_k"], int) or said["top_k"] < 1:
            raise ValueError(f"The top_k of '{ARGUMENT}' isn't a number of codes.")

    def is_argmax_invariant(self) -> bool:
        return False

    def new_req_logits_processor(self, params: SamplingParams) -> _Follower | None:
        said = (params.extra_args or {}).get(ARGUMENT)
        if said is None or self.vocabulary is None:
            return None
        rule = StreamRule(self.vocabulary, said["symbols"], said["frame_rate"])
        return _Follower(rule, params.temperature, said["top_k"])


class _Follower:
    """The rule of one request."""

    def __init__(self, rule: StreamRule, temperature: float, top_k: int) -> None:
        self.rule, self.temperature, self.top_k = rule, temperature, top_k
        self._followed = 0  # tokens that were written

    def __call__(self, written: list[int], logits: torch.Tensor) -> torch.Tensor:
        """Logits `[vocab_size]` of the next token, minus infinity where none may come."""
        for token in written[self._followed :]:
            self.rule.push(token)
        self._followed = len(written)
        if self.rule.done:  # what comes after the end is thrown away
            return logits
        choice = self.rule.choice()
        left: Any = torch.full_like(logits, -torch.inf)
        codes = slice(choice.codes.start, choice.codes.stop)
        over = None if choice.due is None else logits[self.rule.vocabulary.next_id].float()
        left[codes], over = shaped(logits[codes].float(), over, self.temperature, self.top_k)
        if over is not None:
            left[choice.due] = over
        return left
