"""Audio as a modality: encode and decode, batches, schedules that are refused, training and sampling on a small set."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import toolkit
from modalities.audio import Audio, emphasis, mel, options
from toolkit import recipe as recipes
from toolkit.diffusion import SCHEDULES, LinearChain, ZeroTerminalSNR
from toolkit.diffusion.randomness import Draws
from toolkit.errors import DataError, UsageError
from toolkit.recipe import Recipe
from toolkit.run import prepare
from toolkit.run.generator import Generator

TINY = {
    "name": "tones",
    "modality": "audio",
    "model": {"preset": "tiny", "width": 8},
    "diffusion": {"prediction": "edm"},
    "train": {"steps": 3, "batch": 8, "previews": 0, "warmup": 1},
    "sample": {"steps": 3, "guidance": 1.5},
}


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two labels: low and high tones of 50 to 250 ms at 8 kHz."""
    folder = tmp_path_factory.mktemp("tones")
    rng = np.random.default_rng(0)
    for label, hertz in (("high", 1500), ("low", 200)):
        (folder / label).mkdir()
        for i in range(12):
            t = np.arange(400 + 130 * i) / 8000
            tone = np.sin(2 * np.pi * hertz * t + rng.uniform(0, 6)) * np.exp(-5 * t)
            soundfile.write(folder / label / f"{i}.wav", 0.4 * tone, 8000, subtype="PCM_16")
    return folder


def opened(tones: Path, cache: Path, model: options.Model | None = None, **data: object) -> Audio:
    audio = Audio(options.Data(source=str(tones), **data), model or options.Model())  # type: ignore[arg-type]
    audio.open(cache, lambda text: None)
    return audio


def recipe_for(tones: Path, **changes: object) -> Recipe:
    return recipes.replace(recipes.from_mapping({**TINY, "data": {"source": str(tones)}}), changes)


def train(recipe: Recipe, out: Path) -> Generator:
    for _ in prepare.prepare(recipe, out, notify=lambda text: None).run():
        pass
    return toolkit.load(out, notify=lambda text: None)


@pytest.mark.parametrize("a", [0.0, 0.5, 0.95])
def test_emphasis_is_a_first_difference_and_is_undone_exactly(a: float) -> None:
    raw = torch.zeros(1, 1, 64)
    raw[..., 3] = 1
    y = emphasis.emphasise(raw, a)
    assert y[0, 0, 3:6].tolist() == pytest.approx([1, -a, 0])
    x = torch.randn(2, 2, 5000)
    assert float((emphasis.undo(emphasis.emphasise(x, a), a) - x).abs().max()) < 1e-5


@pytest.mark.parametrize("a", [0.0, 0.8])
def test_model_space_has_unit_variance_over_what_sounds_and_decode_is_the_inverse(
    tones: Path, tmp_path: Path, a: float
) -> None:
    audio = opened(tones, tmp_path, emphasis=a)
    data = audio.dataset("train")
    examples = data.take(torch.arange(len(data)))
    x = audio.encode(examples.raw)
    inside = torch.arange(x.shape[-1]) < examples.cond["length"][:, None, None]
    assert float((x * inside).double().square().sum() / inside.sum()) == pytest.approx(1, rel=1e-3)
    back = audio.decode(x * inside)
    assert float((back - examples.raw).abs().max()) < 1e-5
    assert float(back[~inside].abs().max()) == 0


def test_a_sound_beyond_full_scale_is_turned_down_whole(tones: Path, tmp_path: Path) -> None:
    audio = opened(tones, tmp_path)
    x = torch.tensor([[[0.5, -4.0, 1.0]], [[0.1, 0.2, -0.3]]]) / audio.facts.std
    assert audio.decode(x).flatten().tolist() == pytest.approx([0.125, -1, 0.25, 0.1, 0.2, -0.3], rel=1e-4)


def test_a_batch_is_cut_to_its_longest_clip_and_says_where_each_ends(tones: Path, tmp_path: Path) -> None:
    audio = opened(tones, tmp_path, speed=0.05, gain=3.0)
    data = audio.dataset("train")
    short = (data.lengths < 900).nonzero()[:, 0]
    raw, cond = audio.conditioning().batch(data.take(short), Draws(0, short.tolist(), ("test",)))
    assert raw.shape[-1] < audio.shape[-1] and raw.shape[-1] % 256 == 0
    ends = cond["mask"].sum((1, 2)).long()
    for clip, end in zip(raw, ends.tolist(), strict=True):
        assert float(clip[:, end:].abs().sum()) == 0 < float(clip[:, end - 20 : end].abs().sum())
    assert torch.allclose(cond["seconds"], ends / audio.shape[-1])
    assert set(cond) == {"mask", "seconds", "label"}


def test_schedules_that_end_above_the_noise_are_refused_unless_a_mel_is_given(tones: Path, tmp_path: Path) -> None:
    plain = opened(tones, tmp_path)
    vocoder = opened(tones, tmp_path, options.Model(condition="mel"))
    net = torch.nn.Identity()
    short = LinearChain(T=50, beta_T=0.05, rescale=False)  # DiffWave's, made for vocoders
    with pytest.raises(UsageError, match=r"-4\.1 dB.*sounds alike.*flow or cosine"):
        plain.denoiser(net, short, "eps")
    vocoder.denoiser(net, short, "eps")
    plain.denoiser(net, ZeroTerminalSNR(short), "v")
    plain.denoiser(net, LinearChain(), "eps")
    for name in ("flow", "cosine", "karras", "vp"):
        plain.denoiser(net, SCHEDULES[name](), "edm")


