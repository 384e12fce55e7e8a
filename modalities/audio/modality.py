"""Sounds as a modality: raw clips are (B, C, L) float32 in [-1, 1], zero beyond each clip's end; C = 1 or 2."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import PIL.Image
import torch
from torch import Tensor, nn

from modalities.audio import conditioning as requests
from modalities.audio import griffin_lim as polish
from modalities.audio import mel, options
from modalities.audio.data import augment
from modalities.audio.data import decode as sound
from modalities.audio.data.cache import Corpus
from modalities.audio.data.dataset import Clips
from modalities.audio.data.dataset import read as read_corpus
from modalities.audio.emphasis import emphasise, undo
from modalities.audio.view import files, page
from modalities.audio.view import picture as preview
from toolkit.diffusion.denoiser import Denoiser
from toolkit.diffusion.loss import TimeDistribution
from toolkit.diffusion.randomness import Draws
from toolkit.diffusion.schedule import Schedule
from toolkit.errors import DataError, UsageError
from toolkit.evaluation.table import EvaluationResult, Figure, Wishes
from toolkit.modality import Examples, Facts, Inspection, Modality, Options, Request

LOWEST_SNR_DB = -30.0
"""What an unconditional schedule must reach at t = 1."""
LOUDEST = 1 - 2**-15
"""The largest sample that 16 bits hold."""
_LISTED = 1_000


class Audio(Modality):
    """Raw waveforms of one rate, each as long as it is, with or without labels; or a vocoder for them."""

    name = "audio"
    default_recipe: ClassVar[str | Mapping[str, Any]] = "audio/drums"
    shown: ClassVar[tuple[int, int]] = (24, 48)
    Data: ClassVar[type[Options]] = options.Data
    Model: ClassVar[type[Options]] = options.Model
    Ask: ClassVar[type[Options]] = options.Ask
    grain = requests.GRAIN
    data: options.Data
    model: options.Model
    _corpus: Corpus | None = None

    @property
    def rate(self) -> int:
        """Samples a second."""
        return int(self.facts.extra["rate"])  # type: ignore[arg-type]

    @property
    def mel(self) -> mel.MelSpec:
        """The spectrogram that a vocoder is given."""
        return mel.default(self.rate, self.model.mels)

    @property
    def vocoder(self) -> bool:
        """Whether the network is told a mel spectrogram; it is then told no label."""
        return self.model.condition == "mel"

    def read_data(self, cache: Path, notify: Callable[[str], None]) -> Facts:
        """Decode the source, or find it decoded. Raises DataError, UsageError, StorageError."""
        corpus = self._corpus = read_corpus(self.data, cache, notify)
        rejected = corpus.rejected[:_LISTED]
        if len(rejected) < len(corpus.rejected):
            rejected += (f"... and {len(corpus.rejected) - _LISTED} more",)
        train = Clips(corpus, test=False)
        return Facts(
            shape=(self.data.channels, corpus.length),
            labels=() if self.vocoder else corpus.names,
            std=corpus.std,
            count=len(train),
            rejected=rejected,
            extra={
                "rate": corpus.rate,
                "channels": self.data.channels,
                "test": int(corpus.test.sum()),
                "durations": requests.quantiles(train.lengths / corpus.rate, train.labels, len(corpus.names)),
            },
        )

    def dataset(self, split: str) -> Clips:
        """The split "train" or "test", which may be empty. Raises UsageError."""
        if split not in ("train", "test"):
            raise UsageError(f"unknown split '{split}'; known: train, test")
        if self._corpus is None:
            raise RuntimeError("the data has not been opened: call open() first")
        return Clips(self._corpus, test=split == "test")

    def network(self) -> nn.Module:
        """The network that [model] asks for: (B, C, L) -> (B, C, L). Raises UsageError."""
        from modalities.audio.network.presets import build

        mel = self.mel if self.vocoder else None
        return build(self.model, self.shape[0], len(self.labels), mel, self.facts.std)

    def network_notes(self, net: nn.Module) -> list[tuple[str, str]]:
        """How far the network sees, beside the length of a clip."""
        from modalities.audio.network.presets import reach

        field, everywhere = reach(net)
        seconds, clip = field / self.rate, self.shape[-1] / self.rate
        sees = f"{field:,} samples ({seconds:.2f} s) by convolution" + (", all by attention" if everywhere else "")
        if everywhere or field >= self.shape[-1] or self.vocoder:
            return [("receptive field", sees)]
        warning = f"WARNING: shorter than the clip ({clip:.2f} s), so its parts will not know of each other"
        return [("receptive field", f"{sees}; {warning}")]

    def review(self, schedule: Schedule) -> None:
        """Refuse to learn sound from nothing under a schedule that does not end in noise."""
        end = float(schedule.log_snr(torch.ones((), dtype=torch.float64))) * 4.342944819032518
        if not self.vocoder and end > LOWEST_SNR_DB:
            raise UsageError(
                f"diffusion.schedule {schedule!r} ends at a signal-to-noise ratio of {end:.1f} dB: sampling starts "
                f"from noise alone, which such a model never met, so all it makes sounds alike. Take a schedule that "
                f"ends below {LOWEST_SNR_DB:.0f} dB, such as flow or cosine, or set zero_terminal_snr = true"
            )

    def prepare(self, examples: Examples, draws: Draws) -> Examples:
        """Augment, cut to the longest of the batch, and say where each clip ends: mask, seconds, perhaps mel."""
        raw, length = augment.augment(examples.raw, examples.cond["length"], self.data, self.rate, draws)
        frames = requests.rounded(int(length.max()), self.shape[-1])
        raw = raw[..., :frames].contiguous()
        cond = requests.conditions(length, frames, self.shape[-1])
        if self.vocoder:
            cond["mel"] = mel.normalise(mel.log_mel(raw, self.mel))
        elif "label" in examples.cond:
            cond["label"] = examples.cond["label"]
        return Examples(raw, cond)

    def augment_note(self) -> str:
        return augment.note(self.data)

    def encode(self, raw: Tensor) -> Tensor:
        """Samples to model space: pre-emphasised and divided by the training set's deviation. (B, C, L), float32."""
        return emphasise(raw.float(), self.data.emphasis) / self.facts.std

    def decode(self, x: Tensor) -> Tensor:
        """The inverse of `encode`; exact zeros at an end stay, and a clip beyond full scale is turned down to it."""
        x = x.float()
        inside = torch.arange(x.shape[-1], device=x.device) < files.ends(x)[:, None, None]
        raw = undo(x * self.facts.std, self.data.emphasis) * inside
        return raw / (raw.abs().amax((1, 2), keepdim=True) / LOUDEST).clamp(min=1)

    def requests(self, ask: Options, labels: Tensor | None, seed: int, positions: Sequence[int]) -> list[Request]:
        """Clips of the asked or a drawn duration, or of the sound file whose mel spectrogram is given."""
        assert isinstance(ask, options.Ask)
        trained = self.shape[-1]
        if ask.iterations is not None and not self.vocoder:
            raise UsageError("--iterations is for a run that was trained with --condition mel; this one was not")
        if ask.mel is not None:
            if not self.vocoder:
                raise UsageError("--mel needs a run that was trained with --condition mel; this one was not")
            if ask.seconds is not None:
                raise UsageError("--mel fixes the duration; leave --seconds out")
            return [requests.of_sound(self.read(Path(ask.mel)), self.mel, self.shape, len(positions), ask.join)]
        if self.vocoder:
            return self._resynthesis(positions)
        if ask.seconds is None:
            durations = self.facts.extra["durations"]
            assert isinstance(durations, tuple)
            length = (requests.draw(durations, labels, seed, positions) * self.rate).round().long()
        else:
            length = torch.full((len(positions),), max(1, round(ask.seconds * self.rate)))
        return requests.by_length(length, self.shape[0], trained, ask.join)

    def polish(self, x: Tensor, cond: Mapping[str, Tensor], ask: Options) -> Tensor:
        """A fade at the end; of a vocoder's sounds, the spectrograms that they were made from."""
        assert isinstance(ask, options.Ask)
        mask = cond["mask"].to(x.device)
        if "mel" not in cond:
            return polish.faded(x, mask, self.rate)
        rounds = polish.ROUNDS if ask.iterations is None else ask.iterations
        told = mel.restored(cond["mel"].to(x.device))
        return self.encode(polish.matched(self.decode(x), told, self.mel, rounds) * mask)

    def _resynthesis(self, positions: Sequence[int]) -> list[Request]:
        """What a vocoder draws while it trains: held-out clips, or training clips, from their spectrograms."""
        if self._corpus is None:
            raise UsageError("this run is a vocoder: say which sound to make again with --mel FILE")
        clips = self.dataset("test") if self.facts.extra["test"] else self.dataset("train")
        examples = clips.take(torch.tensor([position % len(clips) for position in positions]))
        cond = requests.conditions(examples.cond["length"], self.shape[-1], self.shape[-1])
        cond["mel"] = mel.normalise(mel.log_mel(examples.raw, self.mel))
        return [Request(tuple(range(len(positions))), self.shape, cond)]

    def count(self, ask: Options) -> int | None:
        """One resynthesis of one file."""
        assert isinstance(ask, options.Ask)
        return None if ask.mel is None else 1

    def read(self, path: Path) -> Tensor:
        """A sound file as (C, L) float32 at the run's rate and channels, whole. Raises DataError."""
        if not path.expanduser().is_file():
            raise DataError(f"no such file: {path}")
        samples = sound.read(path.expanduser(), self.rate, self.shape[0])
        return torch.from_numpy(samples.T.copy())

    def write(self, raw: Tensor, folder: Path, stems: Sequence[str], ask: Options | None = None) -> list[Path]:
        """Save (B, C, L) as WAV or FLAC, each clip without the silence that pads it. Raises StorageError."""
        return files.write(raw, self.rate, folder, stems, ask.format if isinstance(ask, options.Ask) else "wav")

    def preview(self, raw: Tensor, labels: Sequence[str] = ()) -> PIL.Image.Image:
        """Waveform and mel spectrogram of each clip; equal labels share rows."""
        return preview.preview(raw, self.rate, labels, self.labels)

    def strip(self, moments: Tensor) -> PIL.Image.Image:
        """A row of mel spectrograms for each clip, from noise to sound: (T, B, C, L)."""
        return preview.strip(moments, self.rate)

    def page(self, raw: Tensor, labels: Sequence[str], real: Examples | None = None) -> str:
        """A page that plays every clip, with real ones of the same label beside them."""
        return page.page(raw, labels, self.rate, real, self.labels)

    def rate_note(self, raw: Tensor, seconds: float) -> str:
        """The real-time factor: seconds of sound for each second of computing."""
        made = float(files.ends(raw).sum()) / self.rate
        return f"{made:.1f} s of sound in {seconds:.1f} s: {made / max(seconds, 1e-9):.1f} times real time"

    def assess(self, made: Examples, notify: Callable[[str], None], wishes: Wishes) -> EvaluationResult:
        """Distances, diversity, agreement with the labels and copies, under the judge of sounds."""
        from modalities.audio.evaluate.evaluator import assess

        return assess(self, made, notify, wishes)

    def likelihood(
        self, denoiser: Denoiser, law: TimeDistribution | None, count: int, notify: Callable[[str], None]
    ) -> list[Figure]:
        """Bits a sample of held-out sounds: the variational bound and its terms."""
        from modalities.audio.evaluate.likelihood import likelihood

        return likelihood(self, denoiser, law, count, notify)

    @classmethod
    def inspect(cls, path: Path, notify: Callable[[str], None]) -> Inspection:
        """What is in a folder of recordings, and the command that trains on it. Raises DataError."""
        from modalities.audio.inspect import folder as inspect

        found = inspect.survey(path, notify)
        return Inspection(found.rows(), found.changes())
