"""What a training run costs: operations, memory, hours and money, from the parts' shapes.

What is counted: matrix products and attention. A part costs its forward pass; one that passes a
gradient through costs as much again, and one that learns once more (2, 4 and 6 operations for each
weight and position). Attention has no weights: its backward pass costs two forward ones. Norms,
activations, the optimizer and loading of data are left out, and pay for it in the utilization.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from borealis.training.planner.bill import STORAGE_PRICE, Bill, hearing, make_bill
from borealis.training.planner.gpus import GPUS
from borealis.training.planner.operations import TRAIN, operations
from borealis.training.planner.shapes import (
    NANO,
    PADDINGS,
    Part,
    PlanError,
    known,
    model_config,
    parts,
)

if TYPE_CHECKING:
    from borealis.model import BorealisConfig

# Assumption: speech has about this many letters a second (10 to 16 in our own manifests), and a
# token of Qwen3 holds about three Russian letters; a token of nano is one letter.
LETTERS_PER_SECOND = 12
LETTERS_PER_TOKEN = {NANO: 1}
DEFAULT_LETTERS_PER_TOKEN = 3
BYTES = {"fp32": 4, "bf16": 2, "int8": 1}
# Bytes for each number that learns: float32 weight 4, gradient 4, two moments of AdamW 8, and the
# bfloat16 copy that the computation uses 2. A frozen weight is held in bfloat16.
LEARNED_BYTES, FROZEN_BYTES = 18, 2
# Bytes for each logit: bfloat16 2, float32 copy 4, log-softmax or gradient 4.
LOGIT_BYTES = 10
KEPT_BYTES = 2
# Bytes for a frozen weight of a linear layer of the language model, by the format it is held in.
# nf4: 4 bits, a scale of 8 bits for 64 weights, and one of 32 for 256 of those.
FROZEN = {"bfloat16": 2.0, "nf4": (4 + 8 / 64 + 32 / (64 * 256)) / 8}
SHARDINGS = ("none", "fsdp")
# A layer that computes and the one that is fetched meanwhile.
GATHERED_LAYERS = 2
FEATURE_BYTES = 2  # float16
_LARGEST = 1e12
MAY_BE_ZERO = (
    *("price", "prompt_tokens", "text_tokens_per_second", "encoder_lora_rank"),
    *("validations", "validation_clips", "test_hours", "bitrate", "checkpoints_kept"),
    *("storage_price", "storage_months", "failed"),
)
LORA_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj")
ENCODER_LORA_MODULES = ("q_proj", "k_proj", "v_proj", "out_proj")


@dataclass(frozen=True)
class Options:
    """What to plan for. Everything has a default; what is assumed is said so.

    Args:
        encoder: Whisper's size, or a folder.
        language_model: name or folder.
        adapter: `mlp`, `deep` or `ctc`.
        train: what learns: `adapter`, `lora` (and the adapter), `full` (and the adapter), `ctc`
            (a `ctc` adapter alone, without the language model).
        lora_rank: rank of LoRA on q, k, v and o.
        encoder_lora_rank: rank of LoRA on the encoder's; 0: the encoder is frozen. It goes with
            `feature_cache` false only.
        hours_of_audio: size of the data.
        epochs: how many times the data are seen.
        clip_seconds: mean length of a clip; all are reckoned as of this length.
        padding: `none` (the encoder reads the clip and a second), `encoder` (it reads 30 s, the
            language model gets the clip), `all` (375 audio tokens for every window, as in the
            published models).
        feature_cache: run the frozen encoder once over the data instead of every epoch.
        text_tokens_per_second: tokens of the transcript; None: assumed from letters a second.
        prompt_tokens: tokens of question and chat format in each example.
        batch_tokens: tokens on one GPU at once, for the memory.
        gradient_checkpointing: compute layers again in the backward pass.
        packing: examples stand in one row of `batch_tokens`, and attention computes all pairs of
            the row, masked ones too (FlashAttention doesn't; it isn't reckoned with). What packing
            saves is padding, which isn't counted here: it depends on how lengths vary.
        frozen_precision: format of the language model's frozen layers, `bfloat16` or `nf4`.
        sharding: `none`, every GPU holds the whole model, or `fsdp`, each holds a part.
        gpu: a name of the table.
        gpus: how many; they are taken to scale without loss.
        utilization: share of the peak that training reaches (MFU). An assumption.
        price: dollars for a GPU hour; None: that of the table.
        validations: how often the word error rate is measured during training.
        validation_clips: recordings heard each time.
        test_hours: recordings heard when all is done. An assumption.
        decoding_utilization: share of the peak that is reached where the model writes token by
            token, eight recordings or so at once: every token reads all weights. An assumption.
        bitrate: of the recordings on disk, kbit/s; by default 16 bits at 16 kHz, uncompressed.
        checkpoints_kept: of each stage: the newest and the best.
        storage_price: dollars for 10⁹ bytes and a month.
        storage_months: how long data, features, checkpoints and models are kept. An assumption.
        failed: training that is lost or has to be repeated, as a share of training. An assumption.
    """

    encoder: str = "large-v3"
    language_model: str = "qwen3-4b"
    adapter: str = "mlp"
    train: str = "lora"
    lora_rank: int = 16
    hours_of_audio: float = 1000.0
    epochs: float = 5.0
    clip_seconds: float = 10.0
    padding: str = "none"
    feature_cache: bool = True
    text_tokens_per_second: float | None = None
    prompt_tokens: float = 24.0
    batch_tokens: int = 4096
    gradient_checkpointing: bool = False
    encoder_lora_rank: int = 0
    packing: bool = False
    frozen_precision: str = "bfloat16"
    sharding: str = "none"
    gpu: str = "h100"
    gpus: int = 1
    utilization: float = 0.3
    price: float | None = None
    validations: int = 20
    validation_clips: int = 64
    test_hours: float = 20.0
    decoding_utilization: float = 0.005
    bitrate: float = 256.0
    checkpoints_kept: int = 3
    storage_price: float = STORAGE_PRICE
    storage_months: float = 1.0
    failed: float = 0.15

    def check(self) -> None:
        """Raise PlanError for a value that makes no sense; names are checked where used."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool | str) or value is None:
                continue
            if not math.isfinite(value):
                raise PlanError(f"{field.name} is {value}; it must be a number.")
            free = field.name in MAY_BE_ZERO
            if value < 0 or (value == 0 and not free):
                raise PlanError(f"{field.name} is {value:g}; it must be above 0.")
            if value > _LARGEST:
                raise PlanError(f"{field.name} is {value:g}; that is too much to plan for.")
        for name in ("utilization", "decoding_utilization"):
            if (share := getattr(self, name)) > 1:
                raise PlanError(
                    f"{name} is {share:g}; it is a share of the peak, at most 1 (0.3 for 30 %)."
                )
        known(self.train, TRAIN, "train")
        known(self.gpu, GPUS, "gpu")
        known(self.padding, PADDINGS, "padding")
        known(self.frozen_precision, FROZEN, "frozen_precision")
        known(self.sharding, SHARDINGS, "sharding")
        if self.frozen_precision == "nf4" and (self.train == "full" or self.sharding == "fsdp"):
            raise PlanError("frozen_precision nf4 goes with a frozen model that isn't sharded.")

    @property
    def hour_price(self) -> float:
        """Dollars for a GPU hour: the given price, or that of the table."""
        return GPUS[self.gpu].price if self.price is None else self.price

    @property
    def text_rate(self) -> float:
        """Tokens of the transcript for a second of speech."""
        if self.text_tokens_per_second is not None:
            return self.text_tokens_per_second
        letters = LETTERS_PER_TOKEN.get(self.language_model, DEFAULT_LETTERS_PER_TOKEN)
        return LETTERS_PER_SECOND / letters


