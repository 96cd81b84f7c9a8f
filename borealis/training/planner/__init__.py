"""The planner: how large a model is and what training it costs, before anything is started.

    >>> from borealis.training.planner import Options, plan
    >>> result = plan(Options(language_model="qwen3-1.7b", train="adapter"))
    >>> result.parameters["adapter"]
    14680064

`shapes` has the sizes, `costs` the arithmetic, `bill` what is paid beside training, `gpus` the
accelerators and their prices; `recipes` reads recipes.
"""

from borealis.training.planner.bill import Bill
from borealis.training.planner.costs import Options, Plan, Stage, StageCost, plan, plan_stages
from borealis.training.planner.gpus import GPUS, Gpu
from borealis.training.planner.recipes import plan_recipe
from borealis.training.planner.shapes import Part, PlanError, model_config, parts

__all__ = [
    "GPUS",
    "Bill",
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
