"""Our own small codec for 16 kHz speech: transformers models that `borealis train` can make."""

from borealis.codec.nano.configuration import BorealisCodecConfig
from borealis.codec.nano.modeling import BorealisCodec
from borealis.codec.nano.refiner import CodeRefiner, RefinerStream
from borealis.codec.nano.refiner_configuration import CodeRefinerConfig

__all__ = [
    "BorealisCodec",
    "BorealisCodecConfig",
    "CodeRefiner",
    "CodeRefinerConfig",
    "RefinerStream",
]
