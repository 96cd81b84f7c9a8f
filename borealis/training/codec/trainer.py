"""Steps of a codec's stage: crops in, codebooks and weights moved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from borealis.codec.nano import BorealisCodec
from borealis.training.codec.clips import LETTER, Clips
from borealis.training.codec.codebooks import CodebookLearner
from borealis.training.codec.discriminator import (
    Discriminators,
    deception_loss,
    judges_loss,
    layers_loss,
)
from borealis.training.codec.losses import LetterHead, MelDistance, commitment, straight_through
from borealis.training.codec.recipe import CodecStage
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

_HELD = 64  # steps before the quantizer begins whose latents k-means looks at
_BETA1 = 0.8  # of AdamW: judges and codec move against each other
_QUIET = 0.02  # weight of the latents' mean square while nothing quantizes them
BESIDE, JUDGES, MUON = "beside.safetensors", "judges", "muon"
_EDGE = "project"  # in the names of layers between widths of different kinds


class CodecTrainer:
    """A codec stage that is ready to go: `step()` takes one step after another.

    Args:
        model: changed in place.
        stage: settings.
        clips: what is heard.
        output: folder of the stage, for a batch that turns out bad.
        seed: of batches and of everything random.
        taken: steps that are taken already.
    """

    def __init__(
        self,
        model: BorealisCodec,
        stage: CodecStage,
        clips: Clips,
        output: Path,
        *,
        seed: int,
        taken: int = 0,
    ) -> None:
        self.stage, self.clips, self.output, self.taken, self.seed = (
            stage,
            clips,
            output,
            taken,
            seed,
        )
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.bfloat16 = use_bfloat16(stage.precision, use_cpu=self.device.type == "cpu")
        torch.manual_seed(seed)
        self.model = model.to(self.device).train()  # type: ignore[arg-type]
        config = model.config
        for part in ("encoder", "decoder"):
            getattr(model, part).requires_grad_(part in stage.trainable)
        self.learner = CodebookLearner(
            model.quantizer, stage.quantizer.decay, stage.quantizer.revive_below
        )
        self.letters = None
        if stage.losses.letters:
            per_frame = config.hop_length // LETTER
            self.letters = LetterHead(config.latent_size, clips.classes, per_frame)
            self.letters.to(self.device)
        self.judges = Discriminators().to(self.device) if stage.losses.adversarial else None
        self.mel = MelDistance(config.sampling_rate).to(self.device)
        # What the optimizers hold, with names that stay.
        parts: dict[str, nn.Module] = {n: getattr(model, n) for n in stage.trainable}
        if self.letters is not None:
            parts["letters"] = self.letters
        self.learning = nn.ModuleDict(parts)
        matrices = {
            name: weight
            for name, weight in self.learning.named_parameters()
            if stage.muon_rate and weight.requires_grad and weight.ndim == 2 and _EDGE not in name
        }
        self.optimizer = make_optimizer(
            self.learning, stage.optimizer, beta1=_BETA1, without=matrices
        )
        self.muon: torch.optim.Muon | None = None
        if stage.muon_rate:
            group = {"params": list(matrices.values()), "initial_lr": stage.muon_rate}
            self.muon = torch.optim.Muon([group], lr=stage.muon_rate, weight_decay=0.0)
        self.judging: torch.optim.AdamW | None = None
        if self.judges is not None:
            rate = {"learning_rate": stage.discriminator_rate, "rates": {}}
            settings = stage.optimizer.model_copy(update=rate)
            self.judging = make_optimizer(self.judges, settings, beta1=_BETA1)
        self._rate = schedule(stage)
        self._before: list[torch.Tensor] = []  # latents of the last steps without a quantizer

    # ---- steps ----

    def step(self) -> Step:
        """Take the next step.

        Raises:
            TrainingError: the loss or the gradient isn't finite.
        """
        step = Step(self.taken + 1)
        torch.manual_seed(self.seed * 1_000_003 + step.number)
        config, stage = self.model.config, self.stage
        sound, letters = self.clips.batch(
            stage.batch, stage.augment, hop=config.hop_length, seed=self.seed, step=step.number
        )
        real = torch.from_numpy(sound).to(self.device)
        told = torch.from_numpy(letters.astype(np.int64)).to(self.device)
        parts = self._losses(real, told, step)
        weights = stage.losses.model_dump()
        loss = torch.stack([value * weights.get(name, 1.0) for name, value in parts.items()]).sum()
        if not bool(torch.isfinite(loss)):
            stop_at_bad_step("the loss", float(loss), step.number, [{"sound": real}], self.output)
        self.learning.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.learning.parameters(), stage.optimizer.max_grad_norm)
        step.gradient = float(norm)
        if not np.isfinite(step.gradient):
            stop_at_bad_step(
                "the gradient", step.gradient, step.number, [{"sound": real}], self.output
            )
        rate = self._rate(self.taken)
        for optimizer in (self.optimizer, *([self.muon] if self.muon else [])):
            set_rate(optimizer, rate)
            optimizer.step()
        step.loss, step.rate = float(loss.detach()), stage.optimizer.learning_rate * rate
        step.audio_seconds = real.numel() / config.sampling_rate
        for name, value in parts.items():
            step.parts[name] = [float(value.detach())]
        self.taken = step.number
        return step

    def _losses(
        self, real: torch.Tensor, told: torch.Tensor, step: Step
    ) -> dict[str, torch.Tensor]:
        model, losses = self.model, self.stage.losses
        parts: dict[str, torch.Tensor] = {}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            with torch.set_grad_enabled(self.stage.learns_codes):
                latents = model.encoder(real).float()
            if step.number <= self.stage.quantizer.begin:
                heard = self._before_quantizer(latents, parts, step.number)
            else:
                heard = self._quantized(latents, told, parts, step)
            made = model.decoder(heard)
        parts["mel"] = self.mel(made, real)
        parts["waveform"] = (made - real).abs().mean()
        if self.judges is not None and self.judging is not None:
            parts |= self._judged(self.judges, self.judging, made, real, step)
        if not losses.commitment:
            parts.pop("commitment", None)
        return parts

    def _before_quantizer(
        self, latents: torch.Tensor, parts: dict[str, torch.Tensor], number: int
    ) -> torch.Tensor:
        """Latents as they are; the last step before the quantizer sets the codebooks."""
        begin = self.stage.quantizer.begin
        if number > begin - _HELD:
            self._before.append(latents.detach().flatten(0, 1))
        if number == begin:
            self.learner.begin(torch.cat(self._before), per_step=len(self._before[0]))
            self._before.clear()
        # Else nothing says how large they should be.
        parts["size"] = latents.square().mean() * _QUIET
        return latents

    def _quantized(
        self,
        latents: torch.Tensor,
        told: torch.Tensor,
        parts: dict[str, torch.Tensor],
        step: Step,
    ) -> torch.Tensor:
        shares = self.stage.quantizer.books
        counts = torch.tensor(list(shares.values()))
        books = list(shares)[int(torch.multinomial(counts, 1))]
        quantizer = self.model.quantizer
        with torch.autocast(self.device.type, enabled=False), torch.no_grad():
            codes, found = quantizer(latents.detach(), books)
        if self.stage.learns_codes:
            found = found.clone()
            self.learner.update(latents.detach(), codes, found)
            parts["commitment"] = commitment(latents, found)
            if self.letters is not None:
                loss, right = self.letters(straight_through(latents, found[0]), told)
                parts["letters"] = loss
                step.parts["letters_right"] = [right]
        return straight_through(latents, found.sum(0))

    def _judged(
        self,
        judges: Discriminators,
        optimizer: torch.optim.AdamW,
        made: torch.Tensor,
        real: torch.Tensor,
        step: Step,
    ) -> dict[str, torch.Tensor]:
        """Let the judges learn, and ask them."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            judges.requires_grad_(True)
            loss = judges_loss(judges(real), judges(made.detach()))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(judges.parameters(), self.stage.optimizer.max_grad_norm)
            set_rate(
                self.judging, min(1.0, step.number / max(1, self.stage.optimizer.warmup_steps))
            )
            optimizer.step()
            step.parts["judges"] = [float(loss.detach())]
            judges.requires_grad_(False)
            with torch.no_grad():
                wanted = judges(real)
            found = judges(made)
        parts = {"adversarial": deception_loss(found)}
        if self.stage.losses.features:
            parts["features"] = layers_loss(wanted, found)
        return parts

    # ---- checkpoints ----

    def _beside(self) -> nn.Module:
        """What learns beside the codec."""
        modules = {"letters": self.letters, "judges": self.judges, "books": self.learner}
        return nn.ModuleDict({k: v for k, v in modules.items() if v is not None})

    def save(self, folder: Path) -> None:
        """Write weights and optimizers into a folder."""
        self.model.save_pretrained(folder)
        beside = {k: v.contiguous() for k, v in self._beside().state_dict().items()}
        held = {f"before.{i}": latents for i, latents in enumerate(self._before)}
        save_file(beside | held, folder / BESIDE, metadata={"format": "pt"})
        save_optimizer(self.learning, self.optimizer, folder)
        if self.muon is not None:
            (folder / MUON).mkdir()
            save_optimizer(self.learning, self.muon, folder / MUON)
        if self.judges is not None and self.judging is not None:
            (folder / JUDGES).mkdir()
            save_optimizer(self.judges, self.judging, folder / JUDGES)

    def load(self, folder: Path) -> None:
        """Take up what `save` wrote."""
        state = load_file(folder / BESIDE)
        names = sorted((n for n in state if n.startswith("before.")), key=lambda n: int(n[7:]))
        self._before = [state.pop(name) for name in names]
        self._beside().load_state_dict(state)
        load_optimizer(self.learning, self.optimizer, folder)
        if self.muon is not None:
            load_optimizer(self.learning, self.muon, folder / MUON)
        if self.judges is not None and self.judging is not None:
            load_optimizer(self.judges, self.judging, folder / JUDGES)
        self.model.load_state_dict(load_file(folder / "model.safetensors"))

    # ---- measuring ----

    @torch.no_grad()
    def measure(self, crops: torch.Tensor) -> dict[str, float]:
        """Mel distances by codebooks, and how many entries of each are used.

        Args:
            crops: waveforms `[clips, samples]`.

        Returns:
            `mel_N` with the first N codebooks, `mel_free` without a quantizer, `used_N`: e to the
            entropy of the entries of codebook N.
        """
        model = self.model.eval()
        numbers: dict[str, float] = {}
        latents = model.encoder(crops)
        numbers["mel_free"] = float(self.mel(model.decoder(latents), crops))
        codes, found = model.quantizer(latents)
        for books in _powers(len(found)):
            numbers[f"mel_{books}"] = float(self.mel(model.decoder(found[:books].sum(0)), crops))
        for book in range(codes.shape[1]):
            counts = torch.bincount(codes[:, book].flatten()).float()
            shares = counts[counts > 0] / counts.sum()
            numbers[f"used_{book + 1}"] = float((-(shares * shares.log()).sum()).exp())
        model.train()
        return {name: round(value, 4) for name, value in numbers.items()}


def _powers(most: int) -> Iterator[int]:
    """1, 2, 4, ... and the most."""
    books = 1
    while books < most:
        yield books
        books *= 2
    yield most
