"""Complete the codes of a text with a tiny network of random weights: only the shapes matter.

Run it with `python examples/code_refiner.py`.
"""

# --8<-- [start:complete]
import numpy as np

from borealis.codec.nano import BorealisCodec, BorealisCodecConfig, CodeRefiner, CodeRefinerConfig
from borealis.codec.windowed import WindowedCodec

codec = WindowedCodec(BorealisCodec(BorealisCodecConfig(hidden_size=32)), "tiny")
config = CodeRefinerConfig(symbols=" .ад", voices=["anna"], hidden_size=32, num_layers=2)
refiner = CodeRefiner(config).eval()

symbols, durations = " да.", np.array([3, 2, 5, 4])  # in frames of 40 ms
first = np.random.default_rng(0).integers(1024, size=(1, 14))  # what a language model wrote

whole = refiner.complete(codec, first, symbols, durations, "anna")
print("codes:", whole.shape, "first book as it was:", (whole[0] == first[0]).all())

stream = refiner.stream(codec, symbols, "anna")
parts = [stream.push(first[:, :10], durations[:3]), stream.push(first[:, 10:], durations[3:])]
joined = np.concatenate([*parts, stream.finish()], 1)
print("the stream gives the same:", (joined == whole).all())
# --8<-- [end:complete]
