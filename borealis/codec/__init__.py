"""Sound <-> codec tokens: EnCodec, Mimi, DAC and our own codec behind one door.

```python
from borealis.codec import CodecVocabulary

vocabulary = CodecVocabulary(num_codebooks=2, codebook_size=1024)
print(vocabulary.text([[5, 6], [17, 18]], marks=False))
#> <|audio:0:5|><|audio:1:17|><|audio:0:6|><|audio:1:18|>
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from borealis.lazy import lazily

if TYPE_CHECKING:
    from borealis.codec.codes import Codes, load_codes
    from borealis.codec.layouts import from_delay, from_flat, to_delay, to_flat
    from borealis.codec.loading import load_codec, load_refiner
    from borealis.codec.protocol import Codec, StreamDecoder, StreamEncoder, bits_per_second
    from borealis.codec.tokens import CodecVocabulary

# Public names and where they live: codes and tokens are handled without torch.
_PUBLIC = {
    "Codec": "borealis.codec.protocol",
    "CodecVocabulary": "borealis.codec.tokens",
    "Codes": "borealis.codec.codes",
    "StreamDecoder": "borealis.codec.protocol",
    "StreamEncoder": "borealis.codec.protocol",
    "bits_per_second": "borealis.codec.protocol",
    "from_delay": "borealis.codec.layouts",
    "from_flat": "borealis.codec.layouts",
    "load_codec": "borealis.codec.loading",
    "load_codes": "borealis.codec.codes",
    "load_refiner": "borealis.codec.loading",
    "to_delay": "borealis.codec.layouts",
    "to_flat": "borealis.codec.layouts",
}

__all__ = [
    "Codec",
    "CodecVocabulary",
    "Codes",
    "StreamDecoder",
    "StreamEncoder",
    "bits_per_second",
    "from_delay",
    "from_flat",
    "load_codec",
    "load_codes",
    "load_refiner",
    "to_delay",
    "to_flat",
]

__getattr__, __dir__ = lazily(__name__, _PUBLIC, globals())
