# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from gearfast.demo import uploads


def test_five_photos_are_shipped_with_their_notice() -> None:
    names = {path.stem for path in uploads.find(uploads.shipped())}
    assert names == {"astronaut", "chelsea", "coffee", "hubble_deep_field", "rocket"}
    notice = (uploads.shipped() / "README.md").read_text(encoding="utf-8")
    assert all(name in notice for name in names)


def test_a_folder_without_photos_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(uploads.PhotoError, match="no photos"):
        uploads.find(tmp_path)
    with pytest.raises(uploads.PhotoError, match="no folder"):
        uploads.find(tmp_path / "nowhere")


def test_photos_of_a_folder_are_uploaded_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    Image.new("RGBA", (30, 20), "#ff000080").save(folder / "b.png")
    Image.new("L", (20, 30)).save(folder / "a.JPG")
    (folder / "notes.txt").write_text("no photo")
    photos = list(uploads.upload(uploads.find(folder), 2, tmp_path))
    assert [(photo.path, photo.title, photo.size) for photo in photos] == [
        ("uploads/photo-01.jpg", "a", (20, 30)),
        ("uploads/photo-02.png", "b", (30, 20)),
    ]
    assert (tmp_path / photos[1].path).read_bytes() == (folder / "b.png").read_bytes()


def test_variants_are_made_when_there_are_too_few(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    Image.linear_gradient("L").save(folder / "a.jpg")
    photos = list(uploads.upload(uploads.find(folder), 17, tmp_path, width=64))
    assert len({photo.name for photo in photos}) == len({photo.path for photo in photos}) == 17
    assert len({photo.title for photo in photos[:8]}) == 8
    for photo in photos:
        with Image.open(tmp_path / photo.path) as image:
            image.load()
            assert image.size == photo.size
            assert image.width == 64


def test_a_broken_photo_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "broken.jpg").write_bytes((uploads.shipped() / "coffee.jpg").read_bytes()[:5000])
    with pytest.raises(uploads.PhotoError, match=r"broken\.jpg"):
        list(uploads.upload(uploads.find(folder), 1, tmp_path))
