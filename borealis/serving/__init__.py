"""Serving with vLLM: the plugin that makes Borealis a model of vLLM, and `borealis serve`."""
