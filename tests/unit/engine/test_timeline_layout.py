"""Where things are drawn: nothing lies on anything else, at any width."""

from __future__ import annotations

import itertools
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ComfyMockLibrary.engine.timeline.layout import (
    LETTER,
    MARK,
    PILL,
    WIDTHS,
    Drawing,
    clusters,
    draw,
    moment_in_words,
    text_width,
    time_step,
)
from ComfyMockLibrary.engine.timeline.model import Happening, Lane, Row, Span, Timeline, packed

MOMENTS = st.lists(st.floats(0, 10), max_size=120)


def drawn(*rows: Row, duration: float = 10.0) -> Drawing:
    wall = datetime(2026, 1, 2, tzinfo=timezone.utc)
    return draw(Timeline(100.0, 100.0 + duration, wall, (Lane("lane", rows),), ()))


def marks(moments: list[float]) -> tuple[Happening, ...]:
    return tuple(Happening(100.0 + at, "one", f"event {round(at)}", "with details") for at in moments)


class TestMarks:
    """Single ones, and pills for those that would lie on each other."""

    @given(MOMENTS)
    def test_none_lies_on_another_one_and_none_is_lost(self, moments: list[float]) -> None:
        (lane,) = drawn(Row("marks", (), marks(moments))).lanes
        for detail in lane.details:
            pixels = WIDTHS[detail.width]
            extents = [
                (each.x / 100 * pixels - MARK / 2, each.x / 100 * pixels - MARK / 2 + (MARK, PILL)[each.count > 1])
                for each in detail.marks
            ]
            assert all(left[1] <= right[0] for left, right in itertools.pairwise(extents))
            assert sum(each.count for each in detail.marks) == len(moments)

    @given(MOMENTS)
    def test_no_name_lies_on_a_mark_or_name_or_beyond_the_end(self, moments: list[float]) -> None:
        (lane,) = drawn(Row("marks", (), marks(moments))).lanes
        for detail in lane.details:
            pixels = WIDTHS[detail.width]
            places = [each.x / 100 * pixels for each in detail.marks]
            names = [(each.x / 100 * pixels + each.shift, text_width(each.text)) for each in detail.names]
            for start, width in names:
                assert start + width <= pixels + 1e-6
                assert not [place for place in places if start < place - MARK / 2 < start + width]
            assert all(start + width <= following for (start, width), (following, _) in itertools.pairwise(names))

    def test_a_pill_shows_the_worst_of_its_marks_and_tells_of_all(self) -> None:
        two = (Happening(101.0, "one", "fine"), Happening(101.001, "one", "broken", "badly", "bad"))
        (lane,) = drawn(Row("marks", (), two)).lanes
        (mark,) = lane.details[0].marks
        assert (mark.tone, mark.count) == ("bad", 2)
        assert mark.title == "+1.000 s  fine\n+1.001 s  broken badly"

    def test_a_pill_of_very_many_tells_of_some(self) -> None:
        (lane,) = drawn(Row("marks", (), marks([1.0] * 300))).lanes
        (mark,) = lane.details[0].marks
        assert mark.count == 300
        assert mark.title.splitlines()[-1] == "… and 290 more"

    def test_a_cluster_reaches_from_its_first_mark_and_not_from_its_last(self) -> None:
        assert clusters([0, 9, 18, 27], 10) == [[0, 1], [2, 3]]

    @given(MOMENTS)
    def test_ticks_do_not_lie_on_each_other(self, moments: list[float]) -> None:
        (lane,) = drawn(Row("ticks", (), marks(moments))).lanes
        for detail in lane.details:
            places = [each.x / 100 * WIDTHS[detail.width] for each in detail.ticks]
            assert all(right - left >= 4 for left, right in itertools.pairwise(places))
            assert all(each.height > 0 and each.y + each.height <= lane.height for each in detail.ticks)