@dataclass(frozen=True)
class Stage:
    """A stage of training as work.

    Args:
        name: of the stage.
        train: see `Options.train`.
        audio_hours: audio learned from, repeats counted.
        encoded_hours: audio given to the encoder.
        text_tokens: tokens learned from without audio.
        lora_rank: see `Options.lora_rank`.
        lora_modules: linear layers of the language model that get an update.
        encoder_lora_rank: see `Options.encoder_lora_rank`.
        encoder_lora_modules: linear layers of the encoder that get an update.
        rows: numbers in the rows of a codec's tokens that learn apart from the embeddings.
        embeddings: numbers in embeddings that learn as a whole in a frozen language model.
        batch_tokens: tokens on one GPU at once; None: those of the options.
        gradient_checkpointing: None: as the options say.
        packing: the same.
        frozen_precision: the same.
        sharding: the same.
        validations: the same.
        validation_clips: the same.
        checkpoints_kept: the same.
    """

    name: str
    train: str
    audio_hours: float
    encoded_hours: float
    text_tokens: float = 0.0
    lora_rank: int = 16
    lora_modules: tuple[str, ...] = LORA_MODULES
    encoder_lora_rank: int = 0
    encoder_lora_modules: tuple[str, ...] = ENCODER_LORA_MODULES
    rows: int = 0
    embeddings: int = 0
    batch_tokens: int | None = None
    gradient_checkpointing: bool | None = None
    packing: bool | None = None
    frozen_precision: str | None = None
    sharding: str | None = None
    validations: int | None = None
    validation_clips: int | None = None
    checkpoints_kept: int | None = None

    def own(self, options: Options) -> Options:
        """The options with what the stage says itself."""
        names = ("batch_tokens", "gradient_checkpointing", "packing", "frozen_precision")
        more = ("sharding", "validations", "validation_clips", "checkpoints_kept")
        said = {name: getattr(self, name) for name in (*names, *more)}
        return replace(options, **{k: v for k, v in said.items() if v is not None})


