"""Our own small codec for 16 kHz speech: a transformers model that `borealis train` can make."""

from borealis.codec.nano.configuration import BorealisCodecConfig
from borealis.codec.nano.modeling import BorealisCodec

__all__ = ["BorealisCodec", "BorealisCodecConfig"]
