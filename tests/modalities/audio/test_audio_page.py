"""The page to listen to: every sound and picture in it is decoded again, and nothing in it leads elsewhere."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import soundfile
import torch

from modalities.audio import codec
from modalities.audio.view import files
from modalities.audio.view.page import page
from toolkit.modality import Examples

NAMES = ("kick", "tom <b>&", "snare")
RATE = 8_000
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]
FLAGS += ["--enable-logging=stderr", "--virtual-time-budget=3000"]


class Reader(HTMLParser):
    """Headings, cards (heading, kind, alt, png bytes, sound kind and bytes, caption), and everything that has a URL."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cards: list[dict[str, str | bytes]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self._open = [""]
        self._heading = self._kind = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.tags.append((tag, found))
        if tag not in ("meta", "img"):
            self._open.append(tag)
        if tag == "section":
            self._heading = ""
        elif tag == "div" and (found.get("class") or "").startswith("group"):
            self._kind = (found["class"] or "").split()[1]
        elif tag == "img":
            self.cards.append({"heading": self._heading, "kind": self._kind, "alt": found["alt"] or ""})
            self.cards[-1]["png"] = self._data(found["src"], "image/png")
        elif tag == "audio":
            kind = (found["src"] or "")[5:].split(";")[0]
            self.cards[-1] |= {"type": kind, "sound": self._data(found["src"], kind)}

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag  # well nested

    def handle_data(self, data: str) -> None:
        if self._open[-1] == "h2":
            self._heading += data
        elif self._open[-1] == "figcaption":
            self.cards[-1]["caption"] = data
        self.text.setdefault(self._open[-1], []).append(data)

    @staticmethod
    def _data(uri: str | None, kind: str) -> bytes:
        head, _, body = (uri or "").partition(",")
        assert head == f"data:{kind};base64"
        return base64.b64decode(body, validate=True)


def sounds(count: int, length: int = 2_048, channels: int = 1, seed: int = 0) -> torch.Tensor:
    """Tones in noise of unlike lengths, padded with zeros."""
    draw = torch.Generator().manual_seed(seed)
    raw = 0.3 * torch.rand(count, channels, length, generator=draw) - 0.15
    raw += 0.5 * torch.sin(torch.arange(length) * 0.3)
    for i in range(count):
        raw[i, :, length - 100 * i :] = 0
    return raw


def assert_same_sound(card: dict[str, str | bytes], clip: torch.Tensor) -> None:
    """Assert that the card plays the clip, rounded to 16 bits, without its padding."""
    content = card["sound"]
    assert isinstance(content, bytes) and card["type"] in ("audio/wav", "audio/flac")
    samples, rate = soundfile.read(io.BytesIO(content), dtype="int16", always_2d=True)
    end = int(codec.ends(clip[None]))
    assert rate == RATE and np.array_equal(samples.T, files.to_int16(clip[:, :end].numpy()))
    assert str(card["caption"]).endswith(f"{end / RATE:.2f} s")
    assert len(content) <= len(files.to_bytes(clip[:, :end], RATE))


def labelled() -> tuple[torch.Tensor, list[str], Examples, str]:
    raw, real = sounds(7), Examples(sounds(4, 3_072, seed=1), {"label": torch.tensor([2, 0, 3, 0])})
    labels = ["snare", "kick", "snare", "tom <b>&", "none", "kick", "snare"]
    return raw, labels, real, page(raw, labels, RATE, real, NAMES, 'Run <script>"x"</script>')


def test_every_sound_is_in_its_section_beside_real_ones() -> None:
    raw, labels, real, text = labelled()
    cards = Reader(text).cards
    place = [(card["heading"], card["kind"]) for card in cards]
    kick, tom, snare = NAMES
    assert place == [
        *[(kick, "made")] * 2, *[(kick, "real")] * 2, (tom, "made"), *[(snare, "made")] * 3, (snare, "real"),
        ("none", "made"), ("", "real"),
    ]  # fmt: skip
    made = [i for name in (*NAMES, "none") for i in range(7) if labels[i] == name]
    for card, i in zip([card for card in cards if card["kind"] == "made"], made, strict=True):
        assert_same_sound(card, raw[i])
        assert str(card["caption"]).startswith(f"generated {labels[i]} {i} ·")
    for card, i in zip([card for card in cards if card["kind"] == "real"], (1, 3, 0, 2), strict=True):
        assert_same_sound(card, real.raw[i])
        assert str(card["alt"]).startswith("Waveform and mel spectrogram of real ")


