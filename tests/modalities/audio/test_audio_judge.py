"""The judge of sounds learns the bundled drums; what it hears, and what tells copies, is checked on known sounds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch

from modalities.audio.evaluate import judge as module
from modalities.audio.evaluate.judge import SILENCE, SoundJudge, copy_features, fit_length, move
from modalities.audio.modality import Audio
from modalities.audio.options import Data, Model
from toolkit.errors import DataError
from toolkit.evaluation.judge import obtain, recognises
from toolkit.evaluation.metrics.nearest import aligned_distances
from toolkit.modality import Facts

RATE, LENGTH = 16_000, 4_096


def judge() -> SoundJudge:
    """An untrained one."""
    facts = Facts(shape=(1, LENGTH), labels=("a", "b"), count=1, extra={"rate": RATE, "channels": 1})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = SoundJudge(facts)
    made.net.eval()
    return made


def noise(level_db: float, n: int = 4, length: int = LENGTH) -> torch.Tensor:
    """White noise of an RMS `level_db` below full scale."""
    return 10 ** (level_db / 20) * torch.randn(n, 1, length, generator=torch.Generator().manual_seed(0))


def hits(n: int = 6) -> torch.Tensor:
    """Decaying tones of different pitch and length: (n, 1, LENGTH)."""
    t = torch.arange(LENGTH) / RATE
    tones = [torch.sin(2 * torch.pi * 200 * (i + 1) * t) * (-t * (10 + 8 * i)).exp() * (t < 0.15) for i in range(n)]
    return 0.8 * torch.stack(tones)[:, None]


def test_it_learns_drums_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "WIDTHS", (8, 16, 32, 48))
    monkeypatch.setattr(SoundJudge, "course", replace(SoundJudge.course, steps=60, batch=32))
    drums = Audio(Data(source="drums"), Model())
    drums.open(tmp_path, lambda line: None)
    said: list[str] = []
    assert drums.splits is not None
    first = obtain(SoundJudge, drums.splits, said.append)
    again = obtain(SoundJudge, drums.splits, said.append)
    assert len(said) == 1 and again.name == first.name and first.name.startswith("drums-")
    assert first.tested == len(drums.dataset("test"))
    # the commonest label alone would give 0.3
    assert float(recognises(first, drums.dataset("train")).double().mean()) > 0.7
    raw = drums.dataset("test").take(torch.arange(3)).raw
    assert torch.equal(first.features(raw), again.features(raw)) and first.features(raw).shape == (3, module.FEATURES)


def test_it_needs_labels(tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    for i in range(3):
        tone = 0.5 * torch.sin(torch.arange(8000) * 0.05 * (i + 1))
        soundfile.write(tmp_path / "sounds" / f"{i}.wav", tone.numpy(), 8000)
    plain = Audio(Data(source=str(tmp_path / "sounds")), Model())
    plain.open(tmp_path / "cache", lambda line: None)
    assert plain.splits is not None
    with pytest.raises(DataError, match="labels"):
        obtain(SoundJudge, plain.splits)


def test_what_is_too_soft_to_hear_is_silence() -> None:
    made = judge()
    assert torch.equal(made.prepare(torch.zeros(2, 1, LENGTH)), torch.full((2, 1, 64, 16), SILENCE))
    # the floor is where noise of -70 dB is: softer noise hardly passes it, louder nearly always
    heard = {level: float((made.prepare(noise(level)) > SILENCE).double().mean()) for level in (-90, -80, -60, -50)}
    assert heard[-90] < 0.001 and heard[-80] < 0.1 and heard[-60] > 0.9 and heard[-50] > 0.99
    # 10 dB are ln(10) / 2 nepers, of which one unit of the input has 3
    step = made.prepare(noise(-30)) - made.prepare(noise(-40))
    torch.testing.assert_close(step, torch.full_like(step, 1.1513 / 3), atol=2e-3, rtol=0)


def test_length_does_not_matter_beyond_the_end_of_a_sound() -> None:
    made, raw = judge(), hits()
    short = raw[..., :2560]  # they end before it
    assert not raw[..., 2560:].any()
    assert torch.equal(made.features(short), made.features(raw))
    assert torch.equal(fit_length(torch.ones(1, 1, 5000), LENGTH), torch.ones(1, 1, LENGTH))


def test_moved_by_hand() -> None:
    x = torch.arange(12.0).reshape(1, 1, 3, 4).repeat(2, 1, 1, 1)
    found = move(x, high=torch.tensor([1, 0]), late=torch.tensor([0, -2]))
    s = SILENCE
    assert found[0, 0].tolist() == [[s, s, s, s], [0, 1, 2, 3], [4, 5, 6, 7]]
    assert found[1, 0].tolist() == [[2, 3, s, s], [6, 7, s, s], [10, 11, s, s]]


def test_augmentation_varies_sound_and_leaves_silence() -> None:
    made = judge()
    x = made.prepare(hits(6).repeat(10, 1, 1))
    first, again = (made.augment(x, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again) and not torch.equal(first, made.augment(x, torch.Generator().manual_seed(2)))
    assert float(first.min()) >= SILENCE and not torch.equal(first[0], first[6])
    silent = torch.full((3, 1, 64, 16), SILENCE)
    assert torch.equal(made.augment(silent, torch.Generator().manual_seed(3)), silent)
    # on average 3 of 64 bands and 1 of 16 frames are silenced, and about 1 in 30 cells is moved out
    loud = made.prepare(noise(-10, 400))
    kept = float((made.augment(loud, torch.Generator().manual_seed(4)) > SILENCE).double().mean())
    assert 0.8 < kept < 0.9


def test_outlines_forget_gain_sign_and_faint_noise_but_tell_sounds_apart() -> None:
    raw = hits()
    plain = copy_features(raw, RATE)
    assert float(plain.min()) == 0 and torch.equal(plain.amax((1, 2)), torch.full((6,), module.RANGE_DB))
    torch.testing.assert_close(copy_features(-0.01 * raw, RATE), plain, atol=1e-3, rtol=0)
    same = aligned_distances(copy_features(raw + noise(-65, 6), RATE), plain, 0).diagonal()
    assert float(same.max()) < 0.5
    others = aligned_distances(plain, plain, 8) + 1e9 * torch.eye(6)
    assert float(others.min()) > 5
    assert not copy_features(torch.zeros(1, 1, LENGTH), RATE).any()


def test_outlines_of_a_moved_sound_are_moved() -> None:
    raw = hits()
    hop = 128
    late = torch.nn.functional.pad(raw, (3 * hop, 0))[..., :LENGTH]
    a, b = copy_features(late, RATE), copy_features(raw, RATE)
    torch.testing.assert_close(a[..., 3:], b[..., :-3], atol=1e-3, rtol=0)
    assert (
        float(aligned_distances(a, b, 3).diagonal().max()) < 1e-2 < float(aligned_distances(a, b, 2).diagonal().min())
    )
