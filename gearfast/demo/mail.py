# SPDX-License-Identifier: BSD-3-Clause
"""The mail with the thumbnail, the SMTP server that takes it, and its mailbox: one file a mail.

    python -m gearfast.demo.mail FOLDER     serves SMTP on a free port of the loopback interface

A job that is repeated sends its mail again. The mailbox recognises it by its Message-ID and keeps the first.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import smtplib
import sys
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final

__all__ = ["Mailbox", "Received", "accepted_again", "build", "received", "send", "serve"]

SENDER: Final = "album@gearfast.example"
_TEXT: Final = "Hello {name},\n\nthere is a new photo in the album: {title}.\n\nThe album\n"
_END: Final = ".eml"


def build(*, message_id: str, name: str, address: str, title: str, thumbnail: bytes) -> EmailMessage:
    """The mail to one follower, the thumbnail (JPEG) attached."""
    message = EmailMessage(policy=policy.SMTP)
    message["From"] = f"Photo album <{SENDER}>"
    message["To"] = f"{name} <{address}>"
    message["Subject"] = f"New photo: {title}"
    message["Message-ID"] = message_id
    message["Date"] = formatdate()
    message.set_content(_TEXT.format(name=name, title=title))
    message.add_attachment(thumbnail, maintype="image", subtype="jpeg", filename="thumbnail.jpg")
    return message


def send(host: str, port: int, message: EmailMessage, address: str, *, timeout: float = 20.0) -> None:
    """Hands the mail to the SMTP server. Raises OSError or smtplib.SMTPException if that did not take it."""
    with smtplib.SMTP(host, port, local_hostname="localhost", timeout=timeout) as smtp:
        smtp.send_message(message, SENDER, [address])


class Mailbox:
    """A folder of mails, and the aiosmtpd handler that fills it.

    `FOLDER/NAME.eml` is a mail; `FOLDER/accepted.log` has a line for each mail that was accepted, also for those
    that were there already.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "accepted.log"
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, message_id: str) -> Path:
        """The file of the mail: readable, and different for different ids."""
        readable = re.sub(r"[^A-Za-z0-9.-]+", "_", message_id.strip("<>").partition("@")[0])[:60].strip(".")
        return self._folder / f"{readable}-{hashlib.sha256(message_id.encode()).hexdigest()[:8]}{_END}"

    def store(self, content: bytes, recipients: list[str]) -> bool | None:
        """Keeps a mail. Returns False if it is here already, None if it has no Message-ID.

        It is in its place, complete, before the sender hears "250", so a kept promise survives any crash of ours.
        """
        message_id = BytesHeaderParser(policy=policy.default).parsebytes(content)["Message-ID"]
        if message_id is None:
            return None
        path = self.path(str(message_id).strip())
        new = not path.exists()
        if new:
            part = path.with_name(f".{path.name}.part")
            part.write_bytes(b"".join(b"Delivered-To: %s\r\n" % to.encode() for to in recipients) + content)
            os.replace(part, path)
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"{'new' if new else 'again'} {message_id}\n")
        return new

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd calls it by this name
        """Called by aiosmtpd when a mail is complete."""
        new = self.store(envelope.content, list(envelope.rcpt_tos))
        if new is None:
            return "550 5.6.0 a mail needs a Message-ID here"
        return "250 2.0.0 taken" if new else "250 2.0.0 was here already"


@dataclass(frozen=True)
class Received:
    """A mail that was received, as its file says. `thumbnail`: the attached JPEG, None if there is none."""

    path: Path
    message_id: str
    delivered_to: tuple[str, ...]
    subject: str
    thumbnail: bytes | None


def received(folder: Path) -> list[Received]:
    """All mails in a mailbox, parsed."""
    mails = []
    for path in sorted(folder.glob(f"*{_END}")):
        message = message_from_bytes(path.read_bytes(), policy=policy.default)
        assert isinstance(message, EmailMessage)
        attached = [part for part in message.iter_attachments() if part.get_content_type() == "image/jpeg"]
        mails.append(
            Received(
                path,
                str(message["Message-ID"] or "").strip(),
                tuple(str(value) for value in message.get_all("Delivered-To", [])),
                str(message["Subject"] or ""),
                attached[0].get_content() if len(attached) == 1 else None,
            )
        )
    return mails


def accepted_again(folder: Path) -> int:
    """How many mails were sent although they had been delivered before."""
    log = folder / "accepted.log"
    if not log.exists():
        return 0
    return sum(line.startswith("again ") for line in log.read_text(encoding="utf-8").splitlines())


async def serve(folder: Path) -> None:
    """Receives mail until it is cancelled; says its address on stderr."""
    from aiosmtpd.smtp import SMTP

    mailbox = Mailbox(folder)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mailbox, hostname="localhost", loop=loop), "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        print(f"Listening on {host}:{port}", file=sys.stderr, flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    from gearfast.demo.leash import hold

    hold()
    asyncio.run(serve(Path(sys.argv[1])))
