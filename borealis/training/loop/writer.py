"""Writes the checkpoints of a stage and takes them up again."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from borealis.training import processes
from borealis.training.loop.checkpoints import (
    STATE,
    VALIDATION,
    WHOLE_BELOW,
    load_learned,
    save_learned,
    step_of,
    write_checkpoint,
)
from borealis.training.loop.log import StageLog
from borealis.training.loop.optimizer import load_optimizer, save_optimizer
from borealis.training.loop.randomness import load_random, save_random
from borealis.training.loop.trainer import StageTrainer


class CheckpointWriter:
    """`checkpoint-N` of a stage: weights, optimizer, random numbers, log, each in files of its own.

    Args:
        trainer: takes the steps.
        log: of the stage.
        output: folder of the stage.
    """

    def __init__(self, trainer: StageTrainer, log: StageLog, output: Path) -> None:
        self.trainer, self.log, self.output = trainer, log, output
        stage = trainer.stage
        lora = stage.lora is not None or stage.encoder_lora is not None
        rounded = stage.compute.frozen_precision == "nf4"
        size = sum(p.numel() for p in trainer.model.parameters())
        self.learned_only = (
            lora or stage.speech_learns or rounded or size >= WHOLE_BELOW or bool(trainer.sharded)
        )

    def save(self, measured: dict[str, Any] | None = None) -> None:
        """Write a checkpoint aside and give it its name when all of it is on the disk.

        Args:
            measured: validation of this step, if there was one.

        Raises:
            TrainingError: no room on the disk; the checkpoints before are still there.
        """
        keep = self.trainer.stage.checkpoints.keep
        write = partial(self._write, measured=measured)
        write_checkpoint(self.output, self.trainer.taken, keep, write)

    def _write(self, folder: Path, measured: dict[str, Any] | None) -> None:
        model = self.trainer.model
        if self.learned_only:
            save_learned(model, folder)
        elif processes.is_main():
            model.save_pretrained(folder)
        save_optimizer(model, self.trainer.optimizer, folder)
        save_random(folder)
        state = {"global_step": self.trainer.taken, "max_steps": self.trainer.stage.max_steps}
        state |= self.log.state()
        if processes.is_main():
            if measured is not None:
                _write_json(folder / VALIDATION, measured)
            _write_json(folder / STATE, state)

    def restore(self, folder: Path) -> None:
        """Go on from a checkpoint: everything is as it was when that was written.

        Raises:
            TrainingError: another recipe or an earlier version of Borealis made it.
        """
        step, trainer = step_of(folder), self.trainer
        load_learned(trainer.model, folder)
        load_optimizer(trainer.model, trainer.optimizer, folder)
        self.log.go_on(step, json.loads((folder / STATE).read_text(encoding="utf-8")))
        load_random(folder)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
