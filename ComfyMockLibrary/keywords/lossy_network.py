"""The keyword that runs a command with real packet loss."""

from __future__ import annotations

from datetime import timedelta

from robot.api import SkipExecution, logger

from ComfyMockLibrary.engine import lossy_network
from ComfyMockLibrary.engine.lossy_network import LossyRun
from ComfyMockLibrary.errors import ExpectationFailed
from ComfyMockLibrary.keywords.base import Component, keyword
from ComfyMockLibrary.quantities import Percent

_SHOWN = 2000


class LossyNetworkKeywords(Component):
    """Real loss of packets, as far as the system has it."""

    @keyword(tags=["Network"])
    def run_in_lossy_network(
        self, loss: Percent, *command: str, timeout: timedelta = timedelta(minutes=5), expected_status: int | None = 0
    ) -> LossyRun:
        """Runs a command in a network that loses packets, and returns when it has ended.

        The command and all that it starts share a network of their own, in which only 127.0.0.1 can be reached. So
        server and client both have to be in it: the command is a whole ``robot`` run, or a program that starts both.
        Nothing outside is disturbed. Each packet of TCP is lost with the same probability, in either direction; TCP
        sends it again, so that nothing is missing, but comes late. It needs Linux with ``unshare`` (util-linux) and
        ``nft`` (nftables), and no root; the test is skipped, with the reason, where that is not to be had.

        *Args:*
          - ``loss``: Share of packets lost, for example ``5%``.
          - ``command``: The program and its arguments.
          - ``timeout``: Longest time until it has ended. It is ended then.
          - ``expected_status``: Fail unless it ends with this exit status. ``None`` takes any.

        *Returns:* The run, with the attributes ``exit_status``, ``output``, ``packets`` (how many there were) and
          ``lost`` (how many of them were lost).

        *Raises:*
          - ValueError: If the share is none.
          - AssertionError: If it has not ended in time, or with another exit status; has the end of its output.

        Examples:
        | ${run} =    `Run In Lossy Network`    5%    python    -m    robot    suite.robot
        | Log    ${run.lost} of ${run.packets} packets were lost.
        """
        try:
            run = lossy_network.run(command, loss, timeout=timeout.total_seconds())
        except lossy_network.NotAvailable as reason:
            raise SkipExecution(str(reason)) from None
        except TimeoutError as failure:
            raise ExpectationFailed(f"{' '.join(command)}: {failure}") from None
        logger.info(f"{run.lost} of {run.packets} packets were lost. Exit status {run.exit_status}.\n{run.output}")
        if expected_status is not None and run.exit_status != expected_status:
            raise ExpectationFailed(
                f"{' '.join(command)} ended with exit status {run.exit_status}, not {expected_status}. "
                f"End of its output:\n{run.output[-_SHOWN:]}"
            )
        return run
