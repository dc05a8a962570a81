"""The library's face: import arguments, Robot's constants, components, run-on-failure."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from robot.libraries.BuiltIn import BuiltIn
from robotlibcore import DynamicCore

from ComfyMockLibrary import references
from ComfyMockLibrary.keywords.application_faults import ApplicationFaultKeywords
from ComfyMockLibrary.keywords.client_processes import ClientProcessKeywords
from ComfyMockLibrary.keywords.clients import ClientKeywords
from ComfyMockLibrary.keywords.evidence import EvidenceKeywords
from ComfyMockLibrary.keywords.faults import FaultKeywords
from ComfyMockLibrary.keywords.http_faults import HttpFaultKeywords
from ComfyMockLibrary.keywords.lossy_network import LossyNetworkKeywords
from ComfyMockLibrary.keywords.message_faults import MessageFaultKeywords
from ComfyMockLibrary.keywords.network_faults import ByteFaultKeywords, ClosingFaultKeywords, ListenerFaultKeywords
from ComfyMockLibrary.keywords.outages import OutageKeywords
from ComfyMockLibrary.keywords.process_faults import ProcessFaultKeywords
from ComfyMockLibrary.keywords.prompts import PromptKeywords
from ComfyMockLibrary.keywords.proxies import ProxyKeywords
from ComfyMockLibrary.keywords.report_card import ReportCardKeywords
from ComfyMockLibrary.keywords.servers import ServerKeywords
from ComfyMockLibrary.keywords.session import Session
from ComfyMockLibrary.keywords.settings import SettingsKeywords
from ComfyMockLibrary.keywords.timeline import TimelineKeywords
from ComfyMockLibrary.keywords.waiting import WaitingKeywords
from ComfyMockLibrary.keywords.websocket_faults import WebsocketFaultKeywords
from ComfyMockLibrary.listener import RunListener
from ComfyMockLibrary.types import AutoClose, TimelineLogging
from mockserver import __version__


class ComfyMockLibrary(DynamicCore):  # type: ignore[misc]  # its base has no types
    """Tells whether a client of ComfyUI survives an outage of its server.

    The library starts real mock servers as processes of their own. They speak ComfyUI's HTTP and websocket protocol
    without GPU or models. Suites kill, freeze and restart them, and tell what a client makes of it. A test reads like
    this:

    | Client Comes Back After A Restart
    |     `Start Mock Server`
    |     `Connect Client`
    |     `Restart Mock Server`    signal=SIGKILL    downtime=200 ms
    |     `Wait For Connection`
    |     `Queue Prompt`
    |     `Wait For Event`    executing    node=None

    %TOC%

    = Servers and lives =

    A mock server has an alias and a port. Each run of its process is a life with an id of its own; with
    `Restart Mock Server` a new life begins on the same port. The port is held from the first start until the server is
    closed: while it is down, clients are refused, and no other program gets the port by chance. Without ``port`` any
    free one is taken, so suites can run side by side.

    What a server prints is in one file per life below ``comfymock`` in Robot's output directory, beside its journal,
    and in the log with the prefix ``[Server PORT]``.

    = Clients and their states =

    `Connect Client` connects a client. Its connection is in one of these states:

    | =State= | =Meaning= |
    | connecting | The very first attempt is under way. |
    | connected | The websocket is open. |
    | disconnected | There is no connection, and nobody tries to get one. |
    | reconnecting | There is no connection, and attempts are made, each after its delay. |
    | failed | The last attempt has failed. |

    Clients that are programs of their own, in any language, are started with `Start Client Process`. What they do is
    told from the server's side.

    = Events and the cursor =

    An event is something that a client saw. Each message of the server is one, by its type: ``status``,
    ``execution_start``, ``executing``, ``progress``, ``executed``, ``execution_success`` and so on; binary previews are
    ``b_preview`` and ``b_preview_with_metadata``, texts ``progress_text``. The client's own events are about its
    connection:

    | =Event= | =When= | =Data= |
    | connected | A connection is open. | life_id, client_id |
    | disconnected | It is lost or closed. | code, reason, cause |
    | reconnecting | An attempt is due after a delay. | attempt, delay in seconds, error of the attempt before |
    | reconnected | One has succeeded; comes right after ``connected``. | attempts, life_id, client_id |
    | reconnection_failed | The last one has failed. | attempts, error |
    | reconnection_aborted | `Abort Reconnect` or a close has ended them. | attempts |
    | connection_failed | The first attempt of a client without ``auto_reconnect`` has failed. | error |

    Events are recorded in the client's journal, and waits look there from the client's cursor on. So nothing is missed
    between two keywords, and nothing old is taken for new:

    - `Kill Mock Server`, `Restart Mock Server`, `Freeze Mock Server`, `Reconnect Client`, `Queue Prompt`, and keywords
      for faults that open connections feel at once, set the cursor to the end of the journal when they begin: waits
      after them see only what they cause.
    - A wait that succeeds moves the cursor behind its event. `Wait For Connection` moves it to the beginning of the
      connection, so that the events of this connection can be waited for.
    - ``since=start`` looks from the beginning, ``since=${event}`` from behind an event.

    The commonest wait is for the end of a prompt, whatever its outcome: ``executing`` with node null, written
    ``Wait For Event    executing    node=None``.

    = Faults =

    Keywords such as `Drop Message` or `Add Latency` set a fault in a mock server and return it: a handle that says how
    it stands. The rules are the same for all of them:

    - *Trigger:* ``when=executing node=3`` lets it begin at an event in the server (see the type EventTrigger),
      ``after`` some time later. Keywords that end with _When_ have the fields of the event as arguments.
    - *Matches:* of what it concerns it strikes everything, or from the ``nth`` on, so many ``times``, or with a
      ``probability``. ``client`` and ``connection`` say whose.
    - *End:* it ends when it has struck so many ``times``, when its time (``lasting``) is over, by `Clear Fault` or
      `Clear All Faults`, and with the test or suite that has set it; ``until`` says otherwise.
    - *Restart:* the documentation of each keyword says whether its fault outlives a restart of the server. Those of
      the network do, and are in force before the first client can connect to the next life.
    - *Direction:* where bytes move, ``direction`` must be given.
    - *Draws* come from the seed of the server, which its start logs: with the same ``seed`` the same client meets the
      same faults.

    In front of a server that is no mock server, `Start Network Proxy` or a Toxiproxy (`Connect To Toxiproxy`) takes the
    faults of the network: give it as ``server``.

    `Wait For Fault` waits until a fault has struck. When it was set, when it struck and when it ended is in the journal
    of the life.

    The keywords that concern connections to come (`Refuse Connections`, `Refuse Upgrade` …) do not move the cursor of
    clients, so that they can be set beside one that ends connections.

    = Outages =

    An outage is a file: what the server is like, what goes wrong over time and events, and what a good client does.
    `Get Outages` lists those that come with the library, for example ``crash``, ``half-open`` and ``job-lost``. Files
    of one's own have the same form; ``docs/outages.md`` describes it.

    `Run Outage` leads a server through it and returns at its end; with `Start Outage` and `Wait For Outage To End` the
    test acts meanwhile. A step may wait for what the client does, so the client has to be connected, or to queue its
    prompt, before or while the outage runs. The first step that waits sees all that has happened in the server's life;
    in a further outage on the same server, what has happened since the one before. At the end the server runs and has
    none of the outage's faults.

    = Times =

    Times are Robot Framework's, for example ``500 ms`` or ``2 minutes``. Every ``timeout`` is the longest time of its
    keyword, and the library's default if left out, see `Set Timeout`, where the keyword does not say otherwise. Nothing
    sleeps to be safe: a wait ends when what it waits for has happened.

    = Closing =

    What a test opened is closed when the test ends; what a suite setup opened, when the suite ends. No teardown is
    needed. However the run ends, also by SIGKILL, no process of a server or a client is left.
    """

    ROBOT_LIBRARY_SCOPE = "GLOBAL"
    ROBOT_LIBRARY_VERSION = __version__
    ROBOT_LIBRARY_DOC_FORMAT = "ROBOT"
    ROBOT_LIBRARY_CONVERTERS = references.CONVERTERS

    def __init__(
        self,
        *,
        timeout: timedelta | float = timedelta(seconds=10),
        startup_timeout: timedelta | float = timedelta(seconds=10),
        shutdown_timeout: timedelta | float = timedelta(seconds=5),
        auto_close: AutoClose = AutoClose.TEST,
        run_on_failure: str | None = None,
        timeline: TimelineLogging = TimelineLogging.ON_FAILURE,
    ) -> None:
        """Sets what keywords use when they are not told otherwise.

        *Args:*
          - ``timeout``: Longest time of a wait.
          - ``startup_timeout``: Longest time until a server is ready.
          - ``shutdown_timeout``: Longest time of a graceful stop; after it comes SIGKILL.
          - ``auto_close``: When servers and clients are closed that a suite left open.
          - ``run_on_failure``: Keyword to run when one of the library's keywords fails, for example
            ``Log Mock Server Output``.
          - ``timeline``: When `Log Timeline` runs by itself at the end of a test.

        Examples:
        | Library    ComfyMockLibrary
        | Library    ComfyMockLibrary    timeout=30 s    auto_close=SUITE
        | Library    ComfyMockLibrary    timeline=never
        """
        self._run_on_failure = run_on_failure
        self._handles_failure = False
        self._session = Session(timeout, startup_timeout, shutdown_timeout, auto_close)
        self._clients = ClientKeywords(self._session)
        self.ROBOT_LIBRARY_LISTENER = RunListener(self, self._session, timeline)
        super().__init__(
            [
                ServerKeywords(self._session),
                self._clients,
                ClientProcessKeywords(self._session),
                WaitingKeywords(self._session),
                PromptKeywords(self._session),
                EvidenceKeywords(self._session),
                OutageKeywords(self._session),
                ReportCardKeywords(self._session),
                LossyNetworkKeywords(self._session),
                TimelineKeywords(self._session),
                SettingsKeywords(self._session),
                FaultKeywords(self._session),
                ProcessFaultKeywords(self._session),
                ListenerFaultKeywords(self._session),
                ByteFaultKeywords(self._session),
                ClosingFaultKeywords(self._session),
                WebsocketFaultKeywords(self._session),
                MessageFaultKeywords(self._session),
                HttpFaultKeywords(self._session),
                ApplicationFaultKeywords(self._session),
                ProxyKeywords(self._session),
            ]
        )

    def run_keyword(self, name: str, args: list[Any], kwargs: dict[str, Any] | None = None) -> Any:
        """Runs a keyword for Robot, and writes into the log what servers and clients have done meanwhile."""
        try:
            return super().run_keyword(name, args, kwargs)
        except (AssertionError, RuntimeError, ValueError):
            self._handle_failure()
            raise
        finally:
            self._session.log.write_news()
            self._clients.run_failure_keywords()

    def _handle_failure(self) -> None:
        if self._run_on_failure is None or self._handles_failure:
            return
        self._handles_failure = True
        try:
            BuiltIn().run_keyword_and_ignore_error(self._run_on_failure)
        finally:
            self._handles_failure = False
