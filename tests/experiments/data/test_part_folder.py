import pytest
from PIL import Image

from experiments.data.part_folder import write
from trg_pyg.errors import InputError


@pytest.fixture
def source(tmp_path):
    """Three classes of five training images and a test image, one of a's training images being its test image."""
    for split, images in (("train", 5), ("test", 1)):
        for place, name in enumerate("abc"):
            folder = tmp_path / "whole" / split / name
            folder.mkdir(parents=True)
            for image in range(images):
                pixel = (place, image, 0 if split == "train" else 9)
                Image.new("RGB", (2, 2), (0, 4, 0) if (split, name) == ("test", "a") else pixel).save(
                    folder / f"{name}_{image}.png"
                )
    return tmp_path / "whole"


def files(folder, pattern) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.glob(pattern)}


def test_a_part_has_the_first_classes_and_the_rest_has_no_image_of_it(source, tmp_path):
    assert write(source, tmp_path / "part", images=2, classes=2, rest=4).startswith(f"{4 + 2 + 8} images in")
    part = tmp_path / "part"
    assert {name.split("/")[1] for name in files(part, "train/*/*")} == {"a", "b"}
    assert files(part, "test/*/*") == {"test/a/a_0.png", "test/b/b_0.png"}
    trained = {name.partition("/")[2] for name in files(part, "train/*/*")}
    known = {name.partition("rest/known/")[2] for name in files(part, "rest/known/*/*")}
    assert len(trained) == len(known) == 4
    assert not trained & known
    assert "a/a_4.png" not in known  # the test image of a
    assert {name.split("/")[2] for name in files(part, "rest/others/*/*")} == {"c"}
    assert len(files(part, "rest/others/*/*")) == 4


def test_what_cannot_be_made_is_refused_and_leaves_nothing(source, tmp_path):
    for options, message in (
        ({"classes": 4}, "classes=4: .* has 3; give 1 to 3"),
        ({"images": 6}, "has 5 images, 6 are asked for"),
        ({"images": 0}, "images=0, rest=0"),
        ({"rest": 15}, "has 5 images, 6 are asked for: lower images or rest"),
    ):
        with pytest.raises(InputError, match=message):
            write(source, tmp_path / "part", **{"images": 1} | options)
    assert not (tmp_path / "part").exists()
    with pytest.raises(InputError, match="nothing has no folder train"):
        write(tmp_path / "nothing", tmp_path / "part", images=1)
    (tmp_path / "part").mkdir()
    with pytest.raises(InputError, match="part is there already"):
        write(source, tmp_path / "part", images=1)
