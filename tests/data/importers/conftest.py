"""Real recordings in a folder, and the command run on what a test puts beside them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from borealis.audio import load_audio
from borealis.cli import main
from borealis.data.manifest import Utterance, read_manifest


@dataclass
class Done:
    """What a run of `borealis data import` left behind."""

    code: int
    out: str
    error: str
    manifests: dict[str, list[Utterance]] = field(default_factory=dict)

    @property
    def items(self) -> list[Utterance]:
        return self.manifests["train"]

    @property
    def texts(self) -> list[str]:
        return [item.text for item in self.items]


@pytest.fixture
def folder(tmp_path: Path, clips) -> Path:
    """Two recordings, `a.flac` and `b.wav`, of 5.8 and 5.4 seconds."""
    place = tmp_path / "mine"
    place.mkdir()
    shutil.copy(clips[0].audio, place / "a.flac")
    soundfile.write(place / "b.wav", load_audio(clips[1].audio), 16_000)
    return place


@pytest.fixture
def joined(clips) -> np.ndarray:
    """All real recordings one after another with half a second between, 41 seconds."""
    gap = np.zeros(8_000, np.float32)
    return np.concatenate([part for clip in clips for part in (load_audio(clip.audio), gap)])


@pytest.fixture
def run(tmp_path: Path, capsys) -> Callable[..., Done]:
    """`run(source, *options)`: import into `tmp_path/out`."""

    def command(source: Path, *options: str) -> Done:
        output = tmp_path / "out"
        code = main(["data", "import", str(source), "--output", str(output), *options])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        done = Done(code, said.out, said.err)
        if code == 0:
            done.manifests = {p.stem: read_manifest(p) for p in sorted(output.glob("*.jsonl"))}
        return done

    return command


@pytest.fixture
def seconds() -> Callable[[Utterance], float]:
    """How long the recording of an utterance really is."""
    return lambda item: len(load_audio(item.audio)) / 16_000


def json_lines(*rows: Any) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
