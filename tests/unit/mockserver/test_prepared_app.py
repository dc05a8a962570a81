"""Routes that are prepared before the server is there: in a process that forks lives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mockserver import app
from mockserver.comfyui.ports import Ports
from mockserver.comfyui.server import SERVER, ComfyServer
from mockserver.journal import Journal
from mockserver.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any


@pytest.fixture(autouse=True)
def _prepared_for_the_default() -> Iterator[None]:
    app.prepare_app(server())
    yield
    app._prepared.clear()


def server(settings: Settings | None = None) -> ComfyServer:
    return ComfyServer(settings or Settings(), Ports(), Journal(None))


def names(functions: Iterable[Any]) -> list[str]:
    """Their names: those of one server are not those of another."""
    return [each.__qualname__ for each in functions]


def test_a_prepared_app_is_like_one_that_is_not() -> None:
    prepared, other = app.make_app(server()), app.make_app(server())
    assert [resource.canonical for resource in prepared.router.resources()] == [
        resource.canonical for resource in other.router.resources()
    ]
    assert names(prepared.middlewares) == names(other.middlewares)
    assert names(prepared.on_response_prepare) == names(other.on_response_prepare)


def test_it_belongs_to_one_server() -> None:
    mine, other = server(), server()
    assert app.make_app(mine)[SERVER] is mine
    assert app.make_app(other)[SERVER] is other


@pytest.mark.parametrize(
    "settings",
    [Settings(profile="0.38"), Settings(max_upload_size=1.0), Settings(front_end_root=Path(__file__).parent)],
    ids=["profile", "max_upload_size", "front_end_root"],
)
def test_a_server_of_another_kind_gets_none(settings: Settings) -> None:
    app.make_app(server(settings))
    assert len(app._prepared) == 1


def test_a_server_of_the_same_kind_gets_it() -> None:
    app.make_app(server(Settings(strict=True, status_interval=0.0)))
    assert not app._prepared