@dataclass(frozen=True)
class StageCost:
    """What a stage costs: operations by part, bytes by kind, hours of one GPU, dollars."""

    name: str
    train: str
    learned_parameters: int
    audio_hours: float
    encoded_hours: float
    text_tokens: float
    flops: dict[str, float]
    flops_per_audio_second: float
    flops_per_text_token: float
    memory: dict[str, float]
    gpu_hours: float
    dollars: float


@dataclass(frozen=True)
class Plan:
    """A model's sizes and what training it costs.

    Args:
        parameters: numbers of `encoder`, `adapter`, `language_model` and their `total`.
        tokens: `audio_per_30_seconds`, `audio_per_clip`, `text_per_clip`.
        weights: bytes of all weights in `fp32`, `bf16`, `int8`.
        kv_cache: bytes of keys and values of 30 s of audio in bfloat16.
        feature_cache: bytes on disk of the encoder's frames of all the data; 0 without a cache.
        stages: costs, in order.
        gpu_hours: of all stages.
        hours: by the clock, on all GPUs.
        dollars: of all stages: training alone.
        bill: dollars of training and of all that goes with it.
        fits: whether the memory of the largest stage is below that of the GPU.
    """

    parameters: dict[str, int]
    tokens: dict[str, float]
    weights: dict[str, int]
    kv_cache: int
    feature_cache: float
    stages: tuple[StageCost, ...]
    gpu_hours: float
    hours: float
    dollars: float
    bill: Bill
    fits: bool

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON holds it."""
        return asdict(self) | {"stages": [asdict(stage) for stage in self.stages]}


def plan(options: Options | None = None) -> Plan:
    """Plan one stage with a model put together from named parts.

    Raises:
        PlanError: an option is unknown or out of range.
    """
    options = options or Options()
    options.check()
    config = model_config(options.encoder, options.language_model, options.adapter, options.padding)
    if options.encoder_lora_rank and options.feature_cache:
        raise PlanError("An encoder that learns can't have a feature cache: give one of the two.")
    heard = options.hours_of_audio * options.epochs
    once = min(options.hours_of_audio, heard)
    stage = Stage(
        "train",
        options.train,
        audio_hours=heard,
        encoded_hours=once if options.feature_cache else heard,
        lora_rank=options.lora_rank,
        encoder_lora_rank=options.encoder_lora_rank,
    )
    return plan_stages(config, [stage], options)


def plan_stages(config: BorealisConfig, stages: Sequence[Stage], options: Options) -> Plan:
    """Plan a run of `stages` with the model of `config`.

    Args:
        config: the model; it counts the audio tokens.
        stages: what is learned from what.
        options: checked ones; what the model and the stages say isn't read from them.

    Raises:
        PlanError: LoRA wants a layer that the model doesn't have, CTC an adapter that can't, or
            the clip is too short or too long.
    """
    sizes = parts(config)
    rate = config.sampling_rate
    samples = round(min(options.clip_seconds, config.max_audio_seconds + 1) * rate)
    if not 1 <= samples <= config.max_audio_seconds * rate:
        raise PlanError(
            f"clip_seconds is {options.clip_seconds:g}; a clip has one sample or more and lasts "
            f"at most {config.max_audio_seconds:g} s."
        )
    for stage in stages:
        if stage.train == "ctc" and config.adapter_type != "ctc":
            raise PlanError(f"train is 'ctc'; the adapter '{config.adapter_type}' has no CTC.")
    audio = config.num_audio_tokens(samples)
    text = options.text_rate * options.clip_seconds + options.prompt_tokens
    windows = [end - start for start, end in config.window_spans(samples)]
    read = [config.encoder_samples(n) // config.frame_length for n in windows]
    adapter = [config.num_tokens_from_frames(config.num_encoder_frames(n)) for n in windows]
    costs = [
        _stage_cost(stage, sizes, stage.own(options), read, adapter, audio, text)
        for stage in stages
    ]
    total = sum(part.parameters for part in sizes.values())
    # A clip has frames for all its tokens; the array on disk holds them in float16.
    frames = sum(config.num_encoder_frames(n) for n in windows) / options.clip_seconds
    cached = options.hours_of_audio if options.feature_cache else 0.0
    half_minute = config.num_audio_tokens(30 * rate)
    stored = cached * 3600 * frames * config.audio_config.d_model * FEATURE_BYTES
    dollars = sum(cost.dollars for cost in costs)
    heard = hearing(
        sizes,
        read,
        adapter,
        prompt=audio + options.prompt_tokens,
        text=text - options.prompt_tokens,
        letters=config.adapter_type == "ctc",
    )
    bill = make_bill(
        options,
        stages,
        training=dollars,
        heard=heard,
        learned=[cost.learned_parameters for cost in costs],
        parameters=total,
        features=stored,
    )
    gpu_hours = sum(cost.gpu_hours for cost in costs)
    needed = max((cost.memory["total"] for cost in costs), default=0.0)
    return Plan(
        parameters={name: part.parameters for name, part in sizes.items()} | {"total": total},
        tokens={
            "audio_per_30_seconds": half_minute,
            "audio_per_clip": audio,
            "text_per_clip": text,
        },
        weights={name: size * total for name, size in BYTES.items()},
        kv_cache=half_minute * sizes["language_model"].cache * BYTES["bf16"],
        feature_cache=stored,
        stages=tuple(costs),
        gpu_hours=gpu_hours,
        hours=gpu_hours / options.gpus,
        dollars=dollars,
        bill=bill,
        fits=needed <= GPUS[options.gpu].gigabytes * 1e9,
    )


def _stage_cost(
    stage: Stage,
    sizes: dict[str, Part],
    options: Options,
    encoder_frames: Sequence[int],
    adapter_tokens: Sequence[int],
    audio: int,
    text: float,
) -> StageCost:
    """Cost of a stage.

    Args:
        stage: the work.
        sizes: the parts.
        options: GPU, price and what else isn't of the stage.
        encoder_frames: frames that the encoder reads of each window of a clip.
        adapter_tokens: audio tokens of each window of a clip.
        audio: audio tokens of a clip in the language model.
        text: text tokens beside them.
    """
    adapter_state, model_state = TRAIN[stage.train]
    adapter, model = sizes["adapter"], sizes["language_model"]
    clips = stage.audio_hours * 3600 / options.clip_seconds
    encoded = stage.encoded_hours * 3600 / options.clip_seconds
    lora = _lora_parameters(model, stage.lora_modules, stage.lora_rank)
    lora = lora if model_state == "lora" else 0
    tower = sizes["encoder"]
    tower_lora = _lora_parameters(tower, stage.encoder_lora_modules, stage.encoder_lora_rank)
    encoder = sum(_encoder(tower, n, tower_lora, options) for n in encoder_frames)
    per_adapter = sum(operations(adapter, n, adapter_state) for n in adapter_tokens)

    def language(tokens: float) -> float:
        if model_state == "unused":
            return 0.0
        row = max(tokens, options.batch_tokens) if options.packing else tokens
        again = model.forward(tokens, row) if options.gradient_checkpointing else 0.0
        # Of embeddings that learn only their gradient is added.
        more = 6 * lora + 2 * (stage.rows + stage.embeddings)
        return operations(model, tokens, model_state, row) + again + more * tokens

    per_model = language(audio + text)
    flops = {
        "encoder": encoder * encoded,
        "adapter": per_adapter * clips,
        # Plain text is reckoned in rows as long as an example's.
        "language_model": per_model * (clips + stage.text_tokens / (audio + text)),
    }
    flops["total"] = sum(flops.values())
    share = encoded / clips if clips else 0.0
    with_audio = encoder * share + per_adapter + per_model - language(text)
    learned = adapter.parameters if stage.audio_hours else 0
    learned += {"lora": lora, "learns": model.parameters}.get(model_state, 0) + tower_lora
    learned += stage.rows + stage.embeddings
    added = lora + tower_lora + stage.rows
    audio_share = audio / (audio + text) if model_state != "unused" else 1.0
    frames = sum(encoder_frames) / audio if tower_lora else 0.0
    memory = _memory(sizes, options, learned, added, model_state, audio_share, frames)
    gpu_hours = flops["total"] / (GPUS[options.gpu].teraflops * 1e12 * options.utilization) / 3600
    return StageCost(
        name=stage.name,
        train=stage.train,
        learned_parameters=learned,
        audio_hours=stage.audio_hours,
        encoded_hours=stage.encoded_hours,
        text_tokens=stage.text_tokens,
        flops=flops,
        flops_per_audio_second=with_audio / options.clip_seconds,
        flops_per_text_token=(language(text) / text) if text else 0.0,
        memory=memory,
        gpu_hours=gpu_hours,
        dollars=gpu_hours * options.hour_price,
    )


def _lora_parameters(part: Part, modules: Sequence[str], rank: int) -> int:
    for name in modules:
        known(name, part.lora, "LoRA's target module")
    return rank * sum(part.lora[name] for name in modules)


def _encoder(part: Part, frames: int, lora: int, options: Options) -> float:
    """Operations of the encoder for a window: frozen, or with LoRA and a backward pass."""
    if not lora:
        return part.forward(frames)
    again = part.forward(frames) if options.gradient_checkpointing else 0.0
    return operations(part, frames, "lora") + again + 6 * lora * frames


def _memory(
    sizes: dict[str, Part],
    options: Options,
    learned: int,
    added: int,
    model_state: str,
    audio_share: float,
    frames: float,
) -> dict[str, float]:
    """Bytes of training: weights with optimizer, and what the backward pass needs.

    Weights: 18 bytes for each number that learns, 2 for each other. Kept numbers: 2 bytes each for
    every token on the GPU at once, and 10 for each logit. What the frozen encoder keeps for the
    moment, memory lost to fragments and the CUDA context (a gigabyte or so) aren't counted.

    With fsdp a GPU has its share of the weights, and `gathered`: whole encoder, adapter, embeddings
    and two layers of the language model while they compute, with gradients of what learns.

    Args:
        sizes: the parts.
        options: of the stage.
        learned: numbers that learn.
        added: those of them that aren't in the model itself: LoRA, and rows that learn apart.
        model_state: see `TRAIN`.
        audio_share: share of the tokens that are audio.
        frames: of the encoder for each audio token, if it passes a gradient through; else 0.
    """
    model = sizes["language_model"]
    frozen = sum(part.parameters for part in sizes.values()) + added - learned
    tokens = options.batch_tokens
    tower = sizes["encoder"]
    tower_kept = tower.kept_recomputed if options.gradient_checkpointing else tower.kept
    kept = (sizes["adapter"].kept + tower_kept * frames) * audio_share
    logits = 0
    if model_state != "unused":
        logits = model.vocabulary
        kept += model.kept_recomputed if options.gradient_checkpointing else model.kept
    parts_of = {
        "learned": float(LEARNED_BYTES * learned),
        "frozen": float(FROZEN_BYTES * frozen),
        "kept": float(KEPT_BYTES * kept * tokens + LOGIT_BYTES * logits * tokens),
    }
    if model_state != "learns":
        parts_of["frozen"] -= (FROZEN_BYTES - FROZEN[options.frozen_precision]) * model.matrices
    if options.sharding == "fsdp" and options.gpus > 1:
        for name in ("learned", "frozen"):
            parts_of[name] /= options.gpus
        layers = min(1.0, GATHERED_LAYERS / model.layers) * model.matrices
        whole = 8 if model_state == "learns" else FROZEN_BYTES  # float32 with its gradient
        parts_of["gathered"] = float(
            whole * (model.parameters - model.matrices + layers)
            + 8 * sizes["adapter"].parameters
            + FROZEN_BYTES * tower.parameters
        )
    return parts_of | {"total": sum(parts_of.values())}
