"""Transformers' Auto classes know Borealis after `import borealis`, in any order of imports."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from borealis.checkpoints import resolve_checkpoint
from tests.warm import Warm


def run(code: str, warm: Warm | None = None) -> str:
    """What a Python of its own prints; whatever it complains of is an error."""
    python = sys.executable if warm is None else warm.folder / "python"
    environment = None if warm is None else warm.environment(os.environ)
    done = subprocess.run(
        [python, "-c", code], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def with_torch() -> Iterator[Warm]:
    """Python that has imported what transformers stands on, and nothing of it or of Borealis."""
    with Warm("torch._dynamo", "torch.distributed.tensor", "scipy.optimize", "accelerate") as warm:
        assert run(_OURS, warm) == "[]"
        yield warm


_OURS = "import sys; print([n for n in ('transformers', 'borealis') if n in sys.modules])"


def test_importing_borealis_imports_neither_torch_nor_transformers():
    heavy = "[name for name in ('torch', 'transformers', 'numpy') if name in sys.modules]"
    assert run(f"import sys, borealis; print({heavy})") == "[]"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("imports", "used"),
    [
        ("import borealis; from transformers import AutoConfig", "AutoConfig"),
        ("import borealis; from transformers import AutoProcessor", "AutoProcessor"),
        ("import borealis; from transformers import AutoModel", "AutoModel"),
        (
            "import borealis; from transformers import AutoModelForMultimodalLM",
            "AutoModelForMultimodalLM",
        ),
        # The other way round, and by ways on which the Auto classes are imported in passing.
        ("from transformers import AutoModel; import borealis", "AutoModel"),
        ("import transformers, borealis", "transformers.AutoConfig"),
        ("import borealis, transformers.modeling_utils", "transformers.AutoConfig"),
        ("import borealis; from transformers import Trainer, AutoConfig", "AutoConfig"),
    ],
)
def test_auto_classes_load_our_checkpoint(with_torch, imports, used):
    folder = str(resolve_checkpoint("nano"))
    code = f"{imports}\nprint(type({used}.from_pretrained({folder!r})).__module__)"
    assert run(code, with_torch).startswith("borealis.model.")


def test_other_modules_are_found_as_ever():
    code = (
        "import inspect, sys, borealis\n"
        "from transformers import AutoConfig\n"
        "import transformers.models.whisper.configuration_whisper as module\n"
        "assert inspect.getsource(module) and module.__spec__.loader.get_data(module.__file__)\n"
        "print([type(f).__name__ for f in sys.meta_path if 'borealis' in type(f).__module__])"
    )
    assert run(code) == "[]", "nobody watches once the classes are registered"
