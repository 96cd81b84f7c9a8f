"""A run folder belongs to one run: what each part was made from is kept in it and compared.

A part is `start`, the model the run begins with, or the folder of a stage. Beside the weights of
each, `made-from.json` has the recipe as it was used, digests of the data, and the part before it.
A command that wants anything else of a part is refused by naming what differs, before any work; or
the stage goes on, where that gives what a run of so many steps from the beginning gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from borealis.errors import RecipeError
from borealis.training.data.distortions import preset_place
from borealis.training.digests import (
    file_digest,
    folder_digest,
    manifest_digest,
    weights_digest,
    weights_of,
)
from borealis.training.loop.checkpoints import is_whole, latest_checkpoint, step_of
from borealis.training.loop.schedules import rates
from borealis.training.recipe import Recipe, StageSection
from borealis.training.run.places import named_weights
from borealis.training.run.record import (
    FINAL,
    FOLDERS,
    RECORD,
    START,
    Made,
    read_record,
    write_record,
)
from borealis.training.run.settings import (
    differences,
    manifests_of,
    stage_of,
    stage_settings,
    start_reads_corpora,
    start_settings,
)

_SHOWN = 12


@dataclass
class Plan:
    """What a command has to do in a run folder.

    Args:
        remake_start: `start` was made from something else, and nothing that is kept began with it.
        work: for each chosen stage `new`, `on` (from its newest checkpoint) or `done`.
        before: for each chosen stage the part it begins with.
        kept: finished stages that the result rests on.
    """

    remake_start: bool = False
    work: dict[str, str] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)


class RunFolder:
    """The folder of a run, as a command with a recipe and data finds it.

    Args:
        folder: of the run; needn't be there.
        recipe: as it will be used.
        data: data folder.
    """

    def __init__(self, folder: Path, recipe: Recipe, data: Path) -> None:
        self.folder, self.recipe, self.data = folder, recipe, data
        self._digests: dict[Path, str] = {}

    # ---- what is wanted ----

    def made_start(self) -> Made:
        """What `start` would be made from now."""
        model = self.recipe.model
        files = {}
        for key, name in named_weights(model).items():
            if digest := weights_of(name):
                files[key] = digest
        names = list(self.recipe.data.corpora) if start_reads_corpora(model) else []
        if model.ngram:
            names += [*model.ngram.corpora, *model.ngram.word_corpora]
        return Made(self.recipe, files | self._texts(names))

    def made_stage(self, stage: StageSection, before: str, before_weights: str) -> Made:
        """What a stage would be made from now."""
        files = self._texts(self.recipe.data.corpora) if stage.reads_corpora else {}
        for name in manifests_of(self.recipe, stage):
            path = self.data / name
            if path.is_dir():
                files[name] = folder_digest(path)
            elif path.is_file():
                files[name] = self._digest(path, audio=True)
        return Made(self.recipe, files, before, before_weights)

    def _texts(self, names: Iterable[str]) -> dict[str, str]:
        paths = {name: self.data / name for name in names}
        return {name: self._digest(path) for name, path in paths.items() if path.is_file()}

    def _digest(self, path: Path, *, audio: bool = False) -> str:
        if path not in self._digests:
            self._digests[path] = manifest_digest(path) if audio else file_digest(path)
        return self._digests[path]

    # ---- what is there ----

    def look(self, chosen: Sequence[str], *, resume: bool) -> Plan:
        """Compare the folder with what is wanted of it.

        Args:
            chosen: names of the stages that are to be trained.
            resume: use what is finished or begun; otherwise chosen stages are trained anew.

        Raises:
            RecipeError: the folder isn't of a run, or is of another; the message names each
                difference and the ways on.
        """
        self._check_is_a_run()
        plan, problems = Plan(), _Problems(self.folder, [s.name for s in self.recipe.stages])
        begun = [s.name for s in self.recipe.stages if is_begun(self.folder / s.name)]
        kept = [name for name in begun if resume or name not in chosen]
        start = read_record(self.folder / START)
        start_made = self.made_start()
        weights = start.weights if start else ""
        if (self.folder / START / "config.json").is_file():
            told = (
                differences(start, start_made, start_settings) if start is not None else [_UNKNOWN]
            )
            if told and kept and resume:
                problems.add(self.recipe.stages[0].name, told, START)
            elif told:
                plan.remake_start, weights = True, ""
        before, anew = START, plan.remake_start
        last = max((i for i, s in enumerate(self.recipe.stages) if s.name in chosen), default=-1)
        for stage in self.recipe.stages[: last + 1]:
            name, folder = stage.name, self.folder / stage.name
            use = name not in chosen
            if (use and not is_whole(folder)) or (not use and name not in kept):
                if not use:
                    plan.work[name], plan.before[name] = "new", before
                    before, anew, weights = name, True, ""
                continue
            old = read_record(folder)
            told, more = self._compare(stage, old, before, weights, anew=anew, on=not use)
            done = old is not None and bool(old.weights) and is_whole(folder) and not more
            if use and not told and not done:
                told = ["the stage isn't finished"]
            if told:
                problems.add(name, told, name)
            if not use:
                plan.work[name], plan.before[name] = ("done" if done else "on"), before
            anew = anew or not done
            if done:
                plan.kept.append(name)
            before, weights = name, old.weights if done and old else ""
        problems.raise_for(chosen)
        return plan

    def _compare(
        self,
        stage: StageSection,
        old: Made | None,
        before: str,
        weights: str,
        *,
        anew: bool,
        on: bool,
    ) -> tuple[list[str], bool]:
        """How a stage that is there differs, and whether it goes on to another number of steps."""
        if old is None:
            return [_UNKNOWN], False
        told = differences(old, self.made_stage(stage, before, weights), stage_settings, stage.name)
        key = f"stages.{stage.name}.max_steps: "
        more = on and len(told) == 1 and told[0].startswith(key)
        if more:
            newest = latest_checkpoint(self.folder / stage.name)
            taken = step_of(newest) if newest else None
            reason = why_not_on(stage_of(old.recipe, stage.name), stage, taken)
            more = reason is None
            told = [] if more else [f"{told[0]} ({reason})"]
        if old.before != before:
            told.append(f"it began with '{old.before}' -> it would begin with '{before}'")
        elif anew:
            told.append(f"it begins with '{before}', which isn't what it was")
        elif old.before_weights != weights:
            told.append(f"it begins with '{before}', whose weights have changed")
        return told, more

    def _check_is_a_run(self) -> None:
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise RecipeError(f"'{self.folder}' is a file; --output names the folder of a run.")
        signs = ("run.json", f"{START}/config.json", f"{START}/{RECORD}")
        if any((self.folder / sign).is_file() for sign in signs):
            return
        for name in (*FOLDERS, *(stage.name for stage in self.recipe.stages)):
            place = self.folder / name
            if place.exists() and (not place.is_dir() or any(place.iterdir())):
                raise RecipeError(
                    f"'{self.folder}' holds a '{name}' that isn't of a run of 'borealis train'; "
                    "give another --output."
                )

    # ---- what is written ----

    def begin(self, stage: StageSection, before: str) -> None:
        """Write down what a stage is made from, before its first step."""
        start = read_record(self.folder / before)
        made = self.made_stage(stage, before, start.weights if start else "")
        write_record(self.folder / stage.name, made)

    def finish(self, name: str, steps: int) -> None:
        """Write down that a stage is finished."""
        folder = self.folder / name
        made = read_record(folder)
        assert made is not None
        write_record(folder, replace(made, steps=steps, weights=weights_digest(folder)))


_UNKNOWN = "no record of what it was made from (an earlier version of Borealis kept none)"


class _Problems:
    """Differences of parts, and what can be done about them."""

    def __init__(self, folder: Path, stages: Sequence[str]) -> None:
        self.folder, self.stages = folder, list(stages)
        self.told: dict[str, list[str]] = {}
        self.first: str | None = None

    def add(self, stage: str, told: Sequence[str], part: str) -> None:
        """Note what differs in a part; the stages from `stage` on would have to be trained anew."""
        self.first = stage if self.first is None else self.first
        self.told.setdefault(part, []).extend(told)

    def raise_for(self, chosen: Sequence[str]) -> None:
        """Raise if there were any."""
        if self.first is None:
            return
        lines = [f"{text}" for part in self.told for text in self._of(part)]
        shown = "; ".join(dict.fromkeys(lines[:_SHOWN]))
        if len(lines) > _SHOWN:
            shown += f"; and {len(lines) - _SHOWN} more"
        anew = self.stages[self.stages.index(self.first) :]
        last = max(self.stages.index(name) for name in chosen)
        anew = [n for n in anew if n in chosen or self.stages.index(n) <= last]
        ways = (
            "--no-resume" if set(anew) == set(chosen) else f"--no-resume --stages {','.join(anew)}"
        )
        raise RecipeError(
            f"'{self.folder}' holds another run than this command asks for: {shown}. Either give "
            f"another --output, or train {self._named(anew)} anew in this folder: {ways}."
        )

    def _of(self, part: str) -> list[str]:
        """Differences of a part; those that don't name it get its name."""
        return [
            text
            if text.startswith(("stages.", "data.", "model.", "seed", "'"))
            else f"'{part}': {text}"
            for text in self.told[part]
        ]

    def _named(self, names: Sequence[str]) -> str:
        return ", ".join(f"'{name}'" for name in names)


