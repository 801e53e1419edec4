import stat

import pytest

from trg_pyg._files import made_whole, replaced_whole


def test_the_new_file_takes_the_place_of_the_old_one_and_folders_are_made(tmp_path):
    path = tmp_path / "new" / "file.txt"
    for text in ("first", "second"):
        with replaced_whole(path) as temporary:
            temporary.write_text(text)
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def write_half(path, error):
    with replaced_whole(path) as temporary:
        temporary.write_text("half")
        raise error


def test_an_error_or_an_interrupt_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error):
            write_half(path, error)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_others_can_read_what_a_writer_would_keep_to_its_owner(tmp_path):
    ordinary, path = tmp_path / "ordinary", tmp_path / "file"
    ordinary.touch()
    with replaced_whole(path) as temporary:
        temporary.chmod(0o600)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)


def test_a_folder_is_made_whole(tmp_path):
    folder = tmp_path / "new" / "folder"
    with made_whole(folder) as temporary:
        (temporary / "file").write_text("content")
        assert not folder.exists()
    assert (folder / "file").read_text() == "content"
    assert list(folder.parent.iterdir()) == [folder]


def fill_half(folder, error):
    with made_whole(folder) as temporary:
        (temporary / "file").write_text("half")
        raise error


def test_an_error_or_an_interrupt_leaves_no_folder(tmp_path):
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error):
            fill_half(tmp_path / "folder", error)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_has_something_in_it_stays_as_it_is(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("mine")
    with pytest.raises(OSError, match="folder"), made_whole(tmp_path / "folder") as temporary:
        (temporary / "file").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "mine"]
