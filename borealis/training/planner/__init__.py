"""The planner: how large a model is and what training it costs, before anything is started.

    >>> from borealis.training.planner import Options, plan
    >>> result = plan(Options(language_model="qwen3-1.7b", train="adapter"))
    >>> result.parameters["adapter"]
    14680064

`shapes` has the sizes, `costs` the arithmetic, `gpus` the accelerators, `recipes` reads recipes,
`site` writes what the calculators of the documentation read.
"""

from borealis.training.planner.costs import Options, Plan, Stage, StageCost, plan, plan_stages
from borealis.training.planner.gpus import GPUS, Gpu
from borealis.training.planner.recipes import plan_recipe
from borealis.training.planner.shapes import Part, PlanError, model_config, parts

__all__ = [
    "GPUS",
    "Gpu",
    "Options",
    "Part",
    "Plan",
    "PlanError",
    "Stage",
    "StageCost",
    "model_config",
    "parts",
    "plan",
    "plan_recipe",
    "plan_stages",
]
