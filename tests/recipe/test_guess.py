"""The guesses about a command line that says little: what is guessed, what is not, and that it is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Command
from toolkit import recipe as recipes
from toolkit.cli.modality_options import words_of
from toolkit.errors import DataError, UsageError
from toolkit.recipe.guess import guess, modality_of


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), "teal").save(path)
    return path


def line(word: str | None = None, **said: str | None) -> str:
    with pytest.raises((UsageError, DataError)) as caught:
        guess(word, **said)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_word_is_a_modality_a_recipe_or_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "photos" / "a.png")
    (tmp_path / "own.toml").write_text('modality = "image"\n')
    assert guess("text") == ("text", None, None, "'text' is a modality: --modality text")
    assert guess("./mine.py") == ("./mine.py", None, None, "'./mine.py' is a modality: --modality ./mine.py")
    for word in ("digits", "image/digits", "own.toml"):
        assert guess(word) == (None, word, None, f"'{word}' is a recipe: --recipe {word}")
    assert guess("photos") == (
        "image", None, "photos",
        "'photos' is here: --data photos --modality image, as the files in photos say by their endings",
    )  # fmt: skip


def test_a_word_goes_with_what_is_said_and_not_against_it(tmp_path: Path) -> None:
    assert guess("digits", modality="mine.py")[:2] == ("mine.py", "digits")
    assert guess("image", recipe="mnist", data="x")[:3] == ("image", "mnist", "x")
    assert "both say the modality" in line("image", modality="audio")
    assert "both say the recipe" in line("digits", recipe="mnist")
    assert "both say the data" in line(str(tmp_path), data="photos")
    assert guess(None, "image", None, "./nothing") == ("image", None, "./nothing", "")
    assert guess(None, None, "mnist", "./nothing") == (None, "mnist", "./nothing", "")


@pytest.mark.parametrize(
    ("word", "near"), [("imge", "image"), ("digts", "digits"), ("txet", "text"), ("image/mnst", "image/mnist")]
)
def test_a_near_miss_is_named(word: str, near: str) -> None:
    assert line(word).endswith(f"did you mean '{near}'?")


def test_what_is_far_from_all_names_lists_them() -> None:
    said = line("xyzzy")
    assert all(name in said for name in ("audio", "image/digits", "text/names")) and said.count("mnist-ddpm,") == 1


def test_a_run_is_said_how_to_go_on_with(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text('modality = "image"\n')
    assert f"--recipe {tmp_path}/recipe.toml --out {tmp_path}" in line(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "modality"),
    [
        ("a/b/c.PNG", b"", "image"),
        ("song.flac", b"", "audio"),
        ("folder/x.txt", b"", "text"),
        ("names.csv", b"name,age\nAda,36\n", "text"),
    ],
)
def test_files_say_what_they_are(name: str, content: bytes, modality: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    assert modality_of(str(tmp_path / name.split("/")[0]))[0] == modality


def test_what_cannot_be_told_is_asked(tmp_path: Path) -> None:
    (tmp_path / "data.bin").touch()
    for path in (tmp_path, tmp_path / "data.bin"):
        said = line(None, data=str(path))
        assert "no file of a known kind" in said and said.endswith("; say what it is: --modality audio|image|text")
    picture(tmp_path / "a.png")
    (tmp_path / "b.wav").touch()
    assert "--modality" in line(None, data=str(tmp_path))


def test_data_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "drums").mkdir()  # a data set's name wins over a folder, which is written ./drums
    assert modality_of("drums") == ("audio", "recipe audio/drums learns from 'drums'")
    assert guess(None, data="mnist").line == "--modality image, as recipe image/mnist learns from 'mnist'"
    assert "unknown data 'mnsit'; did you mean 'mnist'?; for data of another name say --modality" in line(
        None, data="mnsit"
    )
    picture(tmp_path / "folder" / "a.png")
    assert modality_of("folder")[0] == "image"
    assert guess("folder", data="folder")[:3] == ("image", "folder", "folder")


def test_words_and_options_apart() -> None:
    assert words_of(["image", "--size", "32", "x"]) == (["image", "x"], ["--size", "32"])
    assert words_of(["--size=32", "image"]) == (["image"], ["--size=32"])
    assert words_of(["--dry-run", "image", "-h"], {"dry_run"}) == (["image"], ["--dry-run", "-h"])
    assert words_of(["--size"]) == ([], ["--size"])


def test_a_short_command_trains(toolkit_command: Command, tmp_path: Path) -> None:
    for i in range(4):
        picture(tmp_path / "photos" / f"{i}.png")
    small = ("--preset", "tiny", "--width", "8", "--steps", "1", "--batch", "2", "--set", "train.previews=0")
    done = toolkit_command("train", *small, "photos", "--set", "sample.steps=1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == (
        "'photos' is here: --data photos --modality image, as the files in photos say by their endings"
    )
    assert recipes.load(tmp_path / "runs" / "photos" / "recipe.toml").name == "folder"
    for words in (("photos",), ("--data", "photos")):
        shown = toolkit_command("train", *words, "--help")
        assert shown.returncode == 0 and "Options of image: which network:" in shown.stdout
    assert "Options of" not in toolkit_command("train", "imge", "--help").stdout
    for words, said in ((("image", "text"), "'text' belongs to no option"), (("--width", "8"), "--width")):
        done = toolkit_command("train", *words)
        assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
