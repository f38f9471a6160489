"""Label maps: what is read, what is meant, and what names are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinyscene.runtime.errors import InputError
from tinyscene.training.label_map import check_label_map, read_label_map, translate

CORPUS = ("beach", "bus", "cafe", "city_center", "tram")
MODEL = ("bus", "shopping_mall", "street_pedestrian", "tram")


def test_named_scenes_and_those_of_the_same_name(tmp_path: Path) -> None:
    file = tmp_path / "map.yaml"
    file.write_text("cafe: shopping_mall\ncity_center: street_pedestrian\n")
    label_map = read_label_map(file)
    check_label_map(label_map, CORPUS)
    assert translate(CORPUS, MODEL, label_map) == {
        "bus": "bus",
        "cafe": "shopping_mall",
        "city_center": "street_pedestrian",
        "tram": "tram",
    }
    assert translate(CORPUS, MODEL) == {"bus": "bus", "tram": "tram"}
    assert translate(CORPUS, MODEL, {"bus": "tram"}) == {"bus": "tram", "tram": "tram"}


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="the corpus has no scene 'caffe': did you mean 'cafe'"):
        check_label_map({"caffe": "shopping_mall"}, CORPUS)
    with pytest.raises(InputError, match=r"'cafe' is to be 'shoping_mall', .*: did you mean 'shopping_mall'"):
        translate(CORPUS, MODEL, {"cafe": "shoping_mall"})
    with pytest.raises(InputError, match="expected one of bus, shopping_mall, street_pedestrian, tram"):
        translate(CORPUS, MODEL, {"cafe": "xyz"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- bus\n- tram\n", "expected a line"),
        ("", "expected a line"),
        ("bus: [tram]\n", "'bus': .*is no pair of names"),
        ("1: tram\n", "1: 'tram' is no pair of names"),
        ("bus: : :\n", "is not valid YAML"),
    ],
)
def test_files_that_are_no_label_maps(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "map.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_label_map(file)
    with pytest.raises(InputError, match="cannot read the label map"):
        read_label_map(tmp_path / "absent.yaml")
