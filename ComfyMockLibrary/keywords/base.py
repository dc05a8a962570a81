"""What every component of keywords is made of."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from robot.api.deco import keyword as robot_keyword

if TYPE_CHECKING:
    from ComfyMockLibrary.keywords.session import Session

Method = TypeVar("Method", bound=Callable[..., Any])

# Robot's decorator has no complete types in all supported versions.
keyword: Callable[..., Callable[[Method], Method]] = functools.partial(robot_keyword)


class Component:
    """Keywords about one subject."""

    def __init__(self, session: Session) -> None:
        self.session = session