def is_begun(folder: Path) -> bool:
    """Whether a stage left something that can be used."""
    return is_whole(folder) or latest_checkpoint(folder) is not None


def why_not_on(old: StageSection | None, new: StageSection, taken: int | None) -> str | None:
    """Why a stage can't go on to another number of steps, or None if it can.

    It can where each of the steps taken is what it would have been in a stage of the new length.

    Args:
        old: the stage as it was.
        new: as it is wanted; differs in `max_steps`.
        taken: steps of its newest checkpoint.
    """
    if old is None or taken is None:
        return "no checkpoint of it is left"
    if taken > new.max_steps:
        return f"{taken} steps are taken already"
    # The rate of the step to come is in the checkpoint as well.
    before = rates(old, taken + 1)
    if before is None or before != rates(new, taken + 1):
        return (
            f"the {new.optimizer.scheduler} schedule is past its warm-up, and its {taken} steps "
            "would have had other rates; constant_with_warmup could go on. To train the finished "
            f"model further, begin a new folder with its '{FINAL}' as model.checkpoint"
        )
    if new.makes_pseudo_audio:
        return "its pseudo-audio gets harder by the share of the steps that is done"
    batches = taken * new.batch.per_step
    if any(
        preset_place(step, old.max_steps * old.batch.per_step, len(old.augment.presets))
        != preset_place(step, new.max_steps * new.batch.per_step, len(new.augment.presets))
        for step in (range(batches) if new.sources else ())
    ):
        return "its distortions go by the share of the steps that is done"
    return None
