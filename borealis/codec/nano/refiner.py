"""The finer codebooks of speech, told from the coarsest ones, the text and the voice.

A language model that speaks writes few codes a second; what they leave open is mostly decided by
which sound it is and who speaks. ConvNeXt blocks estimate what the codec's decoder would read if
all codebooks were there, and that is quantized by the codebooks that are missing. A frame depends
on a bounded number of frames to both sides, so speech can be completed as it is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from borealis.codec.codes import checked
from borealis.codec.nano.modeling import ConvNextBlock, nearest_entries
from borealis.codec.nano.refiner_configuration import CodeRefinerConfig
from borealis.codec.protocol import check_codes
from borealis.errors import CodecError

if TYPE_CHECKING:
    from borealis.codec.protocol import Codec

_STREAM_FRAMES = 8  # that a stream completes at once, at least


class CodeRefiner(PreTrainedModel):
    """Completes codes of speech whose text, durations and voice are known.

    Args:
        config: sizes, symbols, voices.
    """

    config_class = CodeRefinerConfig
    base_model_prefix = "refiner"
    main_input_name = "codes"
    config: CodeRefinerConfig
    centre: torch.Tensor
    spread: torch.Tensor

    def __init__(self, config: CodeRefinerConfig) -> None:
        super().__init__(config)
        size = config.hidden_size
        self.books = nn.ModuleList(
            nn.Embedding(config.codebook_size, size) for _ in range(config.given_codebooks)
        )
        self.symbols = nn.ModuleList(  # by how far a symbol is from that of the frame
            nn.Embedding(len(config.symbols) + 1, size) for _ in range(2 * config.neighbours + 1)
        )
        self.since = nn.Embedding(config.counted_frames + 1, size)
        self.until = nn.Embedding(config.counted_frames + 1, size)
        self.voices = nn.Embedding(len(config.voices) + 1, size)
        self.norm_in = nn.LayerNorm(size)
        self.blocks = nn.ModuleList(
            ConvNextBlock(config, config.num_layers) for _ in range(config.num_layers)
        )
        self.norm_out = nn.LayerNorm(size)
        self.project_out = nn.Linear(size, config.latent_size)
        # Of what the given codebooks leave over: the network sees numbers near 1.
        self.register_buffer("centre", torch.zeros(config.latent_size))
        self.register_buffer("spread", torch.ones(()))
        self._kept: WeakKeyDictionary[Any, list[torch.Tensor]] = WeakKeyDictionary()
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Weights begin as torch's layers begin."""

    def forward(
        self,
        codes: torch.Tensor,
        places: torch.Tensor,
        voices: torch.Tensor,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What the missing codebooks should add.

        Args:
            codes: given ones `[batch, given_codebooks, frames]`.
            places: of the frames in the text, see `places_of`; `[batch, frames, features]`.
            voices: numbers `[batch]`, see `voice_number`.
            mask: true where there is a frame `[batch, frames]`; everywhere if None.

        Returns:
            Latents `[batch, frames, latent_size]`, those of the given codebooks taken off.
        """
        hidden = self.voices(voices)[:, None] + self.since(places[..., -2])
        hidden = hidden + self.until(places[..., -1])
        for number, book in enumerate(self.books):
            hidden = hidden + book(codes[:, number])
        for number, table in enumerate(self.symbols):
            hidden = hidden + table(places[..., number])
        hidden = self.norm_in(hidden)
        for block in self.blocks:
            # Beyond its ends a text has no frames, in a batch as alone.
            hidden = block(hidden if mask is None else hidden * mask[..., None])
        return self.project_out(self.norm_out(hidden)) * self.spread + self.centre

    # ---- numpy in, numpy out ----

    def complete(
        self,
        codec: Codec,
        codes: np.ndarray,
        symbols: str,
        durations: np.ndarray,
        voice: str | None = None,
    ) -> np.ndarray:
        """Codes of all codebooks.

        Args:
            codec: whose codes they are; its codebooks must add up, see `Codec.look_up`.
            codes: integers `[given_codebooks, frames]`, which stay as they are.
            symbols: what is said.
            durations: frames of each symbol, `[symbols]`, in sum `frames`.
            voice: who says it; None: a voice that the network doesn't know.

        Returns:
            int32 `[num_codebooks, frames]`.

        Raises:
            CodecError: a symbol or voice that it doesn't know, shapes that don't fit together, or a
                codec of other sizes.
        """
        given = self._given(codec, codes)
        lasting = _whole_numbers(durations)
        if len(lasting) != len(symbols):
            raise CodecError(
                f"{len(symbols)} symbols have {len(lasting)} durations; one each is needed."
            )
        if lasting.sum() != given.shape[1]:
            raise CodecError(
                f"The durations are {lasting.sum()} frames in all, and there are codes of "
                f"{given.shape[1]}."
            )
        numbers, own = self.symbol_numbers(symbols), self.voice_number(voice)
        return self._completed(codec, given, places_of(numbers, lasting, self.config), own)

    def stream(self, codec: Codec, symbols: str, voice: str | None = None) -> RefinerStream:
        """Completes codes as they are written; see `RefinerStream`.

        Args:
            codec: see `complete`.
            symbols: all that will be said.
            voice: see `complete`.

        Raises:
            CodecError: a symbol or voice that the network doesn't know, a codec of other sizes.
        """
        return RefinerStream(self, codec, symbols, voice)

    def voice_number(self, voice: str | None) -> int:
        """The embedding of a voice; 0 for an unknown one.

        Raises:
            CodecError: there is no such voice.
        """
        if voice is None:
            return 0
        if voice not in self.config.voices:
            known = ", ".join(self.config.voices) or "none"
            raise CodecError(f"The refiner doesn't know the voice '{voice}'; it knows {known}.")
        return self.config.voices.index(voice) + 1

    def symbol_numbers(self, symbols: str) -> np.ndarray:
        """Numbers of symbols, from 1; 0 is none. int64 `[symbols]`.

        Raises:
            CodecError: one that the network doesn't know, or none at all.
        """
        if not symbols:
            raise CodecError("There are no symbols: nothing is said.")
        numbers = np.array([self.config.symbols.find(symbol) + 1 for symbol in symbols])
        if not numbers.all():
            wrong = symbols[int(numbers.argmin())]
            raise CodecError(f"The refiner doesn't know the symbol {wrong!r}; leave it out.")
        return numbers

    def tables(self, codec: Codec) -> list[torch.Tensor]:
        """Entries of each codebook of a codec, `[codebook_size, latent_size]`; kept once read.

        Raises:
            CodecError: the codec has other sizes than the network was made for.
        """
        if codec not in self._kept:
            config = self.config
            sizes = (codec.num_codebooks, codec.codebook_size)
            if sizes != (config.num_codebooks, config.codebook_size):
                raise CodecError(
                    f"'{codec.name}' has {sizes[0]} codebooks of {sizes[1]} codes, and the refiner "
                    f"is of a codec with {config.num_codebooks} of {config.codebook_size}."
                )
            self._kept[codec] = codebook_entries(codec, config.num_codebooks)
            width = self._kept[codec][0].shape[1]
            if width != config.latent_size:
                del self._kept[codec]
                raise CodecError(
                    f"The decoder of '{codec.name}' reads {width} numbers a frame, and the refiner "
                    f"gives {config.latent_size}: it is of another codec."
                )
        if self._kept[codec][0].device != self.device:
            self._kept[codec] = [table.to(self.device) for table in self._kept[codec]]
        return self._kept[codec]

    def _given(self, codec: Codec, codes: np.ndarray) -> np.ndarray:
        self.tables(codec)
        given = checked(codes)
        if given.shape[0] != self.config.given_codebooks:
            raise CodecError(
                f"Codes of {given.shape[0]} codebooks were given; the refiner goes on from "
                f"{self.config.given_codebooks}."
            )
        check_codes(codec, given)
        return given

    @torch.inference_mode()
    def _completed(
        self, codec: Codec, given: np.ndarray, places: np.ndarray, voice: int
    ) -> np.ndarray:
        codes = torch.tensor(given, dtype=torch.long, device=self.device)
        if not codes.shape[1]:
            return np.zeros((self.config.num_codebooks, 0), np.int32)
        where = torch.tensor(places, dtype=torch.long, device=self.device)
        rest = self(codes[None], where[None], torch.tensor([voice], device=self.device))[0].float()
        found = list(codes)
        for table in self.tables(codec)[len(found) :]:
            found.append(nearest_entries(rest, table))
            rest = rest - F.embedding(found[-1], table)
        return torch.stack(found).to(torch.int32).cpu().numpy()


class RefinerStream:
    """Completes codes as they are written; all that it gives, joined, is what `complete` gives.

    Args:
        refiner: whose stream it is.
        codec: see `CodeRefiner.complete`.
        symbols: all that will be said.
        voice: who says it.

    Raises:
        CodecError: see `CodeRefiner.stream`.
    """

    def __init__(self, refiner: CodeRefiner, codec: Codec, symbols: str, voice: str | None) -> None:
        refiner.tables(codec)
        self.refiner, self.codec = refiner, codec
        self._voice, self._symbols = refiner.voice_number(voice), refiner.symbol_numbers(symbols)
        self._over = np.zeros(0, np.int64)  # durations of the symbols that are over
        self._codes = np.zeros((refiner.config.given_codebooks, 0), np.int32)
        self._done = 0  # frames that were given
        self._finished = False

    def push(self, codes: np.ndarray, durations: np.ndarray) -> np.ndarray:
        """Take what was written.

        Args:
            codes: of the frames since the last call `[given_codebooks, frames]`; none is fine.
            durations: frames of the symbols that ended since the last call, `[symbols]`; frames
                behind them belong to the symbol that follows.

        Returns:
            int32 `[num_codebooks, n]`: of the frames that are certain now.

        Raises:
            CodecError: the stream is finished, or what is given doesn't fit together.
        """
        self._take(codes, durations)
        frames, ended = self._codes.shape[1], int(self._over.sum())
        # How near its end a frame is must be known, or that it is far from it.
        counted = self.refiner.config.counted_frames
        known = max(ended, frames - counted) if len(self._over) < len(self._symbols) else frames
        certain = known - self.refiner.config.context
        if certain - self._done < _STREAM_FRAMES:
            return self._give(self._done, known)
        return self._give(certain, known)

    def finish(self) -> np.ndarray:
        """The codes that are left; nothing can be pushed afterwards.

        A symbol that isn't over ends here, and what would follow isn't said.
        """
        self._take(self._codes[:, :0], np.zeros(0, np.int64))
        self._finished = True
        frames = self._codes.shape[1]
        return self._give(frames, frames)

    def _take(self, codes: np.ndarray, durations: np.ndarray) -> None:
        if self._finished:
            raise CodecError("The stream is finished; begin a new one.")
        given = self.refiner._given(self.codec, codes)
        over = np.concatenate([self._over, _whole_numbers(durations)])
        if len(over) > len(self._symbols):
            raise CodecError(
                f"{len(over)} symbols are over, and the text has {len(self._symbols)}."
            )
        frames = self._codes.shape[1] + given.shape[1]
        if over.sum() > frames or (len(over) == len(self._symbols) and over.sum() < frames):
            raise CodecError(
                f"The symbols that are over last {over.sum()} frames, and codes of {frames} were "
                "given."
            )
        self._codes, self._over = np.concatenate([self._codes, given], 1), over

    def _give(self, end: int, known: int) -> np.ndarray:
        """Codes of the frames up to `end`, told from those up to `known`."""
        first = max(0, self._done - self.refiner.config.context)
        inside = slice(self._done - first, end - first)
        if end == self._done:
            return np.zeros((self.refiner.config.num_codebooks, 0), np.int32)
        lasting = np.zeros(len(self._symbols), np.int64)
        lasting[: len(self._over)] = self._over
        if len(self._over) < len(lasting):
            lasting[len(self._over)] = self._codes.shape[1] - self._over.sum()
        places = places_of(self._symbols, lasting, self.refiner.config)[first:known]
        codes = self._codes[:, first:known]
        found = self.refiner._completed(self.codec, codes, places, self._voice)
        self._done = end
        return found[:, inside]


def places_of(numbers: np.ndarray, durations: np.ndarray, config: CodeRefinerConfig) -> np.ndarray:
    """Where frames are in a text.

    Args:
        numbers: of its symbols, see `CodeRefiner.symbol_numbers`; `[symbols]`.
        durations: frames of each, `[symbols]`.
        config: how much a frame knows.

    Returns:
        int64 `[frames, features]`: numbers of the symbols around, frames since the symbol of the
        frame began, frames until it ends.
    """
    reach, most = config.neighbours, config.counted_frames
    durations = np.asarray(durations, np.int64)
    owners = np.repeat(np.arange(len(durations)), durations)
    around = np.pad(numbers, reach)
    columns = [around[owners + i] for i in range(2 * reach + 1)]
    ends = np.cumsum(durations)
    frames = np.arange(len(owners))
    columns.append((frames - (ends - durations)[owners]).clip(max=most))
    columns.append((ends[owners] - 1 - frames).clip(max=most))
    return np.stack(columns, 1)


def codebook_entries(codec: Codec, num_codebooks: int) -> list[torch.Tensor]:
    """What each code of each codebook adds to what a codec's decoder reads.

    Args:
        codec: its codebooks add up.
        num_codebooks: how many of them.

    Returns:
        float32 `[codebook_size, width]` of each codebook.
    """
    every = np.arange(codec.codebook_size, dtype=np.int32)
    tables: list[torch.Tensor] = []
    before: np.ndarray | float = 0.0
    for number in range(num_codebooks):
        codes = np.zeros((number + 1, len(every)), np.int32)
        codes[-1] = every
        sums = codec.look_up(codes)
        tables.append(torch.from_numpy(sums - before))
        before = sums[:1]
    return tables


def _whole_numbers(durations: Any) -> np.ndarray:
    """Durations, checked: int64 `[n]`, 0 or more.

    Raises:
        CodecError: they aren't such numbers.
    """
    array = np.asarray(durations)
    if array.ndim != 1 or (array.size and (array.dtype.kind not in "iu" or array.min() < 0)):
        raise CodecError("Durations are whole numbers of frames, 0 or more: [symbols].")
    return array.astype(np.int64)
