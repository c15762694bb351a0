# SPDX-License-Identifier: BSD-3-Clause
"""The job server as a process: signals, log, descriptor limit, exit status.

SIGTERM and SIGINT stop accepting, let running jobs finish within `shutdown_limit` and end; the same signal again ends
at once. SIGUSR1 is gearmand's graceful shutdown: no new connections, the old ones go on until no job is left. SIGHUP
reads the configuration again for log level, certificates, the policies of functions and schedules.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
from typing import TYPE_CHECKING, Any

from gearfast.dispatch.policy import Policies
from gearfast.server.config import ConfigError, ServerConfig
from gearfast.server.listen import bind_all, endpoints
from gearfast.server.log import install, logger
from gearfast.server.logfile import LogWriter
from gearfast.server.memory import usable_memory
from gearfast.server.service import Service
from gearfast.server.tls import make_context

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gearfast.server.config import Loaded
    from gearfast.server.listen import Listener

__all__ = ["ServerApp", "raise_descriptor_limit"]


def raise_descriptor_limit() -> int:
    """Raises the soft limit of open files to the hard one; returns it, 0 where there is none."""
    try:
        import resource
    except ImportError:
        return 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # Some systems name an unlimited hard limit that they then refuse.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _fill_descriptors() -> None:
    """Opens /dev/null for each of the three standard descriptors that is closed.

    Or else a socket would get its number, and whatever is written to standard error would go to a client.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free


class ServerApp:
    """A job server that owns its process. `reload`: called on SIGHUP, reads the configuration again."""

    def __init__(self, config: ServerConfig, reload: Callable[[], Loaded] | None = None) -> None:
        self.config = config
        self._reload = reload
        self._stage = 0  # 0 serving, 1 draining, 2 finishing running jobs, 3 ending at once
        self._changed: asyncio.Event | None = None
        self._service: Service | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self) -> int:
        """Serves until a signal or a text command ends it; returns the exit status.

        Raises ConfigError, and OSError if an address cannot be listened on.
        """
        _fill_descriptors()
        config = self.config
        install(LogWriter(config.log_file), config.log_level, config.log_format)
        if config.max_queued is None:
            config = self.config = dataclasses.replace(config, max_queued=usable_memory() * 3 // 4)
        limit = raise_descriptor_limit()
        context = make_context(config)
        listeners = bind_all(endpoints(config), config)
        try:
            service = self._service = Service(config, context, self._command)
        except BaseException:
            for listener in listeners:
                listener.close()
            raise
        logger.debug("Up to %d open files", limit)
        with asyncio.Runner(loop_factory=service.new_loop) as runner:
            runner.run(self._serve(service, listeners))
        logger.info("Shutdown complete")
        return 0

    async def _serve(self, service: Service, listeners: list[Listener]) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        try:
            self._handle_signals()
            await service.start(listeners)
            await self._until_end(service)
        finally:
            lost = service.dispatcher.memory_only_count
            await service.close()
            if lost:
                logger.warning("%d jobs were in memory only and are lost", lost, extra={"jobs": lost})

    async def _until_end(self, service: Service) -> None:
        while self._stage == 0:
            await self._next_stage()
        await service.stop_accepting()
        if self._stage == 1:
            logger.info("Graceful shutdown: connections go on until no job is left")
            await self._either(service.wait_idle(None))
            if self._stage == 1:
                return
        if self._stage == 2:
            service.dispatcher.drain()
            running = service.dispatcher.running_count
            if running:
                limit = self.config.shutdown_limit
                logger.info("Shutdown: %d running jobs have %g seconds to finish", running, limit)
                await self._either(service.finish_running(limit))

    async def _next_stage(self) -> None:
        assert self._changed is not None
        await self._changed.wait()
        self._changed.clear()

    async def _either(self, waiting: Coroutine[Any, Any, object]) -> None:
        """Until `waiting` is done or the next signal comes."""
        done = asyncio.ensure_future(waiting)
        signalled = asyncio.ensure_future(self._next_stage())
        try:
            await asyncio.wait((done, signalled), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (done, signalled):
                task.cancel()
            await asyncio.gather(done, signalled, return_exceptions=True)

    # What others ask for.

    def _handle_signals(self) -> None:
        handlers: list[tuple[str, Callable[[], object]]] = [
            ("SIGTERM", self.stop),
            ("SIGINT", self.stop),
            ("SIGUSR1", self.drain),
            ("SIGHUP", self._hang_up),
            ("SIGBREAK", self.stop),
        ]
        assert self._loop is not None
        for name, handler in handlers:
            number = getattr(signal, name, None)
            if number is None:
                continue
            try:
                self._loop.add_signal_handler(number, handler)
            except NotImplementedError:
                # Windows: the handler runs in the main thread between byte codes, so it may only wake the loop.
                signal.signal(number, self._threadsafe(handler))

    def _threadsafe(self, handler: Callable[[], object]) -> Callable[[int, object], None]:
        def call(number: int, frame: object) -> None:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(handler)

        return call

    def _advance(self, stage: int) -> None:
        if stage > self._stage:
            self._stage = stage
            if self._changed is not None:
                self._changed.set()

    def stop(self) -> None:
        """Ends after the running jobs, or at once if that was asked for before."""
        self._advance(3 if self._stage >= 2 else 2)

    def drain(self) -> None:
        """Ends when no job is left; no new connections meanwhile."""
        self._advance(1)

    def _command(self, how: str) -> None:
        logger.info("Text command: shutdown%s", " graceful" if how == "graceful" else "")
        if how == "graceful":
            self.drain()
        else:
            self.stop()

    def _hang_up(self) -> None:
        """Takes over log level, log format, certificates, policies, schedules; what needs a restart is named."""
        if self._reload is None or self._service is None:
            return
        try:
            new = self._reload().config
            if new.max_queued is None:
                new = dataclasses.replace(new, max_queued=self.config.max_queued)
            context = make_context(new)
        except ConfigError as error:  # the old one stays in force
            logger.error("Configuration not reloaded: %s", error)
            return
        try:
            install(LogWriter(new.log_file), new.log_level, new.log_format)
        except OSError as error:
            logger.error("The log stays where it is: %s", error.strerror)
        if context is not None and self._service.context is not None:
            self._service.context = context
        policies = new.functions or Policies()
        if policies != self._service.dispatcher.policies:
            self._service.set_policies(policies)
            logger.info("Policies of functions: %d patterns", len(policies.rules))
        if (new.schedules or {}) != (self.config.schedules or {}):
            self._service.scheduler.set_file(new.schedules or {})
            logger.info("Schedules: %d of the configuration", len(new.schedules or {}))
        live = {"log_level", "log_format", "log_file", "tls_cert", "tls_key", "tls_client_ca", "shutdown_limit"}
        live |= {"functions", "schedules"}
        old = self._service.config
        names = ServerConfig.__dataclass_fields__
        waiting = [name for name in names if name not in live and getattr(new, name) != getattr(old, name)]
        if (context is None) != (self._service.context is None):
            waiting.append("tls_cert")
        self.config = new
        logger.info("Configuration reloaded")
        if waiting:
            logger.warning("Only a restart brings into force: %s", ", ".join(waiting))