class TestBars:
    """Spans with names in them."""

    def test_each_width_shows_the_longest_name_that_has_room(self) -> None:
        span = Span(100, 101, "life", ("life 1 · pid 12345", "life 1", "1"))
        (lane,) = drawn(Row("bars", (span,))).lanes
        assert {detail.width: [each.text for each in detail.names] for detail in lane.details} == {
            "narrow": ["1"],
            "small": ["1"],
            "medium": ["life 1"],
            "wide": ["life 1"],
            "zoomed": ["life 1 · pid 12345"],
        }

    def test_what_is_outside_of_the_axis_is_cut_off(self) -> None:
        (lane,) = drawn(Row("bars", (Span(90, 200, "life"),))).lanes
        assert [(each.x, each.width) for each in lane.bars] == [(0, 100)]

    def test_its_title_says_when_and_how_long(self) -> None:
        (lane,) = drawn(Row("bars", (Span(101, 103.5, "life", details=("life 1", "")),))).lanes
        assert lane.bars[0].title == "life 1\n+1.000 s, for 2.500 s"

    def test_a_name_without_room_in_its_bar_stands_behind_it_where_nothing_else_is(self) -> None:
        spans = (Span(101, 101.01, "fault", ("latency-1",)), Span(105, 105.01, "fault", ("x",)))
        (lane,) = drawn(Row("marks", spans)).lanes
        wide = next(each for each in lane.details if each.width == "wide")
        assert [(each.text, each.x) for each in wide.names] == [("latency-1", 10.1), ("x", 50.1)]
        close = (Span(101, 101.01, "fault", ("latency-1",)), Span(101.02, 101.03, "fault", ()))
        (lane,) = drawn(Row("marks", close)).lanes
        assert [each.names for each in lane.details[:4]] == [[], [], [], []]

    @given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 5)), max_size=40), st.integers(1, 8))
    def test_packed_rows_have_no_overlap_and_nothing_is_lost(
        self, extents: list[tuple[float, float]], most: int
    ) -> None:
        spans = [Span(start, start + length, "", (str(number),)) for number, (start, length) in enumerate(extents)]
        rows, left = packed(spans, most)
        assert len(rows) <= most
        assert sorted(each.names[0] for row in [*rows, left] for each in row) == sorted(each.names[0] for each in spans)
        for row in rows:
            assert all(one.end <= other.start for one, other in itertools.pairwise(row))

    def test_wide_letters_count_twice(self) -> None:
        assert text_width("ab") == 2 * LETTER
        assert text_width("漢字") == 4 * LETTER


class TestTheAxis:
    """Round moments, as many as have room."""

    @given(st.floats(1e-3, 1e6), st.integers(1, 20))
    def test_it_never_names_more_moments_than_have_room(self, duration: float, most: int) -> None:
        assert duration / time_step(duration, most) <= most * (1 + 1e-6)

    @pytest.mark.parametrize(
        ("duration", "most", "step"), [(1, 10, 0.1), (0.003, 3, 0.001), (9, 10, 1), (60, 6, 10), (3600, 8, 600)]
    )
    def test_its_steps_are_round(self, duration: float, most: int, step: float) -> None:
        assert time_step(duration, most) == pytest.approx(step)

    @pytest.mark.parametrize(
        ("seconds", "step", "words"),
        [
            (0.0005, 0.0005, "0.5 ms"),
            (0.5, 0.1, "0.5 s"),
            (0.05, 0.05, "0.05 s"),
            (3, 1, "3 s"),
            (90, 30, "1:30"),
            (3723, 60, "1:02:03"),
        ],
    )
    def test_moments_are_as_exact_as_its_steps(self, seconds: float, step: float, words: str) -> None:
        assert moment_in_words(seconds, step) == words

    def test_a_timeline_of_one_moment_can_be_drawn(self) -> None:
        drawing = drawn(Row("marks", (), marks([0.0])), duration=0.0)
        assert all(drawing.axes.values())
