"""The calculators of the pages give the numbers of borealis.training.planner."""

from __future__ import annotations

import re
from typing import Any

import pytest

from borealis.training.planner import GPUS, Options, plan

CHOICES = [
    {},
    {"encoder": "base", "language_model": "qwen3-0.6b", "train": "full", "gpu": "a100"},
    {"adapter": "deep", "train": "adapter", "clip_seconds": 3, "padding": "all", "price": 1.5},
    {
        "adapter": "ctc",
        "gpu": "rtx4090",
        "test_hours": 5,
        "bitrate": 64,
        "storage_months": 3,
        "failed": 0.5,
    },
    {"train": "lora", "epochs": 1.5, "feature_cache": False, "gpus": 8, "utilization": 0.45},
]


def differences(browser: Any, package: Any, where: str = "") -> list[str]:
    """Where the browser's answer isn't the package's; the browser may leave something out."""
    if isinstance(browser, dict):
        return [d for key in browser for d in differences(browser[key], package[key], f"{where}.{key}")]  # fmt: skip
    if isinstance(browser, list):
        assert len(browser) == len(package), where
        return [d for n, one in enumerate(browser) for d in differences(one, package[n], f"{where}[{n}]")]  # fmt: skip
    same = browser == pytest.approx(package, rel=1e-9) if isinstance(browser, float | int) else browser == package  # fmt: skip
    return [] if same else [f"{where}: {browser} in the browser, {package} in the package"]


@pytest.mark.parametrize("path", ["story/cost/", "en/story/cost/"])
def test_answers_are_those_of_the_package(open_page, path):
    page = open_page(path).page
    page.evaluate("borealisPlanner.ready")
    for options in CHOICES:
        browser = page.evaluate("options => borealisPlanner.compute(options)", options)
        assert not differences(browser, plan(Options(**options)).to_dict()), options


def digits(text: str) -> float:
    return float(re.sub(r"[^\d.]", "", text.replace(",", ".")))


def test_reader_changes_the_cost(open_page):
    page = open_page("story/cost/").page
    form = page.get_by_role("form")
    money = page.locator(".bo-calculator__table td").first
    money.wait_for()
    assert digits(money.inner_text()) == pytest.approx(plan().bill.total, rel=0.01)
    form.locator("[name=gpu]").select_option("a100")
    assert float(form.locator("[name=price]").input_value()) == GPUS["a100"].price
    expected = plan(Options(gpu="a100")).bill.total
    assert digits(money.inner_text()) == pytest.approx(expected, rel=0.01)
    form.locator("[name=price]").fill("1.5")
    form.locator("[name=failed]").fill("50")
    expected = plan(Options(gpu="a100", price=1.5, failed=0.5)).bill.total
    assert digits(money.inner_text()) == pytest.approx(expected, rel=0.01)
    form.get_by_role("button").click()
    page.wait_for_function("document.querySelector('[name=price]').value === '3'")
    assert digits(money.inner_text()) == pytest.approx(plan().bill.total, rel=0.01)


def test_reader_changes_the_size(open_page):
    page = open_page("en/story/adapter/").page
    total = page.locator(".bo-calculator__table tr", has_text="Parameters in all")
    total.wait_for()
    assert digits(total.locator("td").inner_text()) * 1e9 == pytest.approx(
        plan().parameters["total"], rel=0.01
    )
    page.locator("[data-calculator=size] [name=language_model]").select_option("qwen3-0.6b")
    expected = plan(Options(language_model="qwen3-0.6b")).parameters["total"]
    assert digits(total.locator("td").inner_text()) * (1e9 if expected >= 1e9 else 1e6) == (
        pytest.approx(expected, rel=0.01)
    )
