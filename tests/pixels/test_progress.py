"""A bar is drawn where somebody looks, with what can be shown there."""

from __future__ import annotations

import pytest
from rich.console import Console

from lift_xr.progress import bar


def drawn(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    notebook: bool = False,
    terminal: bool = False,
    show: bool = True,
) -> str:
    """What a bar leaves on standard error."""
    monkeypatch.setattr("rich.console._is_jupyter", lambda: notebook)
    monkeypatch.setattr(Console, "is_terminal", property(lambda _: terminal))
    with bar("writing", total=8, show=show) as advance:
        for done in (2.0, 8.0):
            advance(done)
    told = capsys.readouterr()
    assert told.out == ""
    return told.err


def test_a_notebook_gets_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = drawn(monkeypatch, capsys, notebook=True)
    assert "writing   0% |" in told
    assert "writing 100% |" in told
    assert "\x1b[" not in told


def test_a_terminal_gets_a_bar_in_colour(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = drawn(monkeypatch, capsys, terminal=True)
    assert "writing" in told
    assert "100%" in told


def test_a_log_gets_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drawn(monkeypatch, capsys) == ""


def test_who_wants_nothing_gets_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drawn(monkeypatch, capsys, notebook=True, terminal=True, show=False) == ""
