# SPDX-License-Identifier: BSD-3-Clause
"""Read any Gearman stream, whole or in pieces: for proxies, recorders and tools. Needs nothing else.

python packets.py
"""

from gearfast import Command, Decoder, Packet

stream = Packet(Command.SUBMIT_JOB, [b"reverse", b"unique-1", b"Hello"]).encode() + b"status\n"

decoder = Decoder()
for start in range(0, len(stream), 10):
    for item in decoder.receive(stream[start : start + 10]):
        if isinstance(item, Packet):
            print(item.name, item.args)
        else:
            print("text line:", item)