def test_nothing_leads_out_and_only_our_script_may_run() -> None:
    *_, text = labelled()
    reader = Reader(text)
    policy = next(found["content"] for tag, found in reader.tags if tag == "meta" and "http-equiv" in found) or ""
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == rules["media-src"] == "data:"
    for tag in ("style", "script"):
        (inline,) = reader.text[tag]
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"
    for tag, found in reader.tags:
        assert tag not in ("a", "link", "iframe", "base", "object", "form")
        assert not [key for key in found if key.startswith("on") or key in ("style", "href", "srcset")]
        assert all((found["src"] or "").startswith("data:") for _ in [0] if "src" in found)
        assert tag != "audio" or ("controls" in found and found["preload"] == "none" and found["aria-label"])
    assert not re.search(r"https?://|@import|url\(|<script>\"x", text)
    assert reader.text["title"] == reader.text["h1"] == ['Run <script>"x"</script>']


def test_pictures_show_the_sound_and_its_length() -> None:
    raw, _, _, text = labelled()
    card = next(card for card in Reader(text).cards if str(card["caption"]).startswith("generated snare 6"))
    png = card["png"]
    assert isinstance(png, bytes)
    with PIL.Image.open(io.BytesIO(png)) as image:
        assert image.size == (220, 114)
        picture = np.asarray(image.convert("RGB")).astype(int).sum(2)
    wave, spectrum = picture[:34], picture[34:]
    end = 220 * int(codec.ends(raw)[6]) // 3_072  # the longest, a real one, is as wide as the picture
    assert (wave[:, : end - 2] > 300).any(0).all() and (wave[16:18, : end - 2] > 300).all()
    assert (spectrum[:, : end - 12] > 30).mean() > 0.95 and (picture[:, end + 12 :] < 10).all()
    # 0.3 rad a sample is 382 Hz, mel 5.7 of 35.2
    assert abs(spectrum[:, end // 2].argmax() - 80 * (1 - 5.7 / 35.2)) < 3


def test_without_labels_there_is_one_section_and_stereo_stays_stereo() -> None:
    raw = sounds(3, channels=2)
    reader = Reader(page(raw, [], RATE))
    assert [card["heading"] for card in reader.cards] == [""] * 3 and "h2" not in reader.text
    for i, card in enumerate(reader.cards):
        assert_same_sound(card, raw[i])
    assert "3 generated sounds, 8,000 samples a second, stereo." in " ".join(reader.text["p"])
    reader = Reader(page(raw, [], RATE, Examples(sounds(2, channels=2), {"label": torch.tensor([0, 1])}), NAMES))
    assert [card["kind"] for card in reader.cards] == ["made"] * 3 + ["real"] * 2


def test_silence_and_one_sample_are_sounds() -> None:
    raw = torch.zeros(2, 1, 256)
    raw[1, 0, 0] = 1
    for card, clip in zip(Reader(page(raw, ["a", "a"], RATE)).cards, raw, strict=True):
        assert_same_sound(card, clip)


def test_half_a_minute_of_noise_stays_small() -> None:
    text = page(sounds(32, 16_000), [], 16_000)
    assert len(text) < 32 * 2 * 16_000 * 4 / 3 + 32 * 12_000  # never more than WAV in base64 and small pictures


def test_what_is_not_a_batch_of_sounds_is_refused() -> None:
    with pytest.raises(ValueError, match="needs sounds"):
        page(torch.zeros(0, 1, 256), [], RATE)
    with pytest.raises(ValueError, match="1 labels for 2 sounds"):
        page(torch.zeros(2, 1, 256), ["a"], RATE)


@pytest.mark.slow
def test_chromium_runs_the_script_and_complains_of_nothing(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    *_, text = labelled()
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    command = [browser, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"{tmp_path}/page.html"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr
    # the script ran, so its hash was accepted: it unhides its buttons
    buttons = re.findall(r"<button[^>]*>", done.stdout)
    assert len(buttons) == 3 and not any("hidden" in button for button in buttons) and "hidden" in text
