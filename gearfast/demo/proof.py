# SPDX-License-Identifier: BSD-3-Clause
"""Looks at what is there: opens every image, parses every mail. Nothing that the demo counted itself is asked."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageChops, ImageStat

from gearfast.demo import images, mail
from gearfast.demo.plan import SIDE, Photo, Round

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Proof", "look"]

_UNLIKE: Final = 12.0
"""Mean difference of grey values (0 to 255) of two tiny copies above which they show different photos."""


@dataclass
class Proof:
    """What was found. `problems` is empty if everything is there and right."""

    resized: int = 0
    thumbnails: int = 0
    mails: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)


def _tiny(image: Image.Image) -> Image.Image:
    return image.convert("L").resize((16, 16), Image.Resampling.BOX)


def _differ(one: Image.Image, other: Image.Image) -> bool:
    return ImageStat.Stat(ImageChops.difference(_tiny(one), _tiny(other))).mean[0] > _UNLIKE


def _decoded(data: bytes) -> Image.Image:
    """The JPEG, decoded to its last byte. Raises OSError or ValueError if it is none or not whole."""
    with Image.open(BytesIO(data)) as image:
        if image.format != "JPEG":
            raise ValueError(f"is a {image.format}, not a JPEG")
        image.load()
        return image.copy()


def _look_at_image(proof: Proof, root: Path, name: str, size: tuple[int, int], original: Image.Image) -> bytes:
    """Checks one file; returns its bytes, none if it is missing or wrong."""
    try:
        data = (root / name).read_bytes()
        image = _decoded(data)
    except FileNotFoundError:
        proof.problems.append(f"{name} is missing")
        return b""
    except (OSError, ValueError, SyntaxError) as exc:
        proof.problems.append(f"{name} cannot be decoded: {exc}")
        return b""
    if image.size != size:
        proof.problems.append(f"{name} is {image.size[0]}x{image.size[1]} pixels instead of {size[0]}x{size[1]}")
        return b""
    if _differ(image, original):
        proof.problems.append(f"{name} does not show the photo that it was made of")
        return b""
    proof.bytes += len(data)
    return data


def _look_at_photo(proof: Proof, root: Path, work: Round, photo: Photo) -> bytes:
    """Checks the images of a photo; returns the thumbnail's bytes, none if it is missing or wrong."""
    original = images.load(root / photo.path, about=2 * SIDE)
    for width in work.widths:
        size = images.target_size(photo.size, width)
        proof.resized += bool(_look_at_image(proof, root, work.resized(photo, width), size, original))
    name = work.thumbnail(photo)
    data = _look_at_image(proof, root, name, (SIDE, SIDE), images.square(original, SIDE))
    proof.thumbnails += bool(data)
    return data


def _look_at_mails(proof: Proof, folder: Path, work: Round, thumbnails: dict[str, bytes]) -> None:
    """Checks that each follower got one mail about each photo, with its thumbnail."""
    by_id: dict[str, list[mail.Received]] = defaultdict(list)
    for received in mail.received(folder):
        by_id[received.message_id].append(received)
    for photo in work.photos:
        for follower in work.followers:
            message_id = work.message_id(photo, follower)
            found = by_id.pop(message_id, [])
            if len(found) != 1:
                times = "was not delivered" if not found else f"was delivered {len(found)} times"
                proof.problems.append(f"the mail {message_id} to {follower.address} {times}")
                continue
            problem = _wrong_with(found[0], follower.address, thumbnails.get(photo.name, b""))
            if problem:
                proof.problems.append(f"{found[0].path.name}: {problem}")
            else:
                proof.mails += 1
    proof.problems += [f"{message_id} is in the mailbox, but nobody should have sent it" for message_id in by_id]


def _wrong_with(received: mail.Received, address: str, thumbnail: bytes) -> str:
    if received.delivered_to != (address,):
        return f"went to {', '.join(received.delivered_to) or 'nobody'} instead of {address}"
    if received.thumbnail is None:
        return "has no thumbnail attached"
    try:
        image = _decoded(received.thumbnail)
    except (OSError, ValueError, SyntaxError) as exc:
        return f"its thumbnail cannot be decoded: {exc}"
    if image.size != (SIDE, SIDE):
        return f"its thumbnail is {image.size[0]}x{image.size[1]} pixels"
    if received.thumbnail != thumbnail:
        return "its thumbnail is not the one of the photo"
    return ""


def look(root: Path, work: Round, mailbox: Path) -> Proof:
    """Compares what is in the folder and in the mailbox with what the round is to produce."""
    proof = Proof()
    thumbnails = {photo.name: _look_at_photo(proof, root, work, photo) for photo in work.photos}
    expected = {work.resized(photo, width) for photo in work.photos for width in work.widths}
    expected |= {work.thumbnail(photo) for photo in work.photos}
    for kind in ("resized", "thumbnails"):
        for path in sorted((root / work.folder / kind).iterdir()) if (root / work.folder / kind).exists() else ():
            name = path.relative_to(root).as_posix()
            if name not in expected:
                proof.problems.append(f"{name} should not be there")
    _look_at_mails(proof, mailbox, work, thumbnails)
    return proof
