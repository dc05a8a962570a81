"""Keywords about faults that were set: clearing, looking, waiting."""

from __future__ import annotations

from datetime import timedelta

from robot.api import logger

from ComfyMockLibrary.engine.faults import Fault
from ComfyMockLibrary.engine.proxies import NetworkProxy
from ComfyMockLibrary.engine.servers import MockServer
from ComfyMockLibrary.engine.waiting import describe_server, next_step
from ComfyMockLibrary.errors import ExpectationFailed
from ComfyMockLibrary.keywords.base import Component, keyword


class FaultKeywords(Component):
    """Faults, whatever their kind."""

    @keyword(tags=["Fault"])
    def clear_fault(self, fault: Fault, *, server: MockServer | None = None) -> None:
        """Ends a fault: what it held back goes on, what it has destroyed stays destroyed.

        One that has ended stays as it is. While the server is frozen, the fault ends when the server is thawed, unless
        it is this fault that has frozen the server: then the server goes on.

        *Args:*
          - ``fault``: Handle, or id.
          - ``server``: Server of a fault that is given by its id. The current server if left out.

        Example:
        | ${latency} =    `Add Latency`    200 ms    direction=both
        | `Clear Fault`    ${latency}
        """
        target, known = self._find(fault, server)
        target.faults.clear(known)
        logger.info(f"{target.alias}: fault {known.id} has ended, strikes: {known.strikes}")

    @keyword(tags=["Fault"])
    def clear_all_faults(self, server: MockServer | None = None) -> None:
        """Ends all faults of a server, those included that were not set by keywords.

        *Args:*
          - ``server``: Alias, port or handle. The current server if left out.
        """
        self.session.fault_target(server).faults.clear_all()

    @keyword(tags=["Fault", "Getter"])
    def get_faults(self, *, ended: bool = False, server: MockServer | None = None) -> list[Fault]:
        """Returns the faults of a server that keywords have set and that have not ended, oldest first.

        *Args:*
          - ``ended``: Whether those are wanted too that have ended.
          - ``server``: Alias, port or handle. The current server if left out.

        Example:
        | @{faults} =    `Get Faults`
        | Log    ${faults[0].strikes}
        """
        faults = self.session.fault_target(server).faults.all()
        return [each for each in faults if ended or not each.has_ended]

    @keyword(tags=["Fault", "Getter"])
    def get_fault(self, fault: Fault, *, server: MockServer | None = None) -> Fault:
        """Returns a fault by its id.

        *Args:*
          - ``fault``: Id, or handle.
          - ``server``: Alias, port or handle. The current server if left out.

        *Returns:* The fault, with the attributes ``id``, ``name``, ``state``, ``strikes`` and others.

        *Raises:*
          - ValueError: If there is no such fault; names those that there are.

        Example:
        | ${fault} =    `Get Fault`    drop_message-1
        """
        return self._find(fault, server)[1]

    @keyword(tags=["Fault", "Wait"])
    def wait_for_fault(
        self,
        fault: Fault,
        strikes: int = 1,
        timeout: timedelta | None = None,
        *,
        server: MockServer | None = None,
    ) -> Fault:
        """Waits until a fault has struck so often, over all lives of its server, and returns it.

        A server that is to freeze stands still then.

        *Args:*
          - ``fault``: Handle, or id.
          - ``strikes``: How often at least.
          - ``timeout``: Longest time to wait, for example ``5 s``. Library default if left out.
          - ``server``: Server of a fault that is given by its id. The current server if left out.

        *Raises:*
          - AssertionError: If it has not struck so often in time, or cannot any more.

        Example:
        | ${refusal} =    `Refuse Upgrade`    times=3
        | `Reconnect Client`
        | `Wait For Fault`    ${refusal}    strikes=3
        """
        target, known = self._find_on_server(fault, server)
        limit = self.session.timeout_or(timeout)
        if target.faults.wait_for_strikes(known, strikes, limit):
            return known
        state, seen = known.state, _times(known.strikes)
        did = f"has struck {seen}" if known.strikes else "has not struck"
        if state == "ended":
            raise _failure(target, known, f"cannot strike {_times(strikes)} any more: it has ended and {did}.")
        raise _failure(
            target,
            known,
            f"did not strike {_times(strikes)} within {limit:g} s: it is {state} and {did}.",
            "It waits for its event." if state == "waiting" and "when" in known.description else "",
        )

    @keyword(tags=["Fault", "Assertion"])
    def fault_should_have_struck(
        self, fault: Fault, *, times: int | None = None, server: MockServer | None = None
    ) -> None:
        """Fails unless a fault has struck, over all lives of its server.

        *Args:*
          - ``fault``: Handle, or id.
          - ``times``: Exactly how often; ``0`` for never. At least once if left out.
          - ``server``: Server of a fault that is given by its id. The current server if left out.

        *Raises:*
          - AssertionError: If it has not; says how often it has.
        """
        target, known = self._find_on_server(fault, server)
        strikes = known.strikes
        if strikes != times if times is not None else not strikes:
            should = "should have struck at least once" if times is None else f"should have struck {_times(times)}"
            should = "should not have struck" if times == 0 else should
            raise _failure(
                target,
                known,
                f"{should} but did {_times(strikes)}.",
                "This looks only once; `Wait For Fault` waits." if strikes < (times or 1) else "",
            )

    def _find_on_server(self, fault: Fault | str, server: MockServer | None) -> tuple[MockServer, Fault]:
        target, known = self._find(fault, server)
        if isinstance(target, NetworkProxy):
            raise ValueError(f"The proxy '{target.alias}' does not tell how often a fault has struck.")
        return target, known

    def _find(self, fault: Fault | str, server: MockServer | None) -> tuple[MockServer | NetworkProxy, Fault]:
        if not isinstance(fault, Fault):
            target = self.session.fault_target(server)
            return target, target.faults.get(fault)
        for target in self.session.fault_targets:
            if fault in target.faults.all():
                return target, fault
        raise ValueError(f"The mock server of the fault '{fault.id}' is closed, and the fault has ended with it.")


def _failure(server: MockServer, fault: Fault, what: str, hint: str = "") -> ExpectationFailed:
    about = f"Fault '{fault.id}' ({fault}) {what}"
    sentences = [about, *describe_server(server, but=fault), next_step(server) or hint]
    return ExpectationFailed(" ".join(filter(None, sentences)))


def _times(count: int) -> str:
    return {0: "not", 1: "once"}.get(count, f"{count} times")
