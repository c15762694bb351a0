# SPDX-License-Identifier: BSD-3-Clause
"""One method for each packet type, to be overridden; by default a packet is only logged."""

from __future__ import annotations

import logging
from typing import Any

from gearfast.compat.gear import constants
from gearfast.compat.gear._packet import Packet

HANDLERS: dict[int, str] = {
    constants.CAN_DO: "handleCanDo",
    constants.CANT_DO: "handleCantDo",
    constants.RESET_ABILITIES: "handleResetAbilities",
    constants.PRE_SLEEP: "handlePreSleep",
    constants.NOOP: "handleNoop",
    constants.SUBMIT_JOB: "handleSubmitJob",
    constants.JOB_CREATED: "handleJobCreated",
    constants.GRAB_JOB: "handleGrabJob",
    constants.NO_JOB: "handleNoJob",
    constants.JOB_ASSIGN: "handleJobAssign",
    constants.WORK_STATUS: "handleWorkStatus",
    constants.WORK_COMPLETE: "handleWorkComplete",
    constants.WORK_FAIL: "handleWorkFail",
    constants.GET_STATUS: "handleGetStatus",
    constants.ECHO_REQ: "handleEchoReq",
    constants.ECHO_RES: "handleEchoRes",
    constants.SUBMIT_JOB_BG: "handleSubmitJobBg",
    constants.ERROR: "handleError",
    constants.STATUS_RES: "handleStatusRes",
    constants.SUBMIT_JOB_HIGH: "handleSubmitJobHigh",
    constants.SET_CLIENT_ID: "handleSetClientID",
    constants.CAN_DO_TIMEOUT: "handleCanDoTimeout",
    constants.ALL_YOURS: "handleAllYours",
    constants.WORK_EXCEPTION: "handleWorkException",
    constants.OPTION_REQ: "handleOptionReq",
    constants.OPTION_RES: "handleOptionRes",
    constants.WORK_DATA: "handleWorkData",
    constants.WORK_WARNING: "handleWorkWarning",
    constants.GRAB_JOB_UNIQ: "handleGrabJobUniq",
    constants.JOB_ASSIGN_UNIQ: "handleJobAssignUnique",
    constants.SUBMIT_JOB_HIGH_BG: "handleSubmitJobHighBg",
    constants.SUBMIT_JOB_LOW: "handleSubmitJobLow",
    constants.SUBMIT_JOB_LOW_BG: "handleSubmitJobLowBg",
    constants.SUBMIT_JOB_SCHED: "handleSubmitJobSched",
    constants.SUBMIT_JOB_EPOCH: "handleSubmitJobEpoch",
}


