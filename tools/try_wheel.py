"""Whether Borealis works where only its wheel was installed: no checkout, no extras, no network.

    cd elsewhere && venv/bin/python .../tools/try_wheel.py .../examples/audio  # make test-wheel

Loads the bundled model, writes the recordings of the folder down and asks one question. The wheel
holds the package alone, and beside the weights of the model it is small.
"""

from __future__ import annotations

import sys
from importlib.metadata import distribution
from pathlib import Path

import jiwer

import borealis
from borealis.data.manifest import read_manifest
from borealis.data.phrasings import load_phrasings
from borealis.training.recipe import load_recipe

MOST_WRONG_WORDS = 0.4
MOST_CODE = 3_000_000  # bytes that the package has beside the bundled weights


def check_files() -> None:
    """Only the package was installed: no laboratory, no tools, no tests.

    Raises:
        SystemExit: something else was, or what isn't weights is large.
    """
    files = [f for f in distribution("borealis-audio").files or () if f.suffix != ".pyc"]
    strange = {f.parts[0] for f in files} - {"borealis", ".."}  # its command lies up there
    if strange := {name for name in strange if not name.endswith(".dist-info")}:
        raise SystemExit(f"The wheel brings along {', '.join(sorted(strange))}.")
    code = [f for f in files if f.parts[:2] != ("borealis", "checkpoints")]
    size = sum(Path(str(f.locate())).stat().st_size for f in code)
    if size > MOST_CODE:
        raise SystemExit(f"Beside the weights the wheel installs {size / 1e6:.1f} MB.")


def main() -> int:
    clips = read_manifest(Path(sys.argv[1]) / "manifest.jsonl")
    installed = Path(borealis.__file__).resolve()
    if not installed.is_relative_to(Path(sys.prefix).resolve()):
        raise SystemExit(f"That is another Borealis: {installed}")
    check_files()
    assert load_phrasings() and load_recipe("nano"), "they come with the wheel"

    model = borealis.load()
    heard = [model.transcribe(clip.audio).text for clip in clips]
    answer = model.ask(clips[0].audio, "Кто говорит: мужчина или женщина?")

    for clip, text in zip(clips, heard, strict=True):
        print(f"{Path(clip.audio).name}: {text}")
    print(answer)
    plain = jiwer.Compose([jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.Strip()])
    wrong = jiwer.wer([plain(clip.text) for clip in clips], [plain(text) for text in heard])
    if not (wrong <= MOST_WRONG_WORDS and str(answer).strip()):
        raise SystemExit(f"{wrong:.0%} of the words are wrong, or there is no answer.")
    print(f"The wheel works: borealis {borealis.__version__}, {wrong:.0%} of the words wrong.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
