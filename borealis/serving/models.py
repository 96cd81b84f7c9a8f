"""The models of a server by name: the checkpoint itself, and the LoRAs beside it."""

from __future__ import annotations

from typing import Any

from borealis.serving.errors import RequestError, shown


def describe_models(state: Any) -> list[dict[str, Any]]:
    """vLLM's list without the folder in which each model lies."""
    models = state.openai_serving_models
    names = [base.name for base in models.base_model_paths]
    rows = [{"id": name, "parent": None} for name in names]
    rows += [{"id": lora, "parent": names[0]} for lora in models.lora_requests]
    length = state.engine_client.model_config.max_model_len
    common = {"object": "model", "owned_by": "borealis", "created": 0, "max_model_len": length}
    return [{**common, **row} for row in rows]


def check_model(name: str | None, state: Any) -> Any:
    """The LoRA of that name, or None for the model itself (and where no name is given).

    Raises:
        RequestError: there is no such model.
    """
    models = state.openai_serving_models
    if name is None or models.is_base_model(name):
        return None
    if name in models.lora_requests:
        return models.lora_requests[name]
    raise RequestError(
        f"There is no model '{shown(name)}' here; GET /v1/models tells the names.",
        404,
        "model",
        code="model_not_found",
    )