def test_training_sampling_and_files(tones: Path, tmp_path: Path) -> None:
    run = train(recipe_for(tones), tmp_path / "run")
    assert isinstance(run.modality, Audio) and run.modality.rate == 8000
    samples = run.sample(6, label="low", seed=3)
    assert samples.raw.shape[:2] == (6, 1) and float(samples.raw.abs().max()) <= 1
    # durations are those of the label's clips: 400 to 1,830 samples
    lengths = [int(clip.abs().sum(0).nonzero().max()) + 1 for clip in samples.raw]
    assert all(350 <= n <= 1900 for n in lengths) and len(set(lengths)) > 3
    paths = samples.save(tmp_path / "out")
    assert [p.name for p in paths[:2]] == ["grid.png", "index.html"] and len(paths) == 8
    for path, clip, n in zip(paths[2:], samples.raw, lengths, strict=True):
        read, rate = soundfile.read(path, dtype="float32", always_2d=True)
        assert rate == 8000 and len(read) == n and soundfile.info(path).subtype == "PCM_16"
        assert np.abs(read.T - clip[:, :n].numpy()).max() < 0.6 / 32768
    # sample i is a function of (seed, i), whatever else is made beside it
    again = run.sample(2, label="low", seed=3, batch=1)
    assert float((again.raw - samples.raw[:2, :, : again.raw.shape[-1]]).abs().max()) < 1e-5
    assert (tmp_path / "run" / "previews" / "final.html").stat().st_size > 10_000


def test_any_length_in_windows_or_in_one_piece(tones: Path, tmp_path: Path) -> None:
    run = train(recipe_for(tones), tmp_path / "run")
    trained = run.modality.shape[-1] / 8000
    for seconds in (0.05, trained, 2.5 * trained):
        for join in ("windows", "whole"):
            clip = run.sample(1, label="high", seconds=seconds, join=join).raw[0, 0]
            assert int(clip.nonzero().max()) + 1 == round(seconds * 8000)
    with pytest.raises(UsageError, match="sample: seconds"):
        run.sample(1, seconds=-1)
    with pytest.raises(UsageError, match="secnds"):
        run.sample(1, secnds=1)
    with pytest.raises(UsageError, match="--condition mel"):
        run.sample(1, mel="x.wav")
    with pytest.raises(UsageError, match="--iterations is for a run"):
        run.sample(1, iterations=4)


def test_a_vocoder_is_given_a_sound_and_keeps_its_length(tones: Path, tmp_path: Path) -> None:
    run = train(recipe_for(tones, **{"model.condition": "mel", "model.mels": 20}), tmp_path / "run")
    assert run.modality.labels == ()
    t = np.arange(9000) / 16000
    soundfile.write(tmp_path / "long.flac", 0.3 * np.sin(2 * np.pi * 440 * t), 16000)
    made = run.sample(1, mel=str(tmp_path / "long.flac")).raw[0, 0]
    assert abs(int(made.nonzero().max()) + 1 - 4500) <= 2
    # what an untrained network made is moved to where it has the spectrogram
    audio = run.modality
    assert isinstance(audio, Audio)
    told = options.SampleOptions(mel=str(tmp_path / "long.flac"))
    assert audio.conditioning().count(told) == 1 and audio.conditioning().count(options.SampleOptions()) is None
    asked, spec = audio.conditioning().plan(told, None, 0, [0])[0].cond["mel"], mel.default(audio.rate, 20)
    raw = {n: run.sample(1, mel=str(tmp_path / "long.flac"), iterations=n).raw for n in (0, 32)}
    off = {n: float((mel.normalise(mel.log_mel(x, spec)) - asked).abs().mean()) for n, x in raw.items()}
    assert off[32] < 0.3 * off[0] and torch.equal(raw[32][0, 0], made)
    with pytest.raises(UsageError, match="--mel FILE"):
        run.sample(1)
    with pytest.raises(DataError, match="no such file"):
        run.sample(1, mel=str(tmp_path / "none.wav"))


def test_resuming_gives_the_same_bits(tones: Path, tmp_path: Path) -> None:
    from toolkit.training import loop

    recipe = recipe_for(tones, **{"train.steps": 6, "data.speed": 0.05, "train.layout": "channels-first"})
    whole = prepare.prepare(recipe, tmp_path / "a", notify=lambda text: None)
    losses = [done.loss.hex() for done in loop.fit(whole.batches, whole.config, whole.state)]
    half = prepare.prepare(recipe, tmp_path / "b", notify=lambda text: None)
    steps = loop.fit(half.batches, half.config, half.state)
    first = [next(steps).loss.hex() for _ in range(3)]
    rest = prepare.prepare(recipe, tmp_path / "c", notify=lambda text: None)
    rest.state.restore(half.state.groups(), half.state.scalars())
    assert first + [done.loss.hex() for done in loop.fit(rest.batches, rest.config, rest.state)] == losses
    assert all(math.isfinite(float.fromhex(loss)) for loss in losses)
