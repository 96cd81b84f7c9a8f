"""Log-mel -> ConvNeXt -> residual vector quantizer -> ConvNeXt -> spectra -> sound.

All work is done at the rate of frames, none at the rate of samples, so that a processor encodes and
decodes hundreds of seconds in one. Blocks: Liu et al., 2022, "A ConvNet for the 2020s"; synthesis
by inverse Fourier transform: Siuzdak, 2023, "Vocos"; residual quantization: Zeghidour et al., 2021,
"SoundStream".
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from borealis.codec.nano.configuration import BorealisCodecConfig
from borealis.codec.nano.refiner_configuration import CodeRefinerConfig

_FLOOR = 1e-3  # of mel magnitudes before the logarithm
_CENTRE, _SPREAD = -3.0, 2.5  # of log-mel values of speech, so that the network sees numbers near 1
_LOUDEST = 4.0  # logarithm of the largest magnitude that is synthesised


class BorealisCodec(PreTrainedModel):
    """16 kHz speech <-> codes of a residual quantizer.

    Args:
        config: sizes.
    """

    config_class = BorealisCodecConfig
    base_model_prefix = "codec"
    main_input_name = "input_values"
    config: BorealisCodecConfig

    def __init__(self, config: BorealisCodecConfig) -> None:
        super().__init__(config)
        self.encoder = CodecEncoder(config)
        self.quantizer = ResidualQuantizer(config)
        self.decoder = CodecDecoder(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Constants, which checkpoints don't hold; weights begin as torch's layers begin."""
        if isinstance(module, MelMagnitudes | CodecDecoder):
            module.set_constants()

    @torch.no_grad()
    def encode(self, input_values: torch.Tensor, num_codebooks: int | None = None) -> torch.Tensor:
        """Codes of a batch of recordings.

        Args:
            input_values: waveforms in -1..1, `[batch, samples]`; a last frame that isn't whole is
                filled up with silence.
            num_codebooks: how many of the quantizer's stages; all by default.

        Returns:
            Integers `[batch, codebooks, frames]`.
        """
        latents = self.encoder(self.whole_frames(input_values))
        codes, _ = self.quantizer(latents.float(), num_codebooks)
        return codes

    @torch.no_grad()
    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Sound of codes.

        Args:
            codes: `[batch, codebooks, frames]`; the first codebooks may stand alone.

        Returns:
            Waveforms `[batch, frames * hop_length]`.
        """
        return self.decoder(self.quantizer.look_up(codes))

    def forward(self, input_values: torch.Tensor, num_codebooks: int | None = None) -> torch.Tensor:
        """Encode and decode: waveforms `[batch, samples]` -> as many samples."""
        codes = self.encode(input_values, num_codebooks)
        return self.decode(codes)[:, : input_values.shape[1]]

    def whole_frames(self, waveforms: torch.Tensor) -> torch.Tensor:
        """`[batch, samples]` with silence after it up to a whole frame."""
        return F.pad(waveforms, (0, -waveforms.shape[-1] % self.config.hop_length))


class CodecEncoder(nn.Module):
    """Waveforms `[batch, frames * hop_length]` -> latents `[batch, frames, latent_size]`."""

    def __init__(self, config: BorealisCodecConfig) -> None:
        super().__init__()
        self.mel = MelMagnitudes(
            config.sampling_rate, config.mel_window, config.mel_hop, config.num_mel_bins
        )
        self.stack = config.hop_length // config.mel_hop
        self.project_in = nn.Linear(config.num_mel_bins * self.stack, config.hidden_size)
        self.blocks = nn.Sequential(
            *(ConvNextBlock(config, config.encoder_layers) for _ in range(config.encoder_layers))
        )
        self.norm = nn.LayerNorm(config.hidden_size)
        self.project_out = nn.Linear(config.hidden_size, config.latent_size)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        mel = self.mel(waveforms)  # [batch, frames * stack, mel bins]
        mel = ((mel + _FLOOR).log() - _CENTRE) / _SPREAD
        batch, frames, bins = mel.shape
        hidden = self.project_in(mel.reshape(batch, frames // self.stack, bins * self.stack))
        return self.project_out(self.norm(self.blocks(hidden)))


class ResidualQuantizer(nn.Module):
    """Codebooks, each for what those before it left over: `codebooks [books, size, latent_size]`.

    They are no parameters: training moves them by averages, not by gradients; see
    `borealis.training.codec.codebooks`.
    """

    codebooks: torch.Tensor

    def __init__(self, config: BorealisCodecConfig) -> None:
        super().__init__()
        shape = (config.num_codebooks, config.codebook_size, config.latent_size)
        self.register_buffer("codebooks", torch.randn(shape) / math.sqrt(config.latent_size))

    def forward(
        self, latents: torch.Tensor, num_codebooks: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Quantize.

        Args:
            latents: `[batch, frames, latent_size]`.
            num_codebooks: how many; all by default.

        Returns:
            Codes `[batch, books, frames]`, and what each book adds to the sum that stands for the
            latents `[books, batch, frames, latent_size]`.
        """
        rest, codes, parts = latents, [], []
        for book in self.codebooks[:num_codebooks]:
            nearest = nearest_entries(rest, book)
            part = F.embedding(nearest, book)
            rest = rest - part
            codes.append(nearest)
            parts.append(part)
        return torch.stack(codes, 1), torch.stack(parts)

    def look_up(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes `[batch, books, frames]` -> `[batch, frames, latent_size]`."""
        parts = [F.embedding(codes[:, i], self.codebooks[i]) for i in range(codes.shape[1])]
        return torch.stack(parts).sum(0)


def nearest_entries(vectors: torch.Tensor, book: torch.Tensor) -> torch.Tensor:
    """Index of the entry of `book` `[size, d]` nearest to each of `vectors` `[..., d]`."""
    return (book.square().sum(-1) - 2 * vectors @ book.T).argmin(-1)


class CodecDecoder(nn.Module):
    """Latents `[batch, frames, latent_size]` -> waveforms `[batch, frames * hop_length]`."""

    window: torch.Tensor

    def __init__(self, config: BorealisCodecConfig) -> None:
        super().__init__()
        self.hop, self.size = config.synthesis_hop, config.synthesis_window
        self.finer = config.hop_length // config.synthesis_hop
        self.project_in = nn.Linear(config.latent_size, config.hidden_size * self.finer)
        self.convolution = nn.Conv1d(
            config.hidden_size,
            config.hidden_size,
            config.kernel_size,
            padding=config.kernel_size // 2,
        )
        self.norm_in = nn.LayerNorm(config.hidden_size)
        self.blocks = nn.Sequential(
            *(ConvNextBlock(config, config.decoder_layers) for _ in range(config.decoder_layers))
        )
        self.norm_out = nn.LayerNorm(config.hidden_size)
        # Logarithms of magnitudes, and phases.
        self.spectrum = nn.Linear(config.hidden_size, config.synthesis_window + 2)
        self.register_buffer("window", torch.empty(self.size), persistent=False)
        self.set_constants()

    def set_constants(self) -> None:
        """Fill the buffers that checkpoints don't hold."""
        self.window.copy_(torch.hann_window(self.size))

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        batch, frames, _ = latents.shape
        hidden = self.project_in(latents).reshape(batch, frames * self.finer, -1)
        hidden = self.norm_in(self.convolution(hidden.transpose(1, 2)).transpose(1, 2))
        spectrum = self.spectrum(self.norm_out(self.blocks(hidden)))
        return self._synthesise(spectrum.float())

    def _synthesise(self, spectrum: torch.Tensor) -> torch.Tensor:
        """Overlap and add `[batch, T, size + 2]`: the middle of frame i is at (i + 1/2) hops."""
        logs, phases = spectrum.chunk(2, -1)
        spectra = torch.polar(logs.clamp(max=_LOUDEST).exp(), phases)
        pieces = torch.fft.irfft(spectra, n=self.size) * self.window  # [batch, T, size]
        sound = self._add(pieces)
        weight = self._add(self.window.square().expand(1, pieces.shape[1], -1))
        # Only the very ends are covered by less than a window, and the cut takes these away.
        cut, length = (self.size - self.hop) // 2, pieces.shape[1] * self.hop
        whole = slice(cut, cut + length)
        return sound[:, whole] / weight[:, whole].clamp(min=1e-2)

    def _add(self, pieces: torch.Tensor) -> torch.Tensor:
        length = (pieces.shape[1] - 1) * self.hop + self.size
        folded = F.fold(pieces.transpose(1, 2), (1, length), (1, self.size), stride=(1, self.hop))
        return folded[:, 0, 0]


class ConvNextBlock(nn.Module):
    """Depthwise convolution over frames and a feed-forward layer: `[batch, T, hidden_size]`."""

    def __init__(self, config: BorealisCodecConfig | CodeRefinerConfig, layers: int) -> None:
        super().__init__()
        size, kernel = config.hidden_size, config.kernel_size
        self.convolution = nn.Conv1d(size, size, kernel, padding=kernel // 2, groups=size)
        self.norm = nn.LayerNorm(size)
        self.up = nn.Linear(size, config.intermediate_size)
        self.down = nn.Linear(config.intermediate_size, size)
        self.scale = nn.Parameter(torch.full((size,), 1 / layers))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        mixed = self.convolution(hidden.transpose(1, 2)).transpose(1, 2)
        return hidden + self.scale * self.down(F.gelu(self.up(self.norm(mixed))))


class MelMagnitudes(nn.Module):
    """Magnitudes in mel bands: waveforms `[batch, frames * hop]` -> `[batch, frames, bins]`.

    The middle of a frame is the middle of its hop; beyond the ends there is silence.
    """

    window: torch.Tensor
    bands: torch.Tensor

    def __init__(self, sampling_rate: int, size: int, hop: int, bins: int) -> None:
        super().__init__()
        self.size, self.hop, self.sampling_rate = size, hop, sampling_rate
        self.register_buffer("window", torch.empty(size), persistent=False)
        self.register_buffer("bands", torch.empty(size // 2 + 1, bins), persistent=False)
        self.set_constants()

    def set_constants(self) -> None:
        """Fill the buffers that checkpoints don't hold."""
        self.window.copy_(torch.hann_window(self.size))
        self.bands.copy_(mel_bands(self.sampling_rate, self.size, self.bands.shape[1]))

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        edge = (self.size - self.hop) // 2
        spectra = torch.stft(
            F.pad(waveforms.float(), (edge, edge)),
            self.size,
            self.hop,
            window=self.window,
            center=False,
            return_complex=True,
        )
        # Not abs(): its gradient has no value at zero.
        magnitudes = (spectra.real.square() + spectra.imag.square() + 1e-9).sqrt()
        return magnitudes.transpose(1, 2) @ self.bands / math.sqrt(self.size)


def mel_bands(sampling_rate: int, size: int, bins: int) -> torch.Tensor:
    """Triangles that are evenly spaced on the mel scale (HTK): `[size // 2 + 1, bins]`."""
    top = 2595 * math.log10(1 + sampling_rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, bins + 2) / 2595) - 1)
    frequencies = torch.linspace(0, sampling_rate / 2, size // 2 + 1)[:, None]
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0)
