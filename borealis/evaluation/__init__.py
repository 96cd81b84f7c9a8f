"""Measuring: text normalisation, error rates, question tasks, result files."""
