"""What the training benchmarks share: recordings, a model for a CPU, and a watched stage."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from borealis.data.manifest import Utterance, read_manifest, write_manifest
from borealis.data.phrasings import load_phrasings
from borealis.evaluation.results import describe_manifest
from borealis.model import BorealisForConditionalGeneration, BorealisProcessor
from borealis.training.batches.cached import CachedBatches
from borealis.training.batches.recorded import RecordingBatches, Source
from borealis.training.data.epochs import Epochs
from borealis.training.data.features import FeatureCache, FeatureSource, build_features, plan_clips
from borealis.training.loop.trainer import StageTrainer
from borealis.training.pipeline import build_model
from borealis.training.planner import parts
from borealis.training.planner.operations import batch_operations
from borealis.training.recipe import Recipe, StageSection
from borealis.training.tasks.letters import WholeEpochs
from borealis.training.tasks.task import BatchContext

# Short synthetic sentences and longer ones of a person; together they have any mean between.
MANIFESTS = ("synthetic-ru.train.jsonl", "festvox-ru.train.jsonl")
QUESTION = "Запиши речь."
# The proportions of the recipe 0.6b at the size of a CPU: the language model is as large as the
# encoder, and its tokenizer has pieces of several letters.
TEXT_CONFIG = {
    "model_type": "qwen3",
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "tie_word_embeddings": True,
}
VOCABULARY = 4096


def choose_clips(data: Path, count: int, mean_seconds: float, seed: int = 0) -> list[Utterance]:
    """Recordings with a mean length, the same for the same seed.

    The share of longer recordings is the one that gives the mean; within both manifests they are
    drawn at random.

    Args:
        data: folder with `MANIFESTS`.
        count: how many; fewer if there are no more.
        mean_seconds: mean length.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    short, long = (
        [u for u in read_manifest(data / name) if u.kind == "speech" and 0 < u.duration <= 30]
        for name in MANIFESTS
    )
    low, high = (float(np.mean([u.duration for u in items])) for items in (short, long))
    share = (mean_seconds - low) / (high - low) if high > low else 0.0
    longer = round(count * min(1.0, max(0.0, share)))
    chosen = []
    for items, wanted in ((short, count - longer), (long, longer)):
        chosen += [items[int(i)] for i in rng.permutation(len(items))[:wanted]]
    # With a question of its own a recording gives the same row in every loop.
    chosen = [replace(item, question=QUESTION, answer=item.text) for item in chosen]
    return [chosen[int(i)] for i in rng.permutation(len(chosen))]


@dataclass
class World:
    """A model's folder and recordings to train it on.

    Args:
        folder: of everything; may be a temporary one.
        utterances: the recordings.
    """

    folder: Path
    utterances: list[Utterance]

    @classmethod
    def make(
        cls,
        data: Path,
        folder: Path,
        *,
        clips: int,
        mean_seconds: float = 5.0,
        audio_tower: str = "nano",
        **text_config: int,
    ) -> World:
        """Choose recordings and build a model with random language model and adapter.

        Args:
            data: folder with `MANIFESTS`, as `python -m lab.nano.data` makes it.
            folder: where to.
            clips: how many recordings.
            mean_seconds: their mean length.
            audio_tower: Whisper; by default the bundled model's encoder.
            **text_config: changes to `TEXT_CONFIG`.
        """
        utterances = choose_clips(data, clips, mean_seconds)
        write_manifest(folder / "clips.jsonl", utterances)
        texts = [u.text for name in MANIFESTS for u in read_manifest(data / name) if u.text]
        (folder / "corpus.txt").write_text("\n".join(texts), encoding="utf-8")
        recipe = Recipe.model_validate(
            {
                "name": "benchmark",
                "model": {
                    "audio_tower": audio_tower,
                    "tokenizer_vocab_size": VOCABULARY,
                    "text_config": TEXT_CONFIG | text_config,
                    "config": {"adapter_type": "mlp", "encoder_window": "cut"},
                },
                "data": {"corpora": ["corpus.txt"]},
                "stages": [],
            }
        )
        build_model(recipe, folder, folder / "start")
        return cls(folder, utterances)

    @classmethod
    def open(cls, folder: Path) -> World:
        """The world that `make` left in a folder."""
        return cls(folder, read_manifest(folder / "clips.jsonl"))

    def model(self, **config: Any) -> tuple[BorealisForConditionalGeneration, BorealisProcessor]:
        """The model as it begins, with changed keys of its config, and its processor."""
        start = self.folder / "start"
        model = BorealisForConditionalGeneration.from_pretrained(
            start, dtype=torch.float32, **config
        )
        processor = BorealisProcessor.from_pretrained(start)
        return model, BorealisProcessor.from_config(
            model.config, processor.feature_extractor, processor.tokenizer
        )

    def cache(self, name: str) -> tuple[FeatureCache, Run]:
        """The feature cache of all recordings, written anew, and the time that took."""
        model, processor = self.model()
        start, begun = _now(), time.process_time()
        build_features(
            plan_clips([FeatureSource("clips.jsonl")], self.folder, seed=0),
            self.folder / name,
            audio_tower=model.model.audio_tower.eval(),
            feature_extractor=processor.feature_extractor,
            config=model.config,
        )
        took = Run(seconds=_now() - start, processor_seconds=time.process_time() - begun)
        return FeatureCache([self.folder / name]), took

    def batches(
        self,
        stage: StageSection,
        model: BorealisForConditionalGeneration,
        processor: BorealisProcessor,
        *,
        cache: FeatureCache | None = None,
        plan: list[list[int]] | None = None,
        text_width: int | None = None,
    ) -> CachedBatches | RecordingBatches:
        """Batches of a stage on all recordings.

        Args:
            stage: settings.
            model: gives the window arithmetic.
            processor: of that model.
            cache: frames; without it recordings are read and encoded at every step.
            plan: recordings of each batch instead of length buckets.
            text_width: places for text in every row, which are filled up (the original's way).
        """
        context = BatchContext(processor.tokenizer, model.config, load_phrasings(), cache, [], 0)
        if cache is not None:
            order = {u.audio: i for i, u in enumerate(self.utterances)}
            places = {order[clip.utterance.audio]: i for i, clip in enumerate(cache.clips)}
            found = None if plan is None else [[places[i] for i in batch] for batch in plan]
            return _Cached(stage, context, found)
        source = Source("clips", self.utterances)
        return _Recorded(stage, context, source, processor, plan, text_width)


