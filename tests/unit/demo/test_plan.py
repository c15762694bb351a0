# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import json

from gearfast.demo.plan import FOLLOWERS, MAIL, RESIZE, THUMBNAIL, Photo, Round

PHOTOS = (Photo("photo-01", "uploads/a.jpg", "a", (10, 10)), Photo("photo-02", "uploads/b.jpg", "b", (20, 10)))


def test_each_photo_gets_its_widths_a_thumbnail_and_a_mail_for_each_follower() -> None:
    work = Round("r", PHOTOS, widths=(30, 20, 10))
    jobs = [job for photo in PHOTOS for job in (*work.image_jobs(photo), *work.mail_jobs(photo))]
    by_function = {name: sum(job.function == name for job in jobs) for name in (RESIZE, THUMBNAIL, MAIL)}
    assert by_function == {RESIZE: 6, THUMBNAIL: 2, MAIL: 2 * len(FOLLOWERS)} == work.totals


def test_keys_targets_and_message_ids_are_unique_and_the_same_each_time() -> None:
    def names() -> list[str]:
        work = Round("r", PHOTOS)
        jobs = [job for photo in PHOTOS for job in (*work.image_jobs(photo), *work.mail_jobs(photo))]
        return [job.key for job in jobs] + [job.arguments.get("target") or job.arguments["message_id"] for job in jobs]

    assert len(set(names())) == len(names())
    assert names() == names()


def test_the_workload_is_json_with_the_key() -> None:
    job = next(Round("r", PHOTOS, folder="x/", widths=(30,)).image_jobs(PHOTOS[0]))
    assert json.loads(job.workload) == {
        "source": "uploads/a.jpg",
        "target": "x/resized/photo-01-30.jpg",
        "width": 30,
        "key": "r/photo-01/30",
    }


def test_rounds_have_different_message_ids() -> None:
    one, two = (Round(name, PHOTOS).message_id(PHOTOS[0], FOLLOWERS[0]) for name in ("one", "two"))
    assert one != two


def test_a_chain_is_all_jobs_with_the_mails_inside_the_thumbnails() -> None:
    work = Round("r", PHOTOS)
    chained = [job for photo in PHOTOS for job in work.chained_jobs(photo)]
    keys = [job.key for job in chained]
    keys += [mail["key"] for job in chained for mail in job.arguments.get("mails", ())]
    assert sorted(keys) == sorted(job.key for job in work.jobs)
    assert len(keys) == sum(work.totals.values())
    for job in chained:
        assert ("mails" in job.arguments) == (job.function == THUMBNAIL)
    (thumbnail,) = (job for job in work.chained_jobs(PHOTOS[0]) if job.function == THUMBNAIL)
    mails = list(work.mail_jobs(PHOTOS[0]))
    assert [json.dumps(mail) for mail in thumbnail.arguments["mails"]] == [
        json.dumps({**mail.arguments, "key": mail.key}) for mail in mails
    ]
