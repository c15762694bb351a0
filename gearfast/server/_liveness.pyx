# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Whether a peer that has been sent to still answers.

Keep-alive probes find dead peers only while nothing is under way to them, and TCP_USER_TIMEOUT also ends connections of
living ones that merely do not read. So the kernel is asked what it knows. A peer that does not read acknowledges each
probe of its closed window: the count of unanswered ones stays at 0, or at 1 while an answer is on its way, however far
apart the probes are. A dead one is silent, and has left at least two transmissions unanswered since it was last heard.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memset

from gearfast.server._linux cimport IPPROTO_TCP, TCP_INFO, TIOCOUTQ, getsockopt, ioctl, socklen_t, tcp_info


cdef void live_init(Liveness* live, double limit) noexcept nogil:
    """`limit`: seconds within which a dead peer is to be found, 0 never. A round may take a tenth of it."""
    memset(live, 0, sizeof(Liveness))
    live.silence = <uint32_t>(limit * 800)
    live.grace = <uint32_t>(limit * 200)
    live.period = <int64_t>(limit * 1e8)


cdef int live_room(Liveness* live, uint64_t id) noexcept nogil:
    """A new peer: makes room for its slot; 0, or -1 without memory."""
    cdef size_t room = live.room
    cdef uint64_t* sent
    cdef uint32_t* doubted
    cdef uint32_t slot = <uint32_t>id
    if slot < room:
        return 0
    room = max(2 * room, (<size_t>slot | 63) + 1, <size_t>1024)
    sent = <uint64_t*>realloc(live.sent, room // 64 * sizeof(uint64_t))
    if sent == NULL:
        return -1
    live.sent = sent
    doubted = <uint32_t*>realloc(live.doubted, room * sizeof(uint32_t))
    if doubted == NULL:
        return -1
    live.doubted = doubted
    memset(sent + live.room // 64, 0, (room - live.room) // 64 * sizeof(uint64_t))
    memset(doubted + live.room, 0, (room - live.room) * sizeof(uint32_t))
    live.room = room
    return 0


cdef Answer live_look(int fd, uint32_t silence, uint32_t grace, uint32_t now, uint32_t* doubted) noexcept nogil:
    """Ask the kernel about a connection that was sent to; `now` in ms, `doubted` is kept from look to look."""
    cdef tcp_info info
    cdef socklen_t size = sizeof(tcp_info)
    cdef uint32_t heard, rto
    cdef int unsent = 0
    if ioctl(fd, TIOCOUTQ, &unsent) < 0 or unsent == 0 or getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0:
        doubted[0] = 0      # all has arrived, or it is no TCP
        return ANSWER_ALL
    heard = min(info.tcpi_last_ack_recv, info.tcpi_last_data_recv)
    rto = info.tcpi_rto // 1000
    if doubted[0] and heard < now - doubted[0]:
        doubted[0] = 0      # it was heard since
    # A peer that closed its window on what was under way answers each retransmission, so before the next is due.
    if doubted[0] == 0 and (info.tcpi_probes or info.tcpi_unacked and info.tcpi_retransmits and heard > rto + rto // 4):
        doubted[0] = now if now else 1
    if doubted[0] == 0 or heard < silence:
        return ANSWER_WAIT
    # Probes of a window, and of keep-alive, have gone out all through the silence.
    if info.tcpi_probes >= 2:
        return ANSWER_DEAD
    # Retransmissions may have begun at its end, as after an hour without traffic: they get time for one more try.
    if info.tcpi_unacked and info.tcpi_retransmits >= 2 and now - doubted[0] >= max(grace, rto):
        return ANSWER_DEAD
    return ANSWER_WAIT


def look(int fd, double limit, double now, double doubted):
    """For the stream driver: (answer, doubted) of a connection; `now` and `doubted` in seconds, 0 for no doubt.

    The answer is 0 if all was acknowledged, 1 if something is unacknowledged, 2 if the other side is dead.
    """
    cdef Liveness live
    cdef uint32_t since = <uint32_t><uint64_t>(doubted * 1000)
    live_init(&live, limit)
    answer = live_look(fd, live.silence, live.grace, <uint32_t><uint64_t>(now * 1000), &since)
    return answer, since / 1000
