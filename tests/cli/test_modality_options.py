"""Options that only a modality knows."""

from __future__ import annotations

import pytest

from toolkit import recipe
from toolkit.cli.modality_options import parse_modality_options, string_options
from toolkit.cli.train import choose
from toolkit.errors import UsageError

KNOWN = ["seconds", "mel", "label_drop"]


def test_values_are_typed_as_in_toml_and_text_otherwise() -> None:
    typed = parse_modality_options(["--seconds", "2", "--mel=a b.wav", "--label-drop", "0.5"], KNOWN, "it")
    assert typed == {"seconds": 2, "mel": "a b.wav", "label_drop": 0.5}
    assert parse_modality_options(["--mel", "x=y"], KNOWN, "it") == {"mel": "x=y"}
    assert parse_modality_options([], KNOWN, "it") == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--secnds", "2"], "did you mean '--seconds'.*it has --seconds, --mel, --label_drop"),
        (["--seconds"], "--seconds needs a value"),
        (["stray"], "'stray' belongs to no option"),
        (["--seconds", "2", "3"], "'3' belongs to no option"),
        (["--", "2"], "'--' belongs to no option"),
    ],
)
def test_what_is_no_option_is_a_usage_error(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_modality_options(arguments, KNOWN, "it")


def test_keys_of_data_and_model_are_options_of_train() -> None:
    further = ["--size", "32", "--preset", "tiny", "--dropout=0.1"]
    found = choose("image", None, None, {}, {}, further)
    assert recipe.difference(recipe.load("image/digits"), found) == ["data.size", "model.dropout", "model.preset"]
    assert (found.data["size"], found.model["preset"], found.model["dropout"]) == (32, "tiny", 0.1)
    sound = choose("audio", None, None, {}, {}, ["--rate", "8000", "--seconds", "0.5", "--condition", "mel"])
    assert (sound.data["rate"], sound.data["seconds"], sound.model["condition"]) == (8000, 0.5, "mel")


def test_set_wins_over_an_option_and_another_modalitys_option_is_refused() -> None:
    assert choose("image", None, None, {}, {"data.size": "64"}, ["--size", "32"]).data["size"] == 64
    with pytest.raises(UsageError, match="unknown option '--rate'"):
        choose("image", None, None, {}, {}, ["--rate", "8000"])
    with pytest.raises(UsageError, match="unknown option '--source'"):
        choose("image", None, None, {}, {}, ["--source", "elsewhere"])


def test_text_options_are_taken_as_typed() -> None:
    from modalities.text.options import SampleOptions

    texts = string_options(SampleOptions)
    assert texts == {"infill", "source"}

    def typed(*arguments: str) -> dict[str, object]:
        return parse_modality_options(arguments, SampleOptions.model_fields, "text", texts=texts)

    assert typed("--infill", "12_3", "--length", "40") == {"infill": "12_3", "length": 40}
    assert typed("--infill", "'to_be'") == {"infill": "'to_be'"}
    assert typed("--infill=") == {"infill": ""}
