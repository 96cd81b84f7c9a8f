"""Steps of a refiner's stage: crops of codes in, weights moved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from borealis.codec.codes import Codes
from borealis.codec.nano import BorealisCodec, CodeRefiner
from borealis.codec.nano.refiner import places_of
from borealis.codec.protocol import Codec
from borealis.errors import RecipeError
from borealis.speech.stream import Spoken
from borealis.training.codec.losses import MelDistance
from borealis.training.codec.refiner.recipe import RefinerStage
from borealis.training.loop.failure import stop_at_bad_step
from borealis.training.loop.optimizer import (
    load_optimizer,
    make_optimizer,
    save_optimizer,
    set_rate,
)
from borealis.training.loop.schedules import schedule
from borealis.training.loop.step import Step
from borealis.training.weights.precision import use_bfloat16

_LOOKED_AT = 500  # recordings that say where latents lie


class RefinerTrainer:
    """A refiner's stage that is ready to go: `step()` takes one step after another.

    Args:
        refiner: changed in place.
        codec: frozen.
        stage: settings.
        clips: what is learned.
        weights: how often a second of each recording is heard, `[clips]`.
        output: folder of the stage, for a batch that turns out bad.
        seed: of batches and of everything random.
        taken: steps that are taken already.

    Raises:
        RecipeError: losses.mel with a codec of another kind.
    """

    def __init__(
        self,
        refiner: CodeRefiner,
        codec: Codec,
        stage: RefinerStage,
        clips: Sequence[Spoken],
        weights: np.ndarray,
        output: Path,
        *,
        seed: int,
        taken: int = 0,
    ) -> None:
        self.stage, self.clips, self.output = stage, clips, output
        self.seed, self.taken, self.codec = seed, taken, codec
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.bfloat16 = use_bfloat16(stage.precision, use_cpu=self.device.type == "cpu")
        torch.manual_seed(seed)
        self.refiner = refiner.to(self.device).train()  # type: ignore[arg-type]
        self.books = torch.stack(refiner.tables(codec))  # [books, size, latent_size]
        self.given = refiner.config.given_codebooks
        frames = weights * np.array([clip.codes.shape[1] for clip in clips])
        self._shares = frames / frames.sum()
        self._numbers = [refiner.symbol_numbers(clip.symbols) for clip in clips]
        self._voices = np.array([refiner.voice_number(clip.voice) for clip in clips])
        self._near = [self._neighbours(book) for book in self.books[: self.given]]
        self.mel: MelDistance | None = None
        self.decoder: nn.Module | None = None
        if stage.losses.mel:
            network = getattr(codec, "model", None)
            if not isinstance(network, BorealisCodec):
                raise RecipeError(
                    f"stages.{stage.name}: losses.mel needs a codec of our own kind, and "
                    f"'{codec.name}' is another. Set it to 0."
                )
            self.mel = MelDistance(codec.sampling_rate).to(self.device)
            self.decoder = network.decoder.requires_grad_(False)
        self.optimizer = make_optimizer(self.refiner, stage.optimizer)
        self._rate = schedule(stage)

    def _neighbours(self, book: torch.Tensor) -> np.ndarray:
        """Codes of the entries nearest to each entry, without itself: `[size, nearest]`."""
        most = min(self.stage.errors.nearest, len(book) - 1)
        distances = torch.cdist(book, book)
        distances.fill_diagonal_(float("inf"))
        return distances.topk(most, largest=False).indices.cpu().numpy()

    @torch.no_grad()
    def begin(self) -> None:
        """Set where the latents lie that the network gives; once, before the first step."""
        chosen = np.linspace(0, len(self.clips) - 1, min(_LOOKED_AT, len(self.clips))).astype(int)
        codes = np.concatenate([self.clips[i].codes for i in chosen], 1)
        whole = self._sum(torch.from_numpy(codes)[None].to(self.device), 0)
        given = self._sum(torch.from_numpy(codes[: self.given])[None].to(self.device), 0)
        rest = (whole - given)[0]
        self.refiner.centre.copy_(rest.mean(0))
        self.refiner.spread.copy_((rest - rest.mean(0)).square().mean().sqrt().clamp(min=1e-6))

    def _sum(self, codes: torch.Tensor, first: int) -> torch.Tensor:
        """Entries of codes `[batch, books, frames]`, of books from `first`, added up."""
        parts = [self.books[first + i][codes[:, i]] for i in range(codes.shape[1])]
        return torch.stack(parts).sum(0)

    # ---- steps ----

    def batch(self, number: int) -> dict[str, torch.Tensor]:
        """Crops of a step.

        Args:
            number: of the step.

        Returns:
            `codes` `[clips, num_codebooks, frames]`, `given` `[clips, given_codebooks, frames]`
            with errors, `places`, `voices`, `mask` as `CodeRefiner` takes them.
        """
        rng = np.random.default_rng((self.seed, number))
        stage, config = self.stage, self.refiner.config
        count, frames = stage.batch.clips, stage.batch.frames
        chosen = rng.choice(len(self.clips), count, p=self._shares)
        codes = np.zeros((count, config.num_codebooks, frames), np.int64)
        mask = np.zeros((count, frames), bool)
        crops = []
        for row, i in enumerate(chosen):
            clip = self.clips[int(i)]
            first = int(rng.integers(max(0, clip.codes.shape[1] - frames) + 1))
            part = clip.codes[:, first : first + frames]
            codes[row, :, : part.shape[1]], mask[row, : part.shape[1]] = part, True
            where = places_of(self._numbers[int(i)], clip.durations, config)
            where = where[first : first + frames]
            crops.append(np.pad(where, ((0, frames - len(where)), (0, 0))))
        voices = np.where(rng.random(count) < stage.voice_dropout, 0, self._voices[chosen])
        arrays = {
            "codes": codes,
            "given": self.with_errors(codes[:, : self.given], rng),
            "places": np.stack(crops),
            "voices": voices,
            "mask": mask,
        }
        return {name: torch.from_numpy(a).to(self.device) for name, a in arrays.items()}

    def with_errors(self, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Given codes `[batch, books, frames]`, some replaced as `errors` of the stage says."""
        errors = self.stage.errors
        return self._replaced(codes, rng, errors.near, errors.random)

    def _replaced(
        self, codes: np.ndarray, rng: np.random.Generator, near: float, anything: float
    ) -> np.ndarray:
        if not near and not anything:
            return codes
        codes = codes.copy()
        for book, nearest in enumerate(self._near):
            own = codes[:, book]
            lot = rng.random(own.shape)
            other = nearest[own, rng.integers(nearest.shape[1], size=own.shape)]
            own = np.where(lot < near, other, own)
            any_code = rng.integers(len(nearest), size=own.shape)
            codes[:, book] = np.where((lot >= near) & (lot < near + anything), any_code, own)
        return codes

    def step(self) -> Step:
        """Take the next step.

        Raises:
            TrainingError: the loss or the gradient isn't finite.
        """
        step = Step(self.taken + 1)
        torch.manual_seed(self.seed * 1_000_003 + step.number)
        stage, batch = self.stage, self.batch(self.taken + 1)
        parts = self._losses(batch)
        weights = stage.losses.model_dump()
        loss = torch.stack([value * weights[name] for name, value in parts.items()]).sum()
        if not bool(torch.isfinite(loss)):
            stop_at_bad_step("the loss", float(loss), step.number, [batch], self.output)
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.refiner.parameters(), stage.optimizer.max_grad_norm)
        step.gradient = float(norm)
        if not np.isfinite(step.gradient):
            stop_at_bad_step("the gradient", step.gradient, step.number, [batch], self.output)
        rate = self._rate(self.taken)
        set_rate(self.optimizer, rate)
        self.optimizer.step()
        step.loss, step.rate = float(loss.detach()), stage.optimizer.learning_rate * rate
        frame = self.codec.hop_length / self.codec.sampling_rate
        step.audio_seconds = int(batch["mask"].sum()) * frame
        for name, value in parts.items():
            step.parts[name] = [float(value.detach())]
        self.taken = step.number
        return step

    def _losses(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        given, mask = batch["given"], batch["mask"]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            rest = self.refiner(given, batch["places"], batch["voices"], mask).float()
        heard, wanted = self._sum(given, 0), self._sum(batch["codes"], 0)
        parts: dict[str, torch.Tensor] = {}
        if self.stage.losses.latents:
            missed = ((heard + rest - wanted) / self.refiner.spread).square().mean(-1)
            parts["latents"] = missed[mask].mean()
        if self.mel is not None and self.decoder is not None:
            # Beyond the end of a recording both sound alike.
            made = torch.where(mask[..., None], heard + rest, wanted)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
                with torch.no_grad():
                    real = self.decoder(wanted)
                sound = self.decoder(made)
            parts["mel"] = self.mel(sound, real)
        return parts

    # ---- checkpoints ----

    def save(self, folder: Path) -> None:
        """Write weights and optimizer into a folder."""
        self.refiner.save_pretrained(folder)
        save_optimizer(self.refiner, self.optimizer, folder)

    def load(self, folder: Path) -> None:
        """Take up what `save` wrote."""
        load_optimizer(self.refiner, self.optimizer, folder)
        self.refiner.load_state_dict(load_file(folder / "model.safetensors"))

    # ---- measuring ----

    @torch.no_grad()
    def measure(self, clips: Sequence[Spoken]) -> dict[str, float]:
        """How near completed recordings come to those with all of their codes.

        Args:
            clips: recordings, each of which counts by its frames.

        Returns:
            `latents`: what is missed of the latents, 1 if nothing is told; `equal_N`: share of
            codes of book N that are the same; mel distances to the sound of all codes: `mel_given`
            of the given ones alone, `mel_refined` completed, `mel_wrong` completed from codes of
            which some are wrong.
        """
        refiner = self.refiner.eval()
        mel = MelDistance(self.codec.sampling_rate)
        numbers: dict[str, list[float]] = {}
        rng = np.random.default_rng(0)
        for clip in clips:
            given = clip.codes[: self.given]
            wrong = self._replaced(given[None], rng, self.stage.validation.wrong, 0.0)[0]
            rest = (clip.symbols, clip.durations, clip.voice)
            found = refiner.complete(self.codec, given, *rest)
            made = refiner.complete(self.codec, wrong, *rest)
            own = {"latents": self._missed(clip)}
            book = self.given
            own[f"equal_{book + 1}"] = float((found[book] == clip.codes[book]).mean())
            real = self._sound(clip.codes)
            for name, codes in (("given", given), ("refined", found), ("wrong", made)):
                own[f"mel_{name}"] = float(mel(self._sound(codes), real))
            for name, value in own.items():
                numbers.setdefault(name, []).append(value)
        refiner.train()
        counts = [clip.codes.shape[1] for clip in clips]
        return {k: round(float(np.average(v, weights=counts)), 4) for k, v in numbers.items()}

    def _missed(self, clip: Spoken) -> float:
        config, number = self.refiner.config, self.refiner.voice_number(clip.voice)
        codes = torch.from_numpy(clip.codes)[None].to(self.device)
        where = places_of(self.refiner.symbol_numbers(clip.symbols), clip.durations, config)
        places = torch.from_numpy(where)[None].to(self.device)
        told = self.refiner(
            codes[:, : self.given], places, torch.tensor([number], device=self.device)
        )
        wanted = self._sum(codes[:, self.given :], self.given)
        return float(((told - wanted) / self.refiner.spread).square().mean())

    def _sound(self, codes: np.ndarray) -> torch.Tensor:
        codec = self.codec
        samples = codec.decode(Codes(codes, codes.shape[1] * codec.hop_length, codec.sampling_rate))
        return torch.from_numpy(samples)[None]
