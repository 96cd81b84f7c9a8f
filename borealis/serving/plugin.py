"""What vLLM calls at the start of each of its processes (entry point `vllm.general_plugins`)."""


def register() -> None:
    """Tell vLLM and transformers about Borealis. May be called any number of times."""
    from vllm import ModelRegistry

    import borealis.model  # noqa: F401  (registers config, processor and model with Auto*)

    # As a string: vLLM imports the class only where a Borealis is loaded.
    name = "BorealisForConditionalGeneration"
    if name not in ModelRegistry.get_supported_archs():
        ModelRegistry.register_model(name, f"borealis.serving.model:{name}")
