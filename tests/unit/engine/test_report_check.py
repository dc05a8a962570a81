"""How scripts of outages are fitted to what a client is like."""

from __future__ import annotations

from ComfyMockLibrary.engine.outages import load
from ComfyMockLibrary.engine.report.check import for_pollers, for_websockets, outages_for_one_client


def test_for_a_client_without_websocket_requests_stand_for_connections() -> None:
    steps = for_pollers(load("third-outage")).steps()
    waits = [each.step.wait_for for each in steps if each.step.wait_for is not None]
    assert len(waits) == 4
    assert {each.event for each in waits} == {"request"}
    assert all(each.clients is None for each in waits)


def test_other_waits_stay_as_they_are() -> None:
    outage = load("history-late")
    assert for_pollers(outage) == outage


def test_what_disturbs_a_job_waits_for_the_websocket_too() -> None:
    outage = load("client-id-taken-over")
    hold, first, opened, *others = for_websockets(outage).script
    assert [hold, first] == outage.script[:2]
    assert opened.wait_for is not None
    assert (opened.wait_for.clients, opened.wait_for.optional) == (1, True)
    assert others == outage.script[2:]


def test_outages_about_connections_do_so_anyway() -> None:
    for name in ("restart", "history-late", "websocket-refused"):
        assert for_websockets(load(name)) == load(name)


def test_outages_that_take_several_clients_are_not_on_the_card() -> None:
    names = [each.name for each in outages_for_one_client()]
    assert "restart" in names
    assert "fast-job" in names
    assert "thundering-herd" not in names
