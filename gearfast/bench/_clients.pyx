# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Client connections of the load generator, and the histogram of their latencies."""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, timespec
from posix.unistd cimport close, read

from gearfast.bench._load cimport (
    ECHO_REQ, ECHO_RES, EPOLL_CTL_ADD, EPOLLIN, ERROR, HEADER, JOB_CREATED, TAG, TIMER, WORK_COMPLETE, Conn, Load,
    epoll_ctl, epoll_event, get_u32, now_ns, put_u32,
)


cdef extern from *:
    int __builtin_clzll(unsigned long long) nogil


cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        unsigned short sa_family
    struct sockaddr_storage:
        unsigned short ss_family
    enum: AF_INET
    enum: SOCK_STREAM
    enum: SOCK_CLOEXEC
    int socket(int, int, int)
    int connect(int, sockaddr*, socklen_t)
    int getpeername(int, sockaddr*, socklen_t*)
    int setsockopt(int, int, int, void*, socklen_t)


cdef extern from "<netinet/tcp.h>" nogil:
    enum: TCP_NODELAY
    enum: IPPROTO_TCP


cdef extern from "<sys/timerfd.h>" nogil:
    struct itimerspec:
        timespec it_interval
        timespec it_value
    int timerfd_create(int, int)
    int timerfd_settime(int, int, itimerspec*, itimerspec*)


cdef enum:
    BUCKETS = 64 * 48             # latencies: 64 steps between two powers of two, up to 2^47 ns


cdef enum Kind:
    FOREGROUND = 0
    BACKGROUND = 1
    ECHO = 2
    CONNECT = 3


cdef inline int _bucket(int64_t value) noexcept nogil:
    """Index of a latency in ns: exact below 128, then 64 steps between two powers of two (1.6 % each)."""
    cdef int shift, index
    if value < 128:
        return <int>value if value > 0 else 0
    shift = 57 - __builtin_clzll(value)
    index = shift * 64 + <int>(value >> shift)
    return index if index < BUCKETS else BUCKETS - 1


def bucket_value(int index):
    """Lower bound in ns of the latencies that fall into bucket `index`."""
    if index < 128:
        return index
    cdef int shift = index // 64 - 1
    return (index - shift * 64) << shift


def percentile(histogram, double share):
    """The latency in ns below which `share` (0 to 1) of the jobs in `histogram` (a list of counts) fall; 0 if none."""
    total = sum(histogram)
    if not total:
        return 0
    wanted = share * total
    seen = 0
    for index, count in enumerate(histogram):
        seen += count
        if seen >= wanted and count:
            return bucket_value(index)
    return bucket_value(len(histogram) - 1)


