# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The fuzz target `dispatcher`: its input is a program of clients and workers on one dispatcher.

Two bytes are settings. Then each byte is an operation (its low five bits) of one of eight peers (the others), followed
by the operation's own bytes; `OPERATIONS` lists them. Peers connect when they are first used. Most operations send
well-formed packets with names and handles that are in use, so that short programs reach deep states; some send what
the input says. After every few operations, and when all have left, every record is checked.

`replay.py` runs the same programs over the Python face; keep the two alike.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset, strlen

from gearfast._codec cimport PACKET, Field, Frame, decode, put_header
from gearfast.dispatch._check cimport assert_core, check_core, runnable_level
from gearfast.dispatch._core cimport begin_tick, end_tick, feed, feed_commit, feed_space, part, watch_with
from gearfast.dispatch._core cimport join as join_core
from gearfast.dispatch._dispatcher cimport Dispatcher
from gearfast.dispatch._job cimport job_priority
from gearfast.dispatch._output cimport output_drop, output_pieces
from gearfast.dispatch._peer cimport peer_by_id, peer_next_dirty, peer_relieve, peer_unsent
from gearfast.dispatch._records cimport (
    ORDER_PRIORITY, PEER_ASLEEP, PEER_CLOSING, PEER_NOTICED, PRIORITIES, Ability, Core, Job, Peer,
)

cdef enum:
    PEERS = 8
    CROWD = 256
    ROOM = 2048
    CHECK_EVERY = 6
    MANY = 127                  # most of one operation's repetitions; above the size of a small table
    LIMIT = 1 << 20             # bytes of a packet
    PIECES = 5                  # of output that are taken at a time
    CYCLE = 23                  # letters of a large body before they repeat
    LARGE = 20000               # bytes of an argument that must be part of such a body

ctypedef const char* Text
ctypedef int (*Operation)(Program program, int who) except -1

cdef Operation OPERATIONS[32]

cdef int[10] SUBMISSIONS = [7, 21, 33, 18, 32, 34, 36, 35, 37, 38]
cdef int[8] LARGE_COMMANDS = [16, 7, 18, 21, 13, 28, 25, 29]
cdef int[6] WORKS = [28, 29, 12, 13, 14, 25]
cdef int[4] SIZES = [0, 1, 5, 600]
cdef int[4] RETRIES = [-1, 0, 1, 3]
cdef int[4] WAKEUPS = [0, 0, 1, 2]
cdef Text[8] ADMIN = [
    "create function f%d", "drop function f%d", "maxqueue f%d %d", "show jobs", "show unique jobs", "workers",
    "prioritystatus", "status",
]
cdef size_t[4] CEILINGS = [0, 0, 3000, 300000]
cdef list ORDERS = ["priority", "function", "function-rotate", "priority"]
cdef char[600] FILLER
memset(FILLER, c'w', sizeof(FILLER))
cdef bytes LETTERS = bytes(ord("a") + i % CYCLE for i in range(400_000))
cdef const char* PATTERN = LETTERS


def match(minute, hour, day, month, weekday, after):
    """Cheaper than the real calendar, which has tests of its own."""
    if minute == 59:
        raise ValueError("never")
    return int(after) + 60 * (1 + (minute or 0))