class _Cached(CachedBatches):
    """Cached clips in batches of a given plan, if there is one."""

    def __init__(
        self, stage: StageSection, context: BatchContext, plan: list[list[int]] | None
    ) -> None:
        super().__init__(stage, context)
        if plan:
            whole_epochs(self).epochs = Epochs(lambda epoch: plan)


def whole_epochs(batches: CachedBatches) -> WholeEpochs:
    """The task of a stage that hears every clip once an epoch."""
    [task] = [task for task in batches.tasks.values() if isinstance(task, WholeEpochs)]
    return task


class _Recorded(RecordingBatches):
    """Recordings in batches of a given plan, and rows as wide as wanted."""

    def __init__(
        self,
        stage: StageSection,
        context: BatchContext,
        source: Source,
        processor: BorealisProcessor,
        plan: list[list[int]] | None,
        text_width: int | None,
    ) -> None:
        self.plan, self.text_width = plan, text_width
        super().__init__(stage, context, [source], [], processor)

    def _plan_source(self, number: int) -> Epochs:
        if (plan := self.plan) is None:
            return super()._plan_source(number)
        return Epochs(lambda epoch: plan)

    def _rows(self, items: Any, talks: Any) -> dict[str, torch.Tensor]:
        batch = super()._rows(items, talks)
        if self.text_width is None:
            return batch
        wide = max(sum(counts) for _, counts in talks) + self.text_width
        missing = wide - batch["input_ids"].shape[1]
        if missing < 0:
            raise ValueError(f"A row has {-missing} tokens too many for {self.text_width} of text.")
        fill = {"input_ids": self.context.tokenizer.pad_token_id, "labels": -100}
        pad = torch.nn.functional.pad
        return {name: pad(batch[name], (0, missing), value=fill[name]) for name in batch}