cdef class Clients(Load):
    """Client connections that keep up to `window` jobs each in flight.

    kind: 0 foreground jobs, 1 background jobs, 2 ECHO, 3 a connection for each background job.
    payload: bytes of a workload, at least 12. uniques: gives each job a unique of its own.
    """

    cdef int kind
    cdef bint by_tag              # answers carry the workload; otherwise slots go round in the order of submission
    cdef uint32_t window
    cdef uint32_t flying          # jobs in flight on all connections
    cdef bint uniques
    cdef char* template_          # a whole submission
    cdef size_t template_size
    cdef size_t tag_at            # where the workload begins in it
    cdef size_t unique_at
    cdef size_t payload
    cdef size_t answer            # bytes that a result must have
    cdef uint64_t unique_number
    cdef int64_t submitted
    cdef int64_t finished
    cdef int64_t wrong            # results that were not ours, came twice or had another length
    cdef int64_t limit
    cdef int64_t deadline
    cdef int64_t interval         # paced: ns between two jobs, 0: as fast as the window allows
    cdef int64_t due              # paced: when the next job should be sent
    cdef int next_conn            # paced: whose turn it is
    cdef int timer
    cdef int64_t histogram[BUCKETS]
    cdef sockaddr_storage peer
    cdef socklen_t peer_size

    def __init__(self, sockets, int control=-1, *, int kind=0, uint32_t window=1, size_t payload=32,
                 size_t answer=0, bytes function=b"bench-0", bint uniques=False, int priority=0):
        cdef Conn* c
        cdef uint32_t slot
        if payload < TAG:
            raise ValueError(f"a payload needs at least {TAG} bytes")
        self.kind, self.window, self.payload, self.uniques = kind, window, payload, uniques
        self.by_tag = kind == FOREGROUND or kind == ECHO
        self.answer = answer or payload
        self.timer = -1
        self._make_template(function, priority)
        for index in range(self.count):
            c = &self.conns[index]
            c.spare = <uint32_t*>malloc(window * sizeof(uint32_t))
            c.slot_sequence = <uint32_t*>calloc(window, sizeof(uint32_t))
            c.slot_time = <int64_t*>calloc(window, sizeof(int64_t))
            if c.spare == NULL or c.slot_sequence == NULL or c.slot_time == NULL:
                raise MemoryError
            for slot in range(window):
                c.spare[slot] = window - 1 - slot
            c.spare_count = window
        self.peer_size = sizeof(self.peer)
        if kind == CONNECT and self.count:
            getpeername(self.conns[0].fd, <sockaddr*>&self.peer, &self.peer_size)

    def __dealloc__(self):
        if self.template_ != NULL and self.timer >= 0:  # else there was no time to set it
            close(self.timer)
        free(self.template_)

    def _make_template(self, bytes function, int priority):
        filler = b"." * self.payload
        unique = b"0" * 16 if self.uniques else b""
        if self.kind == ECHO:
            command, head = ECHO_REQ, b""
        else:
            command = ((7, 21, 33) if self.kind == FOREGROUND else (18, 32, 34))[priority]
            head = function + b"\0" + unique + b"\0"
        body = head + filler
        packet = b"\0REQ" + int(command).to_bytes(4, "big") + len(body).to_bytes(4, "big") + body
        self.template_size = len(packet)
        self.tag_at = HEADER + len(head)
        self.unique_at = HEADER + len(function) + 1
        self.template_ = <char*>malloc(self.template_size)
        if self.template_ == NULL:
            raise MemoryError
        memcpy(self.template_, <const char*>packet, self.template_size)

    cdef void _submit(self, Conn* c, int64_t when) noexcept nogil:
        """Appends one submission that counts as sent at `when`."""
        cdef size_t need = c.filled + self.template_size
        cdef char* at
        cdef uint32_t slot
        if need > c.out_room:
            c.out_room = 2 * need
            c.out = <char*>realloc(c.out, c.out_room)
        at = c.out + c.filled
        memcpy(at, self.template_, self.template_size)
        c.filled = need
        c.spare_count -= 1
        slot = c.spare[c.spare_count] if self.by_tag else c.sequence % self.window
        c.sequence += 1
        c.slot_sequence[slot] = c.sequence
        c.slot_time[slot] = when
        put_u32(at + self.tag_at, c.number)
        put_u32(at + self.tag_at + 4, slot)
        put_u32(at + self.tag_at + 8, c.sequence)
        if self.uniques:
            self._put_unique(at + self.unique_at)
        self.submitted += 1
        self.flying += 1

    cdef void _put_unique(self, char* at) noexcept nogil:
        cdef uint64_t n = self.unique_number
        cdef int i
        self.unique_number += 1
        for i in range(16):
            at[15 - i] = b"0123456789abcdef"[n & 15]
            n >>= 4

    cdef void _done(self, Conn* c, uint32_t slot) noexcept nogil:
        """The job in `slot` is finished: counts it, and sends the next if there is time."""
        self.histogram[_bucket(self.now - c.slot_time[slot])] += 1
        self.finished += 1
        self.flying -= 1
        c.slot_time[slot] = 0
        c.spare[c.spare_count] = slot
        c.spare_count += 1
        if self.kind == CONNECT:
            self._reconnect(c)
        if self.interval == 0 and self.now < self.deadline and self.submitted < self.limit:
            self._submit(c, self.now)

    cdef void _packet(self, Conn* c, uint32_t command, const char* body, size_t size) noexcept nogil:
        cdef const char* data
        cdef uint32_t slot
        if command == JOB_CREATED:
            if self.kind == FOREGROUND:
                return
            slot = c.oldest % self.window
            if c.slot_time[slot] == 0:
                self.wrong += 1
                return
            c.oldest += 1
            self._done(c, slot)
            return
        if command == ERROR:
            self._error(body, size)
            return
        data = body
        if command == WORK_COMPLETE and self.kind == FOREGROUND:
            data = <const char*>memchr(body, 0, size)
            if data == NULL:
                self.wrong += 1
                return
            data += 1
        elif command != ECHO_RES or self.kind != ECHO:
            self.wrong += 1
            return
        if <size_t>(body + size - data) != self.answer or get_u32(data) != c.number:
            self.wrong += 1
            return
        slot = get_u32(data + 4)
        if slot >= self.window or c.slot_time[slot] == 0 or c.slot_sequence[slot] != get_u32(data + 8):
            self.wrong += 1
            return
        self._done(c, slot)

    cdef void _reconnect(self, Conn* c) noexcept nogil:
        cdef int one = 1
        close(c.fd)
        c.held = 0
        c.fresh = True
        c.fd = socket(self.peer.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0)
        if connect(c.fd, <sockaddr*>&self.peer, self.peer_size) < 0:
            self._fail(b"cannot connect")
            return
        if self.peer.ss_family == AF_INET:
            setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
        self._watch(c)

    cdef void _pace(self) noexcept nogil:
        """Sends the jobs that are due, each on the next connection; a late one keeps the time at which it was due."""
        cdef Conn* c
        cdef int tried = 0
        while self.due <= self.now and self.due < self.deadline and self.submitted < self.limit:
            c = &self.conns[self.next_conn]
            self.next_conn = (self.next_conn + 1) % self.count
            if c.spare_count == 0:
                tried += 1
                if tried == self.count:
                    break                               # all windows are full: what is due waits for them
                continue
            tried = 0
            self._submit(c, self.due)
            self.due += self.interval
        for tried in range(self.count):
            self._flush(&self.conns[tried])

    cdef void _fill(self) noexcept nogil:
        """Sends as many jobs as the windows and the limit allow."""
        cdef Conn* c
        cdef int index
        for index in range(self.count):
            c = &self.conns[index]
            while c.spare_count and self.submitted < self.limit:
                self._submit(c, self.now)
            self._flush(c)

    cdef void _loop(self) noexcept nogil:
        cdef uint64_t expirations
        while not self.problem[0] and not self.called:
            if self.flying == 0 and (self.now >= self.deadline or self.submitted >= self.limit
                                     or (self.interval and self.due >= self.deadline)):
                return
            self._turn()
            if self.interval:
                if self.ticked:
                    self.ticked = False
                    read(self.timer, &expirations, 8)
                self._pace()

    cdef void _start_timer(self) noexcept nogil:
        cdef itimerspec spec
        cdef epoll_event event
        cdef int64_t every = max(self.interval, <int64_t>50000)
        if self.timer < 0:
            self.timer = timerfd_create(CLOCK_MONOTONIC, 0)
            event.events = EPOLLIN
            event.data.u64 = TIMER
            epoll_ctl(self.poller, EPOLL_CTL_ADD, self.timer, &event)
        if self.interval == 0:
            every = 0
        spec.it_interval.tv_sec = spec.it_value.tv_sec = every // 1000000000
        spec.it_interval.tv_nsec = spec.it_value.tv_nsec = every % 1000000000
        timerfd_settime(self.timer, 0, &spec, NULL)

    def run(self, double seconds, int64_t limit=2**62, double rate=0.0):
        """Sends jobs for `seconds` or until `limit` of them, waits for those in flight and returns what was counted.

        `rate` is in jobs a second over all connections, 0 for as fast as the windows allow. The result has `jobs`,
        `wall_ns`, `wrong` and `histogram` (counts, see `bucket_value`). Raises RuntimeError on a lost connection, an
        ERROR or a reply that never comes.
        """
        cdef int64_t start, before = self.finished
        cdef int index
        self._check()
        self.called = self.ticked = False
        memset(self.histogram, 0, sizeof(self.histogram))
        start = self.now = self.due = now_ns()
        self.deadline = start + <int64_t>(seconds * 1e9)
        self.limit = self.submitted + limit if limit < 2**62 else 2**62
        self.interval = <int64_t>(1e9 / rate) if rate > 0 else 0
        if self.interval:
            self._start_timer()
        with nogil:
            if self.interval == 0:
                self._fill()
            self._loop()
        if self.interval:
            self.interval = 0
            self._start_timer()
        self._check()
        return {
            "jobs": self.finished - before,
            "wall_ns": now_ns() - start,
            "wrong": self.wrong,
            "histogram": [self.histogram[index] for index in range(BUCKETS)],
        }

    def begin(self, int64_t limit):
        """Sends the first of `limit` jobs, as `run` does, and does not wait: `step` goes on as answers come."""
        self._check()
        self.now = now_ns()
        self.deadline = INT64_MAX
        self.limit = self.submitted + limit
        self.interval = 0
        with nogil:
            self._fill()
        self._check()

    @property
    def finished_jobs(self):
        """Jobs finished since the start."""
        return self.finished

    @property
    def wrong_results(self):
        """Results since the start that were not ours, came twice or had another length."""
        return self.wrong
