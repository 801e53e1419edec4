import pytest

from trg_pyg.config.schema import DistillerFactory, TeacherConfig
from trg_pyg.config.stored import read_network, read_part
from trg_pyg.data import ImageFolder
from trg_pyg.data.base import ImageData
from trg_pyg.distillers import KD
from trg_pyg.errors import InputError
from trg_pyg.models.taps import NetworkInfo


def test_a_part_is_the_object_that_it_describes():
    stored = {"class_path": "trg_pyg.data.ImageFolder", "init_args": {"root": "photos", "size": 20, "crop_share": 0.8}}
    data = read_part(ImageData, "data", stored, "config.yaml")
    assert (type(data), data.shorter) == (ImageFolder, 25)
    build = read_part(DistillerFactory, "distiller", {"class_path": "trg_pyg.distillers.KD"}, "config.yaml")
    info = NetworkInfo(10, ())
    assert isinstance(build(info, info), KD)


def test_a_network_is_read_without_its_recipe_and_without_unknown_keys_that_were_not_set():
    stored = {"name": "resnet20", "mean": [0.1, 0.2, 0.3], "train": {"older": 1}, "older": None}
    assert read_network(TeacherConfig, "teacher", stored, "config.yaml") == TeacherConfig(
        name="resnet20", mean=(0.1, 0.2, 0.3)
    )


@pytest.mark.parametrize(
    ("kind", "name", "stored", "message"),
    [
        (TeacherConfig, "teacher", {"older": 1}, "config.yaml: unknown key older in teacher"),
        (TeacherConfig, "teacher", {"name": 3}, "config.yaml: teacher.name=3: expected str"),
        (ImageData, "data", {"class_path": "trg_pyg.data.Digts"}, "config.yaml: data=.*; did you mean Digits?"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_file(kind, name, stored, message):
    with pytest.raises(InputError, match=message):
        read_part(kind, name, stored, "config.yaml")
