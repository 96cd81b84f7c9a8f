"""Plans of recipes, and the command `borealis plan`."""

import json
import subprocess
import sys

import pytest

from borealis import cli
from borealis.training.planner import GPUS, Options, PlanError, parts, plan, plan_recipe
from borealis.training.planner.recipes import recipe_config
from borealis.training.planner.shapes import language_model_part
from borealis.training.recipe import Recipe, load_recipe

# ---- recipes ----


def test_recipe_of_nano(nano) -> None:
    recipe = load_recipe("nano")
    result = plan_recipe(recipe, Options())
    assert [stage.name for stage in result.stages] == [stage.name for stage in recipe.stages]
    text, align, instruct, clips, more, read, english, count, again, answers = result.stages
    assert more.train == english.train == again.train == align.train
    assert read.train == count.train == answers.train == instruct.train
    assert (text.train, align.train, instruct.train) == ("full", "ctc", "full")
    assert text.audio_hours == 0 and text.text_tokens > 0 and text.flops["encoder"] == 0
    assert align.flops["encoder"] > 0 and align.flops["language_model"] == 0
    assert instruct.encoded_hours == clips.encoded_hours == 0
    assert clips.train == "full" and instruct.learned_parameters > align.learned_parameters
    # All but the vocabulary, which the tokenizer's training settles.
    config, bundled = recipe_config(recipe.model), nano.model.config
    config.text_config.vocab_size = bundled.text_config.vocab_size
    assert parts(config) == parts(bundled)


def test_recipe_with_hours_and_epochs() -> None:
    recipe = load_recipe("nano")
    result = plan_recipe(recipe, Options(), hours_of_audio=20, epochs=3)
    assert [stage.audio_hours for stage in result.stages] == [0, *[60] * 9]
    assert [stage.encoded_hours for stage in result.stages] == [0, 20, *[0] * 8]
    every = plan_recipe(recipe, Options(feature_cache=False), hours_of_audio=20, epochs=3)
    assert [stage.encoded_hours for stage in every.stages] == [0, *[60] * 9]
    with pytest.raises(PlanError, match="hours_of_audio is 0"):
        plan_recipe(recipe, Options(), hours_of_audio=0)


def a_recipe(**changes) -> Recipe:
    values = {
        "name": "large",
        "model": {"audio_tower": "openai/whisper-large-v3", "language_model": "Qwen/Qwen3-4B"},
        "data": {"features": {"all": [{"manifest": "m.jsonl"}]}},
        "stages": [
            {"name": "align", "max_steps": 360, "optimizer": {"learning_rate": 1e-4}, "batch": {"seconds": 100}, "features": ["all"]},
            {"name": "instruct", "max_steps": 72, "optimizer": {"learning_rate": 1e-4}, "batch": {"seconds": 100},
             "features": ["all"], "tasks": {"text": {"share": 0.5}, "transcription": {"share": 0.5}}, "lora": {"rank": 8, "target_modules": ["q_proj", "down_proj"]}},
        ],
    }  # fmt: skip
    return Recipe(**(values | changes))


def test_recipe_of_full_size() -> None:
    result = plan_recipe(a_recipe(), Options())
    align, instruct = result.stages
    assert result.parameters == plan().parameters
    assert (align.train, align.audio_hours, align.encoded_hours) == ("adapter", 10, 10)
    assert (instruct.train, instruct.audio_hours) == ("lora", 1)
    assert instruct.text_tokens == 72 * 0.5 * 3000
    lora = language_model_part(recipe_config(a_recipe().model).text_config).lora
    added = instruct.learned_parameters - result.parameters["adapter"]
    assert added == 8 * (lora["q_proj"] + lora["down_proj"])
    assert result.gpu_hours == pytest.approx(align.gpu_hours + instruct.gpu_hours)


def test_recipe_that_goes_on_from_a_checkpoint(nano) -> None:
    result = plan_recipe(a_recipe(model={"checkpoint": "nano"}), Options())
    assert result.parameters["total"] == sum(p.numel() for p in nano.model.parameters())
    with pytest.raises(PlanError, match="can't see the checkpoint 'someone/model'"):
        plan_recipe(a_recipe(model={"checkpoint": "someone/model"}), Options())


def test_recipe_mistakes_are_told() -> None:
    stages = a_recipe().model_dump()["stages"]
    with pytest.raises(PlanError, match="trains the encoder"):
        plan_recipe(a_recipe(stages=[stages[0] | {"trainable": ["audio_tower"]}]), Options())
    wrong = stages[1] | {"lora": {"target_modules": ["fc1"]}}
    with pytest.raises(PlanError, match="target module is 'fc1'"):
        plan_recipe(a_recipe(stages=[wrong]), Options())
    model = a_recipe().model.model_dump() | {"config": {"adapter_type": "wide"}}
    with pytest.raises(PlanError, match=r"model\.config"):
        plan_recipe(a_recipe(model=model), Options())


# ---- command ----


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    try:
        code = cli.main(["plan", *map(str, arguments)])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_command_prints_the_plan(capsys) -> None:
    code, out, err = run(capsys, "--price", "2", "--hours-of-audio", 100, "--gpus", 2)
    assert (code, err) == (0, "")
    for piece in ("4.68B", "19.7M", "375 tokens", "H100 SXM", "GPU hours", "h on 2", "$2 an hour"):
        assert piece in out
    assert "doesn't fit" in run(capsys, "--gpu", "l4")[1]