cdef class Program:
    cdef Dispatcher dispatcher
    cdef Core* core
    cdef const uint8_t* data
    cdef size_t size
    cdef size_t at
    cdef uint64_t ids[PEERS]    # 0: not connected
    cdef bint clean[PEERS]      # its output is packets only, from the start of one
    cdef uint64_t crowd[CROWD]
    cdef int crowd_count
    cdef int64_t monotonic
    cdef int64_t wall
    cdef int cut                # the next packet is sent in two pieces, the first of this size; 0: in one
    cdef int gather             # so many packets of `gatherer` are gathered, to be sent in one piece
    cdef int gatherer
    cdef char batch[ROOM]
    cdef size_t batched
    cdef char packet[ROOM]
    cdef size_t length

    cdef int byte(self) noexcept:
        """The next byte of the program, 0 behind its end."""
        if self.at >= self.size:
            return 0
        self.at += 1
        return self.data[self.at - 1]

    cdef size_t count(self, int most) noexcept:
        """How many of the program's next bytes are data: the next byte tells, if there are as many."""
        cdef size_t wanted = self.byte() & most
        return min(wanted, self.size - self.at)

    cdef Peer* peer(self, int who) except NULL:
        cdef Peer* peer
        if self.ids[who] == 0:
            peer = join_core(self.core, who, "10.1.1.1", 8, 1 if who == 7 else 0 if who == 6 else -1)
            self.ids[who] = peer.id
            self.clean[who] = True
        peer = peer_by_id(self.core, self.ids[who])
        if peer == NULL:
            raise AssertionError(f"peer {who} is lost")
        return peer

    # Building and sending

    cdef void begin(self) noexcept:
        self.length = 12

    cdef void add(self, const char* data, size_t size) noexcept:
        """One more argument."""
        if self.length > 12:
            self.packet[self.length] = 0
            self.length += 1
        memcpy(self.packet + self.length, data, size)
        self.length += size

    cdef void add_text(self, const char* text) noexcept:
        self.add(text, strlen(text))

    cdef void add_number(self, const char* form, long long number) noexcept:
        cdef char text[32]
        self.add(text, snprintf(text, sizeof(text), form, number))

    cdef void add_function(self, int names) noexcept:
        self.add_number("f%lld", names & 7)

    cdef void add_unique(self, int names) noexcept:
        cdef int number = names >> 3 & 7
        if number < 2:
            self.add("-", number)
        else:
            self.add_number("u%lld", number)

    cdef void add_data(self, int names) noexcept:
        self.add(FILLER, SIZES[names >> 6 & 3])

    cdef void add_recent(self, int back) noexcept:
        """The handle of the job that was submitted `back` jobs before the last one."""
        self.add_number("H:%lld", max(<int64_t>self.core.next_number - 1 - back, 0))

    cdef int send_packet(self, int who, int command) except -1:
        put_header(self.packet, False, command, <unsigned>(self.length - 12))
        return self.send(who, self.packet, self.length)

    cdef int send(self, int who, const char* data, size_t size) except -1:
        cdef size_t first = min(<size_t>self.cut, size)
        if self.gather and who == self.gatherer:
            if self.batched + size <= ROOM:
                memcpy(self.batch + self.batched, data, size)
                self.batched += size
                self.gather -= 1
                return 0 if self.gather else self.flush()
            self.flush()
        self.cut = 0
        if first:
            self.give(self.peer(who), data, first)
        if first < size:
            self.give(self.peer(who), data + first, size - first)
        return 0

    cdef int flush(self) except -1:
        """What was gathered is sent."""
        cdef size_t size = self.batched
        self.gather = 0
        self.batched = 0
        return self.give(self.peer(self.gatherer), self.batch, size) if size else 0

    cdef int give(self, Peer* peer, const char* data, size_t size) except -1:
        """From a block of exactly this size, so that no read beyond it goes unnoticed."""
        cdef char* block = <char*>malloc(size if size else 1)
        memcpy(block, data, size)
        feed(self.core, peer, block, size)
        free(block)
        return 0

    # Running

    cdef int run(self) except -1:
        cdef int operation
        cdef int steps = 0
        while self.at < self.size:
            operation = self.byte()
            OPERATIONS[operation & 31](self, operation >> 5)
            steps += 1
            if steps % CHECK_EVERY == 0:
                check_core(self.core)
        check_core(self.core)
        for operation in range(PEERS):
            leave(self, operation)
        op_crowd_leave(self, 0)
        check_core(self.core)
        if self.core.running_count or self.core.peer_count or self.core.abilities.count:
            raise AssertionError("all have left, but something of them is still there")
        return 0


cdef int verify_output(Program program, int who) except -1:
    """Take a peer's output; if it sent packets only, it is whole packets of a server."""
    cdef Peer* peer = program.peer(who)
    cdef size_t size = peer_unsent(peer)
    cdef char* data = <char*>malloc(size if size else 1)
    cdef size_t at = 0
    cdef Frame frame
    take(program.core, peer, data)
    while program.clean[who] and at < size:
        if decode(data + at, size - at, 2 * LIMIT, &frame) != PACKET or not frame.is_response:
            raise AssertionError(f"peer {who} gets no packet at byte {at} of its output")
        if frame.count and not is_whole(&frame):
            raise AssertionError(f"peer {who} gets a large body that is not what was sent")
        at += frame.size
    free(data)
    return 0


