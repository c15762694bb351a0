# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from gearfast.demo import images


def photo(path: Path, size: tuple[int, int], orientation: int = 1) -> Path:
    """A JPEG, its left half red."""
    image = Image.new("RGB", size, "blue")
    image.paste("red", (0, 0, size[0] // 2, size[1]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


@pytest.mark.parametrize(
    ("size", "width", "expected"),
    [((400, 300), 200, (200, 150)), ((400, 301), 200, (200, 150)), ((100, 50), 200, (100, 50)), ((900, 1), 3, (3, 1))],
)
def test_target_size_keeps_the_shape_and_never_enlarges(
    size: tuple[int, int], width: int, expected: tuple[int, int]
) -> None:
    assert images.target_size(size, width) == expected


def test_resize_writes_a_jpeg_of_the_width_and_tells_its_steps(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    target = tmp_path / "new" / "small.jpg"
    size = images.resize(photo(tmp_path / "a.jpg", (400, 200)), target, 100, lambda *step: steps.append(step))
    assert size == (100, 50)
    with Image.open(target) as image:
        assert (image.format, image.size) == ("JPEG", (100, 50))
    assert steps == [(1, 3), (2, 3)]


def test_a_photo_that_lies_on_its_side_is_put_upright(tmp_path: Path) -> None:
    target = tmp_path / "small.jpg"
    source = photo(tmp_path / "a.jpg", (400, 200), orientation=6)
    assert images.resize(source, target, 100, lambda done, of: None) == (100, 200)


def test_a_thumbnail_is_the_square_in_the_middle(tmp_path: Path) -> None:
    target = tmp_path / "t.jpg"
    assert images.make_thumbnail(photo(tmp_path / "a.jpg", (400, 100)), target, 40) == (40, 40)
    with Image.open(target) as image:
        left, right = image.getpixel((5, 20)), image.getpixel((35, 20))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert left[0] > 200 > 60 > left[2]
    assert right[2] > 200 > 60 > right[0]


def test_a_failed_save_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    target = tmp_path / "a.jpg"
    target.write_bytes(b"old")
    monkeypatch.setattr(Path, "replace", fail)
    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        images.save(Image.new("RGB", (4, 4)), target)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]
    assert target.read_bytes() == b"old"


def test_remove_parts_removes_only_unfinished_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / ".a.jpg.77.part").write_bytes(b"half")
    images.save(Image.new("RGB", (4, 4)), tmp_path / "sub" / "a.jpg")
    assert images.remove_parts(tmp_path) == 1
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["a.jpg"]


def test_what_is_no_image_raises_oserror(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(OSError, match="cannot identify"):
        images.load(tmp_path / "a.jpg")
