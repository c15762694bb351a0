# SPDX-License-Identifier: BSD-3-Clause
"""Writes docs/protocol.md from the table of commands: `python docs/make_protocol.py`.

`page()` is the text; a test compares it with the file.
"""

from __future__ import annotations

from pathlib import Path

from gearfast import protocol
from gearfast.protocol import COMMANDS, CommandSpec, Sender

TARGET = Path(__file__).with_name("protocol.md")

_HEAD = """\
# The protocol

<!-- Written by docs/make_protocol.py from gearfast/protocol.py: change it there. -->

A packet is a header of {header} bytes and a body. The header: magic (`\\0REQ` to the job server, `\\0RES` from it), the
number of the command and the size of the body, both u32 and big endian. The body: the arguments, joined by single
NULs. The last one has no terminator; where it is opaque data it may hold NULs. Packets may be split and joined at any
byte; the answers on a connection keep the order of its requests. A packet whose first byte is not NUL is a line of
text, an [administrator's command](#text-commands).

## Limits

| what | most |
| --- | --- |
| an argument that ends in a NUL | {argument} bytes |
| the last argument of a command without data | {last} bytes |
| a text command, without its newline | {line} bytes |
| a packet | {packet} MiB (a setting of the server; the protocol's own limit is 4 GiB) |
| a unique | {unique} bytes |
| a job handle | {handle} bytes |

## Commands

C client, W worker, J job server; the last field is opaque data where it is in *italics*.

| no | command | fields | from | what it does |
| --- | --- | --- | --- | --- |
"""

_TAIL = """
## Where gearfast differs from gearmand

On the wire gearfast answers as gearmand does, error texts included, but for these.

| what | gearmand 1.1.20 | gearfast |
| --- | --- | --- |
| too few arguments in a packet | takes them from the next packet | closes the connection |
| a header that announces 4 GiB | allocates it | closes the connection; memory grows with the bytes that arrive |
| a command number of 2^31 or more | crashes | closes the connection |
| a function registered twice by one worker | counts twice | counts once; the last time-out holds |
| a unique of 64 bytes | is cut, and never coalesced | is kept and coalesced |
| WORK_FAIL towards a client | may carry a NUL behind the handle | never does |
| a new submission whose unique an abandoned or cancelled job has | is swallowed | makes a new job |
| a foreground client that joined a background job leaves | the background job is dropped | it stays |
| a background submission that joins a foreground job | is forgotten | keeps the job alive |
| PRE_SLEEP after a NOOP without a job | never woken again | sleeps and is woken |
| CAN_DO while asleep, jobs waiting | not woken | woken |
| a job's time-out after the job has ended | fires, and spoils the counters | belongs to the job and ends with it |
| SUBMIT_JOB_EPOCH | starts when a worker happens to ask | starts when it is due |
| SUBMIT_JOB_SCHED | ERROR | once, at the next match; a field of `*` or nothing matches always |
| EPOCH time or CAN_DO_TIMEOUT beyond 64 bits | no answer | ERROR `INVALID_ARGUMENT` |
| GET_STATUS of a handle of 64 bytes or more | no answer | STATUS_RES: unknown |
| `cancel job` of a running job | its result still arrives | clients get WORK_FAIL once; the late result is swallowed |
| GET_STATUS of a running job that was cancelled | known | unknown: so its worker learns it |
| `create function F` with a bare newline | loses the last letter | creates F |
| `drop function F` with queued jobs | orphans them | their clients get WORK_FAIL, the jobs are gone |
| order of grabbing | newest registration first | priority, then rotation (as gearmand 2.x); a setting |
| job handles after a restart | repeat | never repeat |
| `workers` with IPv6 peers | garbled | their address |

An option of gearfast's own: a worker that sends OPTION_REQ `all_yours` and gets OPTION_RES has promised to serve this
server alone. A GRAB_JOB that finds no job is then held and answered by the next job, so there is no NO_JOB, PRE_SLEEP
and NOOP; PRE_SLEEP answers all held ones with NO_JOB. gearmand answers ERROR `UNKNOWN_OPTION`.

Two functions are gearfast's own: foreground jobs of `gearfast.result` and `gearfast.result.now` are answered by the
server itself, with [what became of a job](results.md#in-any-language). OPTION_REQ `results` asks whether it does.

## Text commands

`status`, `prioritystatus`, `workers`, `show jobs`, `show unique jobs`, `cancel job HANDLE`, `create function F`,
`drop function F`, `maxqueue F [HIGH [NORMAL [LOW]]]`, `getpid`, `version`, `verbose`; and `shutdown [graceful]` on
connections that were given that right (Unix sockets, with `--admin-writes unix`). Words are split at spaces, command
words may be in any case, a line has at most five words. gearfast's own are `policy` and `schedule`, of any number of
words ([policies of functions](policies.md#on-the-running-server), [periodic jobs](schedules.md#on-the-running-server)),
`dead` ([dead letters](policies.md#dead-letters)) and `results` ([results of background jobs](results.md#administration)).
"""


def _letters(sender: Sender) -> str:
    names = ((Sender.CLIENT, "C"), (Sender.WORKER, "W"), (Sender.SERVER, "J"))
    return ", ".join(letter for member, letter in names if member in sender)


def _row(spec: CommandSpec) -> str:
    fields = [*spec.arguments, *([f"*{spec.data}*"] if spec.data else [])]
    cells = [f"{spec.command:d}", spec.command.name, ", ".join(fields) or "-", _letters(spec.sender), spec.summary]
    return f"| {' | '.join(cells)} |\n"


def page() -> str:
    """The whole page."""
    head = _HEAD.format(
        header=protocol.HEADER_SIZE,
        argument=protocol.MAX_ARGUMENT,
        last=protocol.MAX_LAST_ARGUMENT,
        line=protocol.MAX_LINE,
        packet=protocol.MAX_PACKET >> 20,
        unique=protocol.MAX_UNIQUE,
        handle=protocol.MAX_HANDLE,
    )
    return head + "".join(map(_row, COMMANDS)) + _TAIL


if __name__ == "__main__":
    TARGET.write_text(page())
