# SPDX-License-Identifier: BSD-3-Clause
"""The figures, and the page and the sheet that are made of them."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

from gearfast.demo import page, proof, sheet
from gearfast.demo.plan import Photo, Round
from gearfast.demo.proof import Proof
from gearfast.demo.report import COLUMNS, Report, Row

Finished = tuple[Path, Round]


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links |= {unquote(value) for name, value in attrs if name in ("href", "src") and value}
        if tag not in ("meta", "img", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_row_has_a_cell_for_each_column() -> None:
    row = Row("2 workers", 168, 1, 4.0, 24)
    assert dict(zip(COLUMNS, row.cells, strict=True)) == {
        "round": "2 workers",
        "jobs": "168",
        "retries": "1",
        "seconds": "4.0",
        "photos/s": "6.0",
    }


def test_findings_tell_what_is_short() -> None:
    report = Report(Round("r", (Photo("photo-01", "a", "a", (9, 9)),)), Proof(resized=3, thumbnails=1, mails=2))
    assert [good for good, _ in report.findings] == [True, True, False]
    assert report.findings[2][1].startswith("2 of 3 mails")


def test_the_page_refers_only_to_files_that_are_there(finished: Finished) -> None:
    root, work = finished
    report = Report(work, proof.look(root, work, root / "mails"), [Row("<1 worker>", 14, 0, 1.0, 2)], ["a & b"])
    sheet.draw(root, work, root / "contact-sheet.jpg", "t", "s")
    (root / "logs").mkdir()
    page.write(report, root / "index.html", "Title <x>", "lead")
    text = (root / "index.html").read_text(encoding="utf-8")
    links = Links()
    links.feed(text)
    assert links.open == []
    assert not [link for link in links.links if not (root / link).exists()]
    assert {work.resized(photo, width) for photo in work.photos for width in work.widths} <= links.links
    assert len([link for link in links.links if link.endswith(".eml")]) == 6
    assert "&lt;1 worker&gt;" in text
    assert "a &amp; b" in text
    assert "What is missing" not in text
    assert not re.search(r"https?:", text)


def test_the_page_lists_what_is_missing(finished: Finished) -> None:
    root, work = finished
    report = Report(work, problems=["photo-01 is missing"])
    assert not report.complete
    page.write(report, root / "index.html", "t", "l")
    text = (root / "index.html").read_text(encoding="utf-8")
    assert "What is missing" in text
    assert '<li class="bad">photo-01 is missing</li>' in text


@pytest.mark.parametrize(("count", "columns"), [(1, 3), (5, 5), (8, 4), (24, 6), (7, 6)])
def test_the_sheet_has_room_for_every_thumbnail(finished: Finished, count: int, columns: int) -> None:
    root, work = finished
    photos = tuple(work.photos[n % 2] for n in range(count))
    size = sheet.draw(root, Round("r", photos), root / "sheet.jpg", "title " * 40, "subtitle")
    with Image.open(root / "sheet.jpg") as image:
        image.load()
        assert image.size == size
    rows = -(-count // columns)
    assert size[0] > columns * 240
    assert size[1] > rows * 240
    assert size[0] < (columns + 1) * 280
