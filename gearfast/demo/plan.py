# SPDX-License-Identifier: BSD-3-Clause
"""What a round of the demo is to produce: which photo in which widths, which mail to whom, under which names.

The uploader makes its jobs from a `Round`, and the proof looks for exactly the files and mails that it names.
All paths are relative to the demo's folder and use forward slashes, so that they can travel in a job.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["COUNT", "FOLLOWERS", "MAIL", "RESIZE", "THUMBNAIL", "WIDTHS", "Follower", "JobSpec", "Photo", "Round"]

RESIZE: Final = "resize"
THUMBNAIL: Final = "thumbnail"
MAIL: Final = "mail"

COUNT: Final = 30
"""How many photos are uploaded unless a folder or a number is given."""
WIDTHS: Final = (1600, 800, 400)
"""Widths in pixels. A photo that is narrower is not enlarged."""
SIDE: Final = 240
"""Width and height of a thumbnail in pixels."""


@dataclass(frozen=True)
class Follower:
    """Somebody who gets a mail for each photo."""

    name: str
    address: str


FOLLOWERS: Final = tuple(Follower(name, f"{name.lower()}@gearfast.example") for name in ("Ada", "Grace", "Alan"))


@dataclass(frozen=True)
class Photo:
    """One upload. `path`: the file; `title`: for people; `size`: width and height in pixels, upright."""

    name: str
    path: str
    title: str
    size: tuple[int, int]


@dataclass(frozen=True)
class JobSpec:
    """One job. `key`: the same for each repetition of the job and for no other; the client sends it as unique."""

    function: str
    key: str
    photo: Photo
    arguments: dict[str, Any]

    @property
    def workload(self) -> bytes:
        """The arguments and the key as JSON."""
        return json.dumps({**self.arguments, "key": self.key}, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Round:
    """All work of one run through the photos. `folder`: prefix of its results, with a slash at its end, or empty."""

    name: str
    photos: tuple[Photo, ...]
    followers: tuple[Follower, ...] = FOLLOWERS
    folder: str = ""
    widths: tuple[int, ...] = WIDTHS

    def resized(self, photo: Photo, width: int) -> str:
        """Where the photo of that width will be."""
        return f"{self.folder}resized/{photo.name}-{width}.jpg"

    def thumbnail(self, photo: Photo) -> str:
        """Where the photo's thumbnail will be."""
        return f"{self.folder}thumbnails/{photo.name}.jpg"

    def message_id(self, photo: Photo, follower: Follower) -> str:
        """The Message-ID of the mail: always the same, so that a repeated job delivers nothing new."""
        return f"<{photo.name}.{follower.name.lower()}.{self.name}@demo.gearfast.example>"

    def image_jobs(self, photo: Photo) -> Iterator[JobSpec]:
        """The resizes and the thumbnail of a photo."""
        for width in self.widths:
            arguments = {"source": photo.path, "target": self.resized(photo, width), "width": width}
            yield JobSpec(RESIZE, f"{self.name}/{photo.name}/{width}", photo, arguments)
        arguments = {"source": photo.path, "target": self.thumbnail(photo), "side": SIDE}
        yield JobSpec(THUMBNAIL, f"{self.name}/{photo.name}/thumbnail", photo, arguments)

    def mail_jobs(self, photo: Photo) -> Iterator[JobSpec]:
        """The mails about a photo. They need its thumbnail."""
        for follower in self.followers:
            arguments = {
                "message_id": self.message_id(photo, follower),
                "name": follower.name,
                "address": follower.address,
                "title": photo.title,
                "thumbnail": self.thumbnail(photo),
            }
            yield JobSpec(MAIL, f"{self.name}/{photo.name}/{follower.name.lower()}", photo, arguments)

    def chained_jobs(self, photo: Photo) -> Iterator[JobSpec]:
        """The image jobs for a client that does not stay: the thumbnail's worker submits the mails."""
        mails = [{**job.arguments, "key": job.key} for job in self.mail_jobs(photo)]
        for job in self.image_jobs(photo):
            yield replace(job, arguments={**job.arguments, "mails": mails}) if job.function == THUMBNAIL else job

    @property
    def jobs(self) -> Iterator[JobSpec]:
        """All jobs."""
        for photo in self.photos:
            yield from self.image_jobs(photo)
            yield from self.mail_jobs(photo)

    @property
    def totals(self) -> dict[str, int]:
        """Jobs by function."""
        count = len(self.photos)
        return {RESIZE: count * len(self.widths), THUMBNAIL: count, MAIL: count * len(self.followers)}
