"""Keywords that change how the library behaves."""

from __future__ import annotations

from datetime import timedelta

from robot.utils import secs_to_timestr

from ComfyMockLibrary.keywords.base import Component, keyword


class SettingsKeywords(Component):
    """Settings of the library."""

    @keyword(tags=["Setting"])
    def set_timeout(self, timeout: timedelta) -> str:
        """Sets how long waits take that do not say it themselves, and returns the old value.

        *Args:*
          - ``timeout``: The new value, for example ``3 s``.

        *Returns:* The old value, in the form that this keyword takes.

        Example:
        | ${old} =    `Set Timeout`    30 s
        | `Wait For Connection`
        | `Set Timeout`    ${old}
        """
        return str(secs_to_timestr(self.session.set_timeout(timeout)))
