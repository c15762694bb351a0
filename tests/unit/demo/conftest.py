# SPDX-License-Identifier: BSD-3-Clause
"""A finished round on disk, made without any job server, for the tests of proof, sheet and page."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gearfast.demo.plan import Round

# Without the extra only test_extra.py is collected, which says what is missing.
_HERE = Path(__file__).parent
_MISSING = [name for name in ("PIL", "rich", "aiosmtpd") if find_spec(name) is None]
collect_ignore = [path.name for path in _HERE.glob("test_*.py") if _MISSING and path.name != "test_extra.py"]


def finish(root: Path, work: Round) -> None:
    """Does all jobs of the round in this process."""
    from gearfast.demo import images, mail, plan

    mailbox = mail.Mailbox(root / "mails")
    for photo in work.photos:
        for job in work.image_jobs(photo):
            source, target = root / job.arguments["source"], root / job.arguments["target"]
            if job.function == plan.RESIZE:
                images.resize(source, target, job.arguments["width"], lambda done, of: None)
            else:
                images.make_thumbnail(source, target, job.arguments["side"])
        for job in work.mail_jobs(photo):
            words = dict(job.arguments)
            thumbnail = (root / words.pop("thumbnail")).read_bytes()
            assert mailbox.store(mail.build(thumbnail=thumbnail, **words).as_bytes(), [words["address"]])


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Path, Round]:
    """The folder and the round: two photos, two widths, of which one is more than a photo has."""
    from gearfast.demo import uploads
    from gearfast.demo.plan import Round

    photos = tuple(uploads.upload(uploads.find(uploads.shipped()), 2, tmp_path))
    work = Round("test", photos, widths=(500, 100))
    finish(tmp_path, work)
    return tmp_path, work