cdef int take(Core* core, Peer* peer, char* data) except -1:
    """All output of a peer, joined."""
    cdef Field[PIECES] pieces
    cdef size_t before
    cdef size_t i
    while peer_unsent(peer):
        before = 0
        for i in range(output_pieces(peer, pieces, PIECES)):
            memcpy(data + before, pieces[i].data, pieces[i].size)
            before += pieces[i].size
        if before == 0:
            raise AssertionError("there is output, but no piece of it")
        output_drop(core, peer, before)
        data += before
    peer_relieve(core, peer)
    return 0


cdef bint is_whole(Frame* frame) noexcept:
    """Whether a large last argument is as op_large makes them."""
    cdef const char* data = frame.args[frame.count - 1].data
    cdef size_t size = frame.args[frame.count - 1].size
    return size < LARGE or c'a' <= data[0] < c'a' + CYCLE and memcmp(data, PATTERN + data[0] - c'a', size) == 0


cdef int leave(Program program, int who) except -1:
    if program.ids[who]:
        if program.gather and program.gatherer == who:
            program.flush()
        verify_output(program, who)
        part(program.core, program.peer(who))
        program.ids[who] = 0
    return 0


# Operations; their own bytes are in the comments

# who
cdef int op_connect(Program program, int who) except -1:
    if program.ids[who]:
        return leave(program, who)
    program.peer(who)
    return 0


# count, bytes
cdef int op_raw(Program program, int who) except -1:
    cdef size_t size = program.count(255)
    program.peer(who)
    program.clean[who] = False
    program.send(who, <const char*>program.data + program.at, size)
    program.at += size
    return 0


# count, bytes of a text line without its newline
cdef int op_line(Program program, int who) except -1:
    cdef size_t size = program.count(63)
    memcpy(program.packet, program.data + program.at, size)
    program.at += size
    return say(program, who, size)


cdef int say(Program program, int who, size_t size) except -1:
    """Send the text at the start of `packet` as a line."""
    program.peer(who)
    program.clean[who] = False
    program.packet[size] = c'\n'
    return program.send(who, program.packet, size + 1)


# step: its low six bits are an exponent of two (ns), 64 sets the wall clock back, 128 leaves it
cdef int op_tick(Program program, int who) except -1:
    cdef int how = program.byte()
    cdef int64_t step = <int64_t>1 << min(how & 63, 57)
    if program.monotonic < <int64_t>1 << 61:
        program.monotonic += step
    if how & 64:
        program.wall = max(program.wall - step, <int64_t>0)
    elif not how & 128 and program.wall < <int64_t>1 << 61:
        program.wall += step
    begin_tick(program.core, program.monotonic, program.wall)
    if end_tick(program.core) < -1:
        raise AssertionError("a deadline in the past")
    return 0


cdef int op_output(Program program, int who) except -1:
    return verify_output(program, who)


# count (128: of thousands): the dirty peers are taken off their list, and so many bytes of this one's output are sent
cdef int op_drain(Program program, int who) except -1:
    cdef Peer* peer = program.peer(who)
    cdef size_t size = program.byte()
    size = min(1000 * (size & 127) if size & 128 else size, peer_unsent(peer))
    while peer_next_dirty(program.core) != NULL:
        pass
    if size:
        program.clean[who] = False
        output_drop(program.core, peer, size)
        peer_relieve(program.core, peer)
    return 0


