"""Reading letters off CTC posteriors: alphabet, beam search, n-gram, known words, alignment.

Knows no language model and no audio: what comes in are log probabilities `[frames, classes]`.
"""