def test_command_compares_choices_of_a_recipe(capsys) -> None:
    code, out, _ = run(capsys, "5b", "--compare", "--gpus", 8, "--gpu", "rtx4090", "--price", 0.35)
    assert code == 0
    _, table = out.partition("\n\non another GPU")[0].split("\n\ninstead")
    rows = [line.split("  ")[0] for line in table.splitlines()[1:]]
    assert rows == [
        "as planned", "gradient_checkpointing no", "packing yes", "frozen_precision nf4",
        "sharding fsdp",
    ]  # fmt: skip
    planned, _, _, four_bits, shared = table.splitlines()[1:]
    assert planned.split()[2:5] == four_bits.split()[2:5], "4 bits cost no hours by the plan"
    memory = [float(line.split()[-2]) for line in (planned, four_bits, shared)]
    assert memory[1] < memory[0] and memory[2] < memory[0]
    total = next(line for line in out.splitlines() if line.startswith("in all"))
    assert planned.split()[3] in total.replace("$", "").replace(",", " ").split()


@pytest.mark.parametrize("model", [["5b"], ["--train", "lora"]])
def test_command_compares_other_gpus(model: list[str], capsys) -> None:
    code, out, _ = run(capsys, *model, "--gpu", "l40s", "--price", 9, "--compare")
    assert code == 0
    table = out.partition("on another GPU")[2].splitlines()[1:]
    fitting, small = [], ""
    for line in table:
        if line.startswith("doesn't fit on "):
            small = line
        else:
            fitting.append(line)
    for name, gpu in GPUS.items():
        told = [line for line in fitting if line.startswith(f"{gpu.title}  ")]
        if name == "l40s":
            assert not told and gpu.title not in small.split(", ")
            continue
        options = Options(gpu=name)
        result = plan_recipe(load_recipe("5b"), options) if model == ["5b"] else plan(options)
        assert len(told) == result.fits and (gpu.title in small) != result.fits
        if told:
            hour, hours, dollars, bill = map(float, told[0].removeprefix(gpu.title).split()[:4])
            assert hour == gpu.price, "the price that was given is that of the first GPU"
            assert hours == pytest.approx(result.gpu_hours, rel=0.01)
            assert dollars == pytest.approx(result.dollars, rel=0.01)
            assert bill == pytest.approx(result.bill.total, rel=0.01)


def test_command_compares_choices(capsys) -> None:
    code, out, _ = run(capsys, "--compare", "--gpus", 8, "--train", "full")
    assert code == 0
    rows = out.partition("instead")[2]
    for words in ("as planned", "feature_cache no", "padding all", "train lora", "sharding fsdp", "encoder_lora_rank 16"):  # fmt: skip
        assert words in rows
    assert "nf4" not in rows, "a model that learns can't be in 4 bits"


def test_a_recipe_with_everything_is_planned() -> None:
    stages = a_recipe().model_dump()["stages"]
    own = {
        "features": [],
        "sources": ["a"],
        "tasks": {"transcription": {}},
        "batch": {"packing": True},
    }
    changes = own | {
        "encoder_lora": {"rank": 4},
        "compute": {"precision": "bfloat16", "frozen_precision": "nf4"},
    }
    plain, changed = (
        plan_recipe(a_recipe(stages=[stages[1] | keys]), Options()).stages[0]
        for keys in (own, changes)
    )
    assert changed.learned_parameters > plain.learned_parameters
    assert changed.memory["frozen"] < 0.5 * plain.memory["frozen"]
    assert changed.flops["encoder"] > 2 * plain.flops["encoder"]


def test_command_gives_json(capsys) -> None:
    code, out, _ = run(
        capsys, "--train", "full", "--no-feature-cache", "--mfu", 0.4, "--format", "json"
    )
    assert code == 0
    record = json.loads(out)
    options = Options(train="full", feature_cache=False, utilization=0.4)
    assert record.pop("model") == "large-v3 + mlp + qwen3-4b"
    price = record.pop("price")
    assert price == {"dollars_per_hour": 3, "source": GPUS["h100"].price_source}
    assert Options(**record.pop("options")) == options
    assert record == json.loads(json.dumps(plan(options).to_dict()))


def test_command_plans_a_recipe(capsys) -> None:
    code, out, _ = run(capsys, "nano", "--gpu", "l4")
    assert code == 0
    assert "recipe nano" in out and "instruct" in out
    code, out, _ = run(capsys, "nano", "--hours-of-audio", 20, "--epochs", 2, "--format", "json")
    record = json.loads(out)
    assert record["stages"][1]["audio_hours"] == 40
    assert "encoder" not in record["options"] and "hours_of_audio" not in record["options"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--gpu", "abacus"], "gpu is 'abacus'"),
        (["--mfu", "30"], "at most 1"),
        (["nano", "--train", "full"], "the recipe says that already"),
        (["nano", "--epochs", "2"], "needs --hours-of-audio"),
        (["nano", "--validations", "3"], "--validations and a recipe"),
        (["--failed", "-0.1"], "failed is -0.1"),
        (["--decoding-mfu", "5"], "decoding_utilization is 5"),
        (["nowhere.yaml"], "no recipe 'nowhere.yaml'"),
    ],
)
def test_command_tells_mistakes_in_one_line(arguments: list[str], says: str, capsys) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert says in err and len(err.splitlines()) == 1


def test_help_needs_nothing_heavy() -> None:
    program = (
        "import sys\nfrom borealis.cli import main\n"
        "try:\n    main(['plan', '--help'])\nexcept SystemExit:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "--mfu" in done.stdout
    assert not {"torch", "transformers", "numpy", "pydantic"} & {
        m.split(".")[0] for m in done.stderr.split()
    }