class PacketHooks:
    """What `BaseClientServer.handlePacket` calls, by packet type. The method found last in the classes is called."""

    log: logging.Logger

    def _defaultPacketHandler(self, packet: Packet) -> None:
        self.log.error("Received unhandled packet: %s", packet)

    def handleCanDo(self, packet: Packet) -> Any:
        """Handles a packet CAN_DO."""
        return self._defaultPacketHandler(packet)

    def handleCantDo(self, packet: Packet) -> Any:
        """Handles a packet CANT_DO."""
        return self._defaultPacketHandler(packet)

    def handleResetAbilities(self, packet: Packet) -> Any:
        """Handles a packet RESET_ABILITIES."""
        return self._defaultPacketHandler(packet)

    def handlePreSleep(self, packet: Packet) -> Any:
        """Handles a packet PRE_SLEEP."""
        return self._defaultPacketHandler(packet)

    def handleNoop(self, packet: Packet) -> Any:
        """Handles a packet NOOP."""
        return self._defaultPacketHandler(packet)

    def handleSubmitJob(self, packet: Packet) -> Any:
        """Handles a packet SUBMIT_JOB."""
        return self._defaultPacketHandler(packet)

    def handleJobCreated(self, packet: Packet) -> Any:
        """Handles a packet JOB_CREATED."""
        return self._defaultPacketHandler(packet)

    def handleGrabJob(self, packet: Packet) -> Any:
        """Handles a packet GRAB_JOB."""
        return self._defaultPacketHandler(packet)

    def handleNoJob(self, packet: Packet) -> Any:
        """Handles a packet NO_JOB."""
        return self._defaultPacketHandler(packet)

    def handleJobAssign(self, packet: Packet) -> Any:
        """Handles a packet JOB_ASSIGN."""
        return self._defaultPacketHandler(packet)

    def handleWorkStatus(self, packet: Packet) -> Any:
        """Handles a packet WORK_STATUS."""
        return self._defaultPacketHandler(packet)

    def handleWorkComplete(self, packet: Packet) -> Any:
        """Handles a packet WORK_COMPLETE."""
        return self._defaultPacketHandler(packet)

    def handleWorkFail(self, packet: Packet) -> Any:
        """Handles a packet WORK_FAIL."""
        return self._defaultPacketHandler(packet)

    def handleGetStatus(self, packet: Packet) -> Any:
        """Handles a packet GET_STATUS."""
        return self._defaultPacketHandler(packet)

    def handleEchoReq(self, packet: Packet) -> Any:
        """Handles a packet ECHO_REQ."""
        return self._defaultPacketHandler(packet)

    def handleEchoRes(self, packet: Packet) -> Any:
        """Handles a packet ECHO_RES."""
        return self._defaultPacketHandler(packet)

    def handleSubmitJobBg(self, packet: Packet) -> Any:
        """Handles a packet SUBMIT_JOB_BG."""
        return self._defaultPacketHandler(packet)

    def handleError(self, packet: Packet) -> Any:
        """Handles a packet ERROR."""
        return self._defaultPacketHandler(packet)

    def handleStatusRes(self, packet: Packet) -> Any:
        """Handles a packet STATUS_RES."""
        return self._defaultPacketHandler(packet)

    def handleSubmitJobHigh(self, packet: Packet) -> Any:
        """Handles a packet SUBMIT_JOB_HIGH."""
        return self._defaultPacketHandler(packet)

    def handleSetClientID(self, packet: Packet) -> Any:
        """Handles a packet SET_CLIENT_ID."""
        return self._defaultPacketHandler(packet)

    def handleCanDoTimeout(self, packet: Packet) -> Any:
        """Handles a packet CAN_DO_TIMEOUT."""
        return self._defaultPacketHandler(packet)

    def handleAllYours(self, packet: Packet) -> Any:
        """Handles a packet ALL_YOURS."""
        return self._defaultPacketHandler(packet)

    def handleWorkException(self, packet: Packet) -> Any:
        """Handles a packet WORK_EXCEPTION."""
        return self._defaultPacketHandler(packet)

    def handleOptionReq(self, packet: Packet) -> Any:
        """Handles a packet OPTION_REQ."""
        return self._defaultPacketHandler(packet)

    def handleOptionRes(self, packet: Packet) -> Any:
        """Handles a packet OPTION_RES."""
        return self._defaultPacketHandler(packet)

    def handleWorkData(self, packet: Packet) -> Any:
        """Handles a packet WORK_DATA."""
        return self._defaultPacketHandler(packet)

    def handleWorkWarning(self, packet: Packet) -> Any:
        """Handles a packet WORK_WARNING."""
        return self._defaultPacketHandler(packet)

    def handleGrabJobUniq(self, packet: Packet) -> Any:
        """Handles a packet GRAB_JOB_UNIQ."""
        return self._defaultPacketHandler(packet)

    def handleJobAssignUnique(self, packet: Packet) -> Any:
        """Handles a packet JOB_ASSIGN_UNIQ."""
        return self._defaultPacketHandler(packet)

    def handleSubmitJobHighBg(self, packet: Packet) -> Any:
        """Handles a packet SUBMIT_JOB_HIGH_BG."""
        return self._defaultPacketHandler(packet)

    def handleSubmitJobLow(self, packet: Packet) -> Any:
        """Handles a packet SUBMIT_JOB_LOW."""
        return self._defaultPacketHandler(packet)

    def handleSubmitJobLowBg(self, packet: Packet) -> Any:
        """Handles a packet SUBMIT_JOB_LOW_BG."""
        return self._defaultPacketHandler(packet)

    def handleSubmitJobSched(self, packet: Packet) -> Any:
        """Handles a packet SUBMIT_JOB_SCHED."""
        return self._defaultPacketHandler(packet)

    def handleSubmitJobEpoch(self, packet: Packet) -> Any:
        """Handles a packet SUBMIT_JOB_EPOCH."""
        return self._defaultPacketHandler(packet)

    def handleAdminRequest(self, request: Any) -> None:
        """A request of the text protocol has its answer."""
        self.log.info("Received admin data %s", request)
        request.setComplete()