def add_world_arguments(parser: argparse.ArgumentParser, *, clips: int) -> None:
    """Options of a benchmark that say what its world is."""
    parser.add_argument(
        "--data", type=Path, default=Path("data"), help="of 'python -m lab.nano.data'"
    )
    parser.add_argument("--clips", type=int, default=clips)
    parser.add_argument("--mean-seconds", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--audio-tower", default="nano", help="a Whisper, or nano's encoder")
    parser.add_argument("--hidden-size", type=int, help="of the language model, for a trial")


def make_world(args: argparse.Namespace, folder: Path) -> tuple[World, dict[str, Any]]:
    """The world that the options name, and what its manifests are, for the result file."""
    torch.set_num_threads(args.threads)
    world = World.make(
        args.data,
        folder,
        clips=args.clips,
        mean_seconds=args.mean_seconds,
        audio_tower=args.audio_tower,
        **({} if args.hidden_size is None else {"hidden_size": args.hidden_size}),
    )
    paths = {name: args.data / name for name in MANIFESTS}
    return world, {n: describe_manifest(path, read_manifest(path)) for n, path in paths.items()}


def random_plan(count: int, size: int, seed: int = 0) -> list[list[int]]:
    """All of `count` recordings in batches of `size`, in random order."""
    order = np.random.default_rng(seed).permutation(count).tolist()
    return [order[i : i + size] for i in range(0, count, size)]


def epoch_steps(batches: CachedBatches | RecordingBatches) -> int:
    """How many batches hold every recording once."""
    seen, step, total = 0, 0, len(batches)
    if isinstance(batches, RecordingBatches):
        wanted = len(batches.sources[0].utterances)
        while seen < wanted and step < total:
            seen, step = seen + len(batches._epochs[0].batch(step)), step + 1
        return step
    assert batches.context.cache is not None
    while seen < len(batches.context.cache) and step < total:
        seen, step = seen + len(whole_epochs(batches).epochs.batch(step)), step + 1
    return step


class _Watched(Dataset):
    """Batches that remember what they held, what it takes to compute, and how long they took."""

    def __init__(
        self, batches: CachedBatches | RecordingBatches, train: str, steps: int, run: Run
    ) -> None:
        self.batches, self.train, self.steps, self.run = batches, train, steps, run
        self.sizes = parts(batches.context.config)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, Any]:
        if not 0 <= step < self.steps:
            raise IndexError(step)
        start = time.process_time()
        batch = self.batches[step]
        run, config = self.run, self.batches.context.config
        run.seconds_of["data"] += time.process_time() - start
        rows, columns = batch["input_ids"].shape
        places = batch["input_ids"] == config.audio_token_id
        windows = batch.get("num_samples", torch.zeros(0)).tolist()
        counted = batch_operations(
            self.sizes,
            train=self.train,
            encoder_frames=[config.encoder_samples(n) // config.frame_length for n in windows],
            audio_tokens=(rows, int(places.sum(1).max())),
            tokens=(rows, columns),
        )
        run.clips += rows
        run.tokens += rows * columns
        for name, value in counted.items():
            run.operations[name] = run.operations.get(name, 0.0) + value
        return batch


@dataclass
class Run:
    """What a run of a stage took.

    Args:
        clips: recordings that were learned from, repeats counted.
        tokens: places of the language model, padding included.
        seconds: from the beginning of the first step to the end of the last.
        processor_seconds: of all threads in that time; other processes don't change it much.
        seconds_of: processor time spent on `data` and on the `encoder`.
        operations: counted, by part of the model.
        losses: of every step.
        step_seconds: of every step.
    """

    clips: int = 0
    tokens: int = 0
    seconds: float = 0.0
    processor_seconds: float = 0.0
    seconds_of: dict[str, float] = field(default_factory=lambda: {"data": 0.0, "encoder": 0.0})
    operations: dict[str, float] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)


def take_steps(trainer: StageTrainer, run: Run) -> None:
    """Take all steps of a stage, without checkpoints, and say what they took."""
    start = last = _now()
    begun = time.process_time()
    while trainer.taken < trainer.stage.max_steps:
        run.losses.append(trainer.step().loss)
        now = _now()
        run.step_seconds.append(now - last)
        run.seconds, last = now - start, now
    run.processor_seconds = time.process_time() - begun


def watch(
    model: BorealisForConditionalGeneration,
    stage: StageSection,
    batches: CachedBatches | RecordingBatches,
    folder: Path,
    *,
    train: str = "adapter",
    steps: int | None = None,
    use_cpu: bool = True,
) -> Run:
    """Run a stage without checkpoints and say what it took.

    Args:
        model: changed in place.
        stage: settings.
        batches: its batches.
        folder: for a batch that turns out bad.
        train: what learns, in the planner's words.
        steps: how many; by default `max_steps` of the stage.
        use_cpu: stay on the CPU even if there is an accelerator.
    """
    run = Run()
    steps = steps or stage.max_steps
    stage = stage.model_copy(update={"max_steps": steps})
    watched = _Watched(batches, train, steps * stage.batch.per_step, run)
    trainer = StageTrainer(model, stage, watched, folder, seed=0, use_cpu=use_cpu)
    with _timed(model.model.audio_tower, run):
        take_steps(trainer, run)
    return run


@contextlib.contextmanager
def _timed(encoder: torch.nn.Module, run: Run) -> Iterator[None]:
    begun = [0.0]

    def before(*_: Any) -> None:
        begun[0] = time.process_time()

    def after(*_: Any) -> None:
        run.seconds_of["encoder"] += time.process_time() - begun[0]

    handles = [encoder.register_forward_pre_hook(before), encoder.register_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _now() -> float:
    """The time when all that was asked of the accelerator is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
