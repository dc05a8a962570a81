"""Ordinals of clients: they count on, and do not grow with all that there have ever been."""

from __future__ import annotations

from mockserver.ordinals import Ordinals


def test_each_client_counts_for_itself() -> None:
    ordinals = Ordinals(list)
    assert [ordinals.next(client) for client in "abaab"] == [1, 1, 2, 3, 2]


def test_of_clients_that_are_gone_only_the_latest_are_remembered() -> None:
    ordinals = Ordinals(list, remembered=10)
    for number in range(1000):
        assert ordinals.next(f"client {number}") == 1
        assert len(ordinals) <= 20
    assert [ordinals.next(f"client {number}") for number in (999, 990, 0)] == [2, 2, 1]


def test_whoever_comes_again_counts_as_late() -> None:
    ordinals = Ordinals(list, remembered=10)
    for number in range(1000):
        ordinals.next(f"client {number}")
        assert ordinals.next("always") == number + 1


def test_clients_that_are_present_are_never_forgotten() -> None:
    present = [f"present {number}" for number in range(50)]
    ordinals = Ordinals(lambda: present, remembered=10)
    for client in present:
        ordinals.next(client)
    for number in range(1000):
        ordinals.next(f"client {number}")
        assert len(ordinals) <= 50 + 2 * 10 + 50
    assert {ordinals.next(client) for client in present} == {2}
