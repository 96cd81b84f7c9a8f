"""Speech as a stream of symbols and codec tokens: what a model writes when it speaks."""