# kind, names[, time]
cdef int op_submit(Program program, int who) except -1:
    cdef int command = SUBMISSIONS[program.byte() % 10]
    cdef int names = program.byte()
    program.begin()
    program.add_function(names)
    program.add_unique(names)
    if command == 36:
        program.add_number("%lld", program.wall // 1000000000 + program.byte())
    elif command == 35:
        program.add_number("%lld", program.byte() % 61)
        for _ in range(4):
            program.add_text("*")
    elif command >= 37:
        program.add_text("reducer")
        program.add_text("aggregator")
    program.add_data(names)
    return program.send_packet(who, command)


cdef int best_level(Program program, Peer* peer) noexcept:
    """The level of the most urgent job that a worker could be given, 0 if there is none or it is not listened to."""
    cdef Ability* ability = peer.abilities
    cdef int best = 0
    if program.core.draining or peer.flags & PEER_CLOSING or peer.partial.end != peer.partial.begin \
            or peer.large != NULL or peer.whole or program.gather \
            or program.core.high_water and peer_unsent(peer) > program.core.high_water:
        return 0
    while ability != NULL:
        best = max(best, runnable_level(program.core, ability.function))
        ability = ability.peer_next
    return best


# form
cdef int op_grab(Program program, int who) except -1:
    cdef int form = program.byte() % 3
    cdef Peer* peer = program.peer(who)
    cdef int best = best_level(program, peer)
    cdef size_t running = program.core.running_count
    program.begin()
    program.send_packet(who, 9 if form == 0 else 30 if form == 1 else 39)
    if peer.flags & PEER_CLOSING:
        return 0
    if best and program.core.running_count != running + 1:
        raise AssertionError(f"peer {who} is given no job, though one of level {best} is there")
    if best and program.core.order == ORDER_PRIORITY and PRIORITIES - job_priority(peer.jobs) != best:
        raise AssertionError(f"peer {who} is given a job of priority {job_priority(peer.jobs)}, not of level {best}")
    return 0


cdef int op_pre_sleep(Program program, int who) except -1:
    cdef Peer* peer = program.peer(who)
    cdef int best = best_level(program, peer)
    program.begin()
    program.send_packet(who, 4)
    if best and not peer.flags & PEER_CLOSING and peer.flags & (PEER_ASLEEP | PEER_NOTICED) != PEER_NOTICED:
        raise AssertionError(f"peer {who} sleeps, though a job of level {best} is there")
    return 0


# names
cdef int op_can_do(Program program, int who) except -1:
    program.begin()
    program.add_function(program.byte())
    return program.send_packet(who, 1)


# names
cdef int op_cant_do(Program program, int who) except -1:
    program.begin()
    program.add_function(program.byte())
    return program.send_packet(who, 2)


# names, quarters of a second
cdef int op_can_do_timeout(Program program, int who) except -1:
    program.begin()
    program.add_function(program.byte())
    program.add_number("%lld", 250 * program.byte())
    return program.send_packet(who, 23)


cdef int op_reset(Program program, int who) except -1:
    program.begin()
    return program.send_packet(who, 3)


cdef uint64_t own_job(Peer* peer, int which) noexcept:
    """The number of one of a worker's running jobs, oldest first; 0 if it has none."""
    cdef uint64_t least = 0
    cdef uint64_t best = 0
    cdef size_t count = 0
    cdef Job* job = peer.jobs
    while job != NULL:
        count += 1
        job = job.next
    if count == 0:
        return 0
    for _ in range(which % count + 1):
        best = <uint64_t>-1
        job = peer.jobs
        while job != NULL:
            if least < job.number < best:
                best = job.number
            job = job.next
        least = best
    return best


cdef int send_work(Program program, int who, int kind) except -1:
    """The handle has been added."""
    cdef int command = WORKS[kind % 6]
    if command == 12:
        program.add_text("1")
        program.add_text("4294967295")
    elif command != 14:
        program.add_data(kind)
    return program.send_packet(who, command)


# kind, which
cdef int op_work_own(Program program, int who) except -1:
    cdef int kind = program.byte()
    program.begin()
    program.add_number("H:%lld", own_job(program.peer(who), program.byte()))
    return send_work(program, who, kind)


# kind, how many jobs before the last one
cdef int op_work_recent(Program program, int who) except -1:
    cdef int kind = program.byte()
    program.begin()
    program.add_recent(program.byte())
    return send_work(program, who, kind)


# how many jobs before the last one
cdef int op_status(Program program, int who) except -1:
    program.begin()
    program.add_recent(program.byte())
    return program.send_packet(who, 15)


# names
cdef int op_status_unique(Program program, int who) except -1:
    program.begin()
    program.add_unique(program.byte())
    return program.send_packet(who, 41)


# which
cdef int op_option(Program program, int who) except -1:
    cdef int which = program.byte() % 3
    program.begin()
    program.add_text("all_yours" if which == 0 else "exceptions" if which == 1 else "other")
    return program.send_packet(who, 26)


# how many jobs before the last one; 128: and sixteen in all, each third one
cdef int op_cancel(Program program, int who) except -1:
    cdef int back = program.byte()
    cdef long long number
    cdef int i
    for i in range(16 if back & 128 else 1):
        number = max(<int64_t>program.core.next_number - 1 - (back & 127) - 3 * i, 0)
        say(program, who, snprintf(program.packet, 64, "cancel job H:%lld", number))
    return 0


# verb, names
cdef int op_admin(Program program, int who) except -1:
    cdef int verb = program.byte() % 8
    cdef int names = program.byte()
    return say(program, who, snprintf(program.packet, 64, ADMIN[verb], names & 7, names >> 3))


# count, bytes
cdef int op_client_id(Program program, int who) except -1:
    cdef size_t size = program.count(255)
    program.begin()
    program.add(<const char*>program.data + program.at, size)
    program.at += size
    return program.send_packet(who, 22)


# count; 128: that many packets of this peer, and two more, are sent in one piece
cdef int op_cut(Program program, int who) except -1:
    cdef int count = program.byte()
    if count & 128:
        program.flush()
        program.gather = 2 + (count & 7)
        program.gatherer = who
    else:
        program.cut = count
    return 0


# kind, half KiBs: a packet with a large body. The low three bits of the kind say which packet; 8: not by the way of
# drivers that receive into the dispatcher's memory; 16: in small pieces; 32: the peer leaves in the middle.
cdef int op_large(Program program, int who) except -1:
    cdef int kind = program.byte()
    cdef size_t size = 24576 + 512 * <size_t>program.byte()
    cdef size_t left = size
    cdef size_t room = 0
    cdef int command = LARGE_COMMANDS[kind & 7]
    cdef Peer* peer = program.peer(who)
    cdef char* at
    program.begin()
    if command != 16:
        if kind & 7 < 4:
            program.add_function(kind)
            program.add_text("" if kind & 7 == 1 else "-" if kind & 7 == 2 else "large")
        else:
            program.add_number("H:%lld", own_job(peer, 0))
        program.packet[program.length] = 0
        program.length += 1
    put_header(program.packet, False, command, <unsigned>(program.length - 12 + size))
    program.give(peer, program.packet, program.length)
    while left:
        if kind & 32 and left < size // 2:
            return leave(program, who)
        at = NULL if kind & 8 else feed_space(program.core, peer, &room)
        if at == NULL:
            room = min(left, <size_t>(600 if kind & 16 else 5000))
            program.give(peer, PATTERN + (size - left) % CYCLE, room)
        else:
            room = min(min(room, left), <size_t>(3000 if kind & 16 else len(LETTERS) - CYCLE))
            memcpy(at, PATTERN + (size - left) % CYCLE, room)
            feed_commit(program.core, peer, room)
        left -= room
    return 0


# of the last peer also: no more jobs are given out; of the last but one: all that another one has sent is done
cdef int op_check(Program program, int who) except -1:
    if who == 7:
        program.dispatcher.drain()
    elif who == 6 and program.ids[5]:
        program.dispatcher.complete(program.ids[5])
    return check_core(program.core)


# command (128: of a server), count, bytes of the body
cdef int op_packet(Program program, int who) except -1:
    cdef int command = program.byte()
    cdef size_t size = program.count(255)
    put_header(program.packet, command & 128, command & 127, <unsigned>size)
    memcpy(program.packet + 12, program.data + program.at, size)
    program.at += size
    program.peer(who)
    return program.send(who, program.packet, 12 + size)


# count of functions b0, b1 …
cdef int op_many_can_do(Program program, int who) except -1:
    cdef int i
    for i in range(program.byte() & MANY):
        program.begin()
        program.add_number("b%lld", i)
        program.send_packet(who, 1)
    return 0


# count of background jobs of f0 with uniques n0, n1 …; 128: which are due within a hundred seconds
cdef int op_many_submit(Program program, int who) except -1:
    cdef int count = program.byte()
    cdef int i
    for i in range(count & MANY):
        program.begin()
        program.add_text("f0")
        program.add_number("n%lld", i)
        if count & 128:
            program.add_number("%lld", program.wall // 1000000000 + 1 + 37 * i % 101)
        program.add_text("w")
        program.send_packet(who, 36 if count & 128 else 18)
    return 0


# count of jobs of b0, b1 … for which the client waits
cdef int op_many_functions(Program program, int who) except -1:
    cdef int i
    for i in range(program.byte() & MANY):
        program.begin()
        program.add_number("b%lld", i)
        program.add_text("")
        program.add_text("w")
        program.send_packet(who, 33 if i & 1 else 21)
    return 0


# count
cdef int op_many_grab(Program program, int who) except -1:
    for _ in range(program.byte() & MANY):
        program.begin()
        program.send_packet(who, 39)
    return 0


# count of own jobs, oldest first
cdef int op_many_complete(Program program, int who) except -1:
    cdef uint64_t number
    for _ in range(program.byte() & MANY):
        number = own_job(program.peer(who), 0)
        if number == 0:
            break
        program.begin()
        program.add_number("H:%lld", number)
        program.add_text("r")
        program.send_packet(who, 13)
    return 0


# count of workers for f0 … f7 that go to sleep
cdef int op_crowd(Program program, int who) except -1:
    cdef int i
    cdef Peer* peer
    for i in range(program.byte() & MANY):
        if program.crowd_count == CROWD:
            break
        peer = join_core(program.core, -1, "", 0, -1)
        program.crowd[program.crowd_count] = peer.id
        program.crowd_count += 1
        program.begin()
        program.add_function(i)
        put_header(program.packet, False, 1, <unsigned>(program.length - 12))
        program.give(peer, program.packet, program.length)
        put_header(program.packet, False, 4, 0)
        program.give(peer, program.packet, 12)
    return 0


cdef int op_crowd_leave(Program program, int who) except -1:
    cdef int i
    for i in range(program.crowd_count):
        part(program.core, peer_by_id(program.core, program.crowd[i]))
    program.crowd_count = 0
    return 0


OPERATIONS[:] = [
    op_connect, op_raw, op_line, op_tick, op_output, op_submit, op_grab, op_pre_sleep, op_can_do, op_cant_do,
    op_can_do_timeout, op_reset, op_work_own, op_work_recent, op_status, op_status_unique, op_option, op_cancel,
    op_admin, op_client_id, op_cut, op_large, op_check, op_packet, op_many_can_do, op_many_submit, op_many_functions,
    op_many_grab, op_many_complete, op_crowd, op_crowd_leave, op_drain,
]


cdef public int fuzz_dispatcher(unsigned char* data, size_t size) except -1:
    cdef Program program
    if size < 2:
        return 0
    watch_with(NULL)            # it takes most of the time
    if data[1] & 224 == 0:
        watch_with(assert_core)
    program = Program()
    program.dispatcher = Dispatcher(
        handle_prefix=b"H", order=ORDERS[data[0] & 3], wakeup=WAKEUPS[data[0] >> 2 & 3], exceptions=data[0] & 16 != 0,
        admin_writes=data[0] & 32 == 0, job_retries=RETRIES[data[0] >> 6], seed=data[1],
        max_packet=4096 if data[1] & 1 else LIMIT, max_unsent=300 if data[1] & 2 else 0,
        max_queued=CEILINGS[data[1] >> 2 & 3], high_water=200 if data[1] & 16 else 0, next_match=match,
    )
    program.core = &program.dispatcher.core
    program.data = data + 2
    program.size = size - 2
    program.monotonic = 1
    program.wall = <int64_t>1700000000 * 1000000000
    begin_tick(program.core, program.monotonic, program.wall)
    program.run()
    return 0
