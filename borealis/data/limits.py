"""Which clips training takes by default, so that others are told before."""

# Seconds. Those of a recipe's source are the same; a test compares them.
SHORTEST_SECONDS = 0.2
LONGEST_SECONDS = 30.0
# RMS of the loudest 100 ms: quieter than this nobody speaks.
SILENCE_DB = -60.0
