"""`borealis serve`: the flags it chooses, and what it refuses before anything is loaded."""

import argparse
import json
import shlex
from pathlib import Path

import pytest

from borealis.serving.command import Machine, Plan, ServingError, add_arguments, make_plan
from borealis.serving.settings import VARIABLE, Settings

CPU = Machine(cuda=False, cores=2, memory=24 * 2**30)
GPU = Machine(cuda=True, cores=16, memory=128 * 2**30)


def plan(config, *words: str, machine: Machine = CPU) -> Plan:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return make_plan(parser.parse_args(words), "/models/x", config, machine)


def value(made: Plan, flag: str) -> str:
    return made.flags[made.flags.index(flag) + 1]


@pytest.fixture(autouse=True)
def clean(monkeypatch) -> None:
    for name in (
        "VLLM_API_KEY",
        "VLLM_CPU_KVCACHE_SPACE",
        "OMP_NUM_THREADS",
        "TORCHDYNAMO_DISABLE",
        VARIABLE,
    ):
        monkeypatch.delenv(name, raising=False)


def test_processor_and_gpu_get_their_own_flags(tiny_config) -> None:
    on_cpu, on_gpu = plan(tiny_config), plan(tiny_config, machine=GPU)
    assert (value(on_cpu, "--dtype"), value(on_gpu, "--dtype")) == ("float32", "bfloat16")
    assert "--enforce-eager" in on_cpu.flags
    assert "--enforce-eager" not in on_gpu.flags
    assert on_cpu.environment["VLLM_CPU_KVCACHE_SPACE"] == "6"
    assert on_cpu.environment["OMP_NUM_THREADS"] == "2"
    assert "VLLM_CPU_KVCACHE_SPACE" not in on_gpu.environment
    # A bare machine has no compiler.
    assert on_cpu.environment["TORCHDYNAMO_DISABLE"] == "1"
    assert "TORCHDYNAMO_DISABLE" not in on_gpu.environment


def test_a_model_that_speaks_has_its_rule_in_the_engine(tiny_config, speaking) -> None:
    assert "--logits-processors" not in plan(tiny_config).flags
    made = plan(speaking.model.config)
    assert value(made, "--logits-processors") == "borealis.serving.rule:SpeechLogits"
    # Its text is still of letters, whatever tokens of speech stand behind them.
    assert value(made, "--stream-interval") == "4"


def test_context_holds_the_longest_audio_but_no_more_than_the_model_reads(tiny_config) -> None:
    assert value(plan(tiny_config), "--max-model-len") == "4096"
    tiny_config.max_audio_seconds, before = 60.0, tiny_config.max_audio_seconds
    try:
        assert value(plan(tiny_config), "--max-model-len") == str(750 + 1024)
    finally:
        tiny_config.max_audio_seconds = before


def test_front_keeps_the_server_closed_by_default(tiny_config) -> None:
    made = plan(tiny_config)
    assert value(made, "--host") == "127.0.0.1"
    assert value(made, "--middleware") == "borealis.serving.front.Front"
    assert value(made, "--allowed-origins") == "[]"
    assert json.loads(made.environment[VARIABLE]) == {
        "max_bytes": 25 * 2**20,
        "max_seconds": 3600,
        "media_domains": [],
        "max_requests": 128,
        "max_held": 3 * 2**30,
        "receive_seconds": 30,
    }


def test_limits_reach_the_front(tiny_config, monkeypatch) -> None:
    words = ("--max-megabytes", "7", "--max-seconds", "90", "--allow-media-domain", "example.org")
    words += ("--max-requests", "5", "--receive-seconds", "2.5")
    monkeypatch.setenv(VARIABLE, plan(tiny_config, *words).environment[VARIABLE])
    expected = Settings(7 * 2**20, 90.0, ("example.org",), 5, 3 * 2**30, 2.5)
    assert Settings.from_environment() == expected


def test_more_is_taken_at_once_where_more_is_decoded_at_once(tiny_config) -> None:
    def taken(*words: str, machine: Machine = CPU) -> int:
        return json.loads(plan(tiny_config, *words, machine=machine).environment[VARIABLE])[
            "max_requests"
        ]

    assert taken("--max-num-seqs", "8") == 32
    assert taken(machine=GPU) == 1024
    assert taken("--max-num-seqs", "8", machine=GPU) == 32


def test_small_machine_still_holds_two_of_the_largest_requests(tiny_config) -> None:
    small = Machine(cuda=False, cores=1, memory=2**30)
    settings = json.loads(plan(tiny_config, machine=small).environment[VARIABLE])
    assert settings["max_held"] == 2 * Settings().largest_request


def test_user_settings_win(tiny_config, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = plan(tiny_config, "--dtype", "bfloat16", "nano", "--port", "9", "--vllm", "--seed", "1")
    assert made.environment["OMP_NUM_THREADS"] == "1"
    assert value(made, "--dtype") == "bfloat16"
    assert made.flags[-2:] == ["--seed", "1"]


def test_printed_command_has_no_key_and_can_be_pasted(tiny_config) -> None:
    made = plan(tiny_config, "--api-key", "secret-key")
    assert "secret-key" not in str(made)
    words = shlex.split(str(made))
    assert words[len(made.environment) :] == ["vllm", "serve", *made.flags]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--host", "0.0.0.0"), "VLLM_API_KEY"),
        (("--host", "::"), "VLLM_API_KEY"),
        (("--port", "70000"), "port"),
        (("--max-seconds", "0"), "--max-seconds"),
        (("--max-seconds", "nan"), "--max-seconds"),
        (("--max-requests", "0"), "--max-requests"),
        (("--receive-seconds", "0.5"), "--receive-seconds"),
        (("--max-num-seqs", "0"), "--max-num-seqs"),
        (("--lora", "mine"), "NAME=DIR"),
        (("--lora", "mine=/nowhere"), "adapter_config.json"),
    ],
)
def test_refuses(tiny_config, words, says) -> None:
    with pytest.raises(ServingError, match=says):
        plan(tiny_config, *words)


def test_network_is_allowed_with_a_key(tiny_config, monkeypatch) -> None:
    plan(tiny_config, "--host", "0.0.0.0", "--api-key", "k")
    monkeypatch.setenv("VLLM_API_KEY", "k")
    plan(tiny_config, "--host", "0.0.0.0")


def test_lora_rank_is_the_next_that_vllm_knows(tiny_config, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"r": 12}')
    made = plan(tiny_config, "--lora", f"mine={tmp_path}")
    assert value(made, "--max-lora-rank") == "16"
    assert value(made, "--lora-modules") == f"mine={tmp_path}"


def test_wrong_settings_of_the_search_are_told_before_anything_is_loaded(
    make_tiny, tmp_path, capsys
) -> None:
    pytest.importorskip("vllm")
    from borealis.cli import main

    model, processor = make_tiny("ctc", search={"num_beam": 4})
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert main(["serve", str(tmp_path), "--print"]) == 2
    assert "num_beam" in capsys.readouterr().err
