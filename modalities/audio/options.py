"""The [data] and [model] sections of an audio recipe, and the options of `toolkit sample`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from toolkit.recipe.options import Options


class Data(Options):
    """Source, rate, length, labels, level and augmentation of the sounds."""

    source: str = Field(default="drums", min_length=1)
    """drums or fsdd; else a folder of WAV, AIFF, CAF, AU, FLAC, OGG and MP3 files, as a path or below TOOLKIT_DATA. A
    folder that is called like a data set is written ./drums."""
    rate: int | None = Field(default=None, ge=2_000, le=192_000)
    """Sample rate in Hz; all files are resampled to it. Default: the commonest rate of the files, 16,000 at most."""
    seconds: float | None = Field(default=None, gt=0, le=60)
    """Duration of one example. Default: long enough for 95 % of the files, 1 s at most."""
    clips: Literal["auto", "all", "first"] = "auto"
    """Clips of a file longer than one example. all: one clip each half length, to the end; first: the beginning alone;
    auto: the beginning of a sound that dies away, which has 80 % of its energy there and is 6 dB quieter behind it,
    and all clips of others; a vocoder gets all of each."""
    channels: Literal[1, 2] = 1
    """Mono or stereo; other layouts are mixed down, mono files play on both sides."""
    labels: str = Field(default="auto", min_length=1)
    """auto: by a metadata file, else by the outermost folders; folders, folders:2 (of the second level), parent (the
    folder that a file lies in), metadata, none; or a pattern for file names such as {label}_{}_{}, in which {label} is
    kept, {} is not, and several {label} are joined by a hyphen."""
    splits: Literal["auto", "none"] = "auto"
    """auto: folders called train, test, val ... by their usual names, or a metadata file's column; none: 5 % are held
    out by a hash of their names."""
    loudness: Literal["peak", "rms", "lufs", "none"] = "peak"
    """Measure that is made equal: the largest sample, the mean power, the loudness of ITU-R BS.1770, or none."""
    level: float | None = Field(default=None, ge=-60, le=0)
    """Target of that measure in dB relative to full scale (LUFS for lufs). Default: peak -0.45, rms -20, lufs -23. A
    file whose peak would pass full scale is scaled down to it."""
    trim: float = Field(default=60.0, ge=0, le=120)
    """Level of silence, which is cut at both ends, in dB below the file's peak; 0 keeps it."""
    silence: float = Field(default=-60.0, ge=-150, le=-10)
    """Peak below which a file, or a clip of a long one, is silence and left out, in dB relative to full scale, as it
    was recorded; -150: nothing but zeros is."""
    dc: bool = True
    """Remove a constant offset, before anything is measured or cut."""
    emphasis: float = Field(default=0.0, ge=0, lt=1)
    """Pre-emphasis y[n] = x[n] - emphasis x[n-1] before the network, undone after it: evens out a spectrum that falls
    with frequency, so that the treble is learned as early as the bass."""
    limit: int | None = Field(default=None, ge=1)
    """Largest number of training clips, and of test clips."""
    gain: float = Field(default=0.0, ge=0, le=24)
    """Largest random gain, up or down, in dB."""
    polarity: bool = True
    """Invert the waveform with probability 1/2; it sounds the same."""
    shift: float = Field(default=0.0, ge=0, le=1)
    """Largest random delay in seconds."""
    speed: float = Field(default=0.0, ge=0, lt=0.5)
    """Largest random change of speed as a share, 0.05 = 5 %; it moves the pitch too."""


class Model(Options):
    """Network, its size and its condition."""

    preset: Literal["tiny", "small", "base", "dilated", "diffwave"] = "small"
    """Size of the network over time and frequency; dilated: a dilated UNet over the waveform in time alone; diffwave:
    DiffWave, on the waveform itself."""
    width: int | None = Field(default=None, ge=8, le=512, multiple_of=8)
    """Channels of the first level, in place of the preset's."""
    condition: Literal["none", "mel"] = "none"
    """mel: a vocoder, which turns the mel spectrogram of a sound into the sound."""
    mels: int = Field(default=64, ge=8, le=256)
    """Bands of that mel spectrogram."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of features that are left out at random in training."""

    @model_validator(mode="after")
    def _no_dilated_vocoder(self) -> Model:
        if self.preset == "dilated" and self.condition == "mel":
            raise ValueError("preset dilated is no vocoder; take tiny, small, base or diffwave for condition mel")
        return self


class SampleOptions(Options):
    """Options of a sample besides its label."""

    seconds: float | None = Field(default=None, gt=0, le=600)
    """Duration. Default: drawn from those of the training clips with the same label."""
    mel: str | None = None
    """Sound file whose mel spectrogram is turned into sound, by a model that was trained with --condition mel."""
    iterations: int | None = Field(default=None, ge=0, le=10_000)
    """Iterations of Griffin-Lim, which move the output of such a model to that spectrogram. Default: 32; 0: none."""
    join: Literal["windows", "whole"] = "windows"
    """Method for sounds longer than the training clips: overlapping windows of their length, or one piece."""
    format: Literal["wav", "flac", "float"] = "wav"
    """16-bit WAV, 16-bit FLAC, or 32-bit float WAV."""
