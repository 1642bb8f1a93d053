"""What is printed for people: nothing a source serves can steer a terminal, and a narrow one still shows a table."""

import fcntl
import logging
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from collectors.language import LANGUAGE
from deployments.cli.output import print_columns, say, show, show_field, show_warnings, visible

NASTY = "a\x1b[2Jb\nc\r\td\x00e\u202ef\u200bg\u2066h\u2028i\x7fj\x9bk\ufeffl"
WRITTEN = r"a\x1b[2Jb\nc\r\td\x00e\u202ef\u200bg\u2066h\u2028i\x7fj\x9bk\ufeffl"


@pytest.mark.parametrize("text", ["", "支付/退款", "naïve — “x”", "a\u00a0b", "\\n", "é", "🎉", "שלום", "a b"])
def test_what_steers_nothing_is_shown_as_it_is(text):
    assert visible(text) == text


def test_what_steers_a_terminal_or_is_not_seen_is_written_out(capsys):
    assert visible(NASTY) == WRITTEN
    show(NASTY)
    say(NASTY)
    print_columns(["A", "B"], [[NASTY, None], [1, NASTY]])
    out, err = capsys.readouterr()
    assert out == f"{WRITTEN}\n{WRITTEN}\t\n1\t{WRITTEN}\n"
    assert err == f"{WRITTEN}\n"


def test_warnings_of_a_run_are_written_out_too(capsys):
    log, retries = logging.getLogger("collectors"), logging.getLogger("stamina")
    before = list(log.handlers), list(retries.handlers)
    try:
        log.handlers.clear()
        show_warnings()
        log.warning("the source said %s", NASTY)
    finally:
        log.handlers[:], retries.handlers[:] = before
    assert capsys.readouterr().err == f"the source said {WRITTEN}\n"


PRINT = """
import sys
from deployments.cli.output import print_columns
print_columns(["RUN", "WHY"], [["r1", sys.argv[1]], ["r2", "short"]])
"""
EMPTY = """
from deployments.cli.output import print_columns
print_columns(["RUN", "WHY"], [])
"""
NUMBERS = """
from deployments.cli.output import print_columns
print_columns(["RECORDS", "WHY"], [[20_800, None]])
"""


def on_terminal(columns: int, text: str, program: str = PRINT, **variables: str) -> list[str]:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    with os.fdopen(leader, "rb", buffering=0) as shown, os.fdopen(follower, "wb", buffering=0) as terminal:
        terminal.write(b"|\n")  # so that there is something to read
        command = [sys.executable, "-c", program, text]
        subprocess.run(command, stdout=terminal, env=inherited | variables, check=True, timeout=60)
        return shown.read(65_536).decode().replace("\r\n", "\n").splitlines()[1:]


@pytest.mark.parametrize(
    ("columns", "text", "last"),
    [
        (80, "it broke", "it broke"),
        (24, "it broke because of this and that", "it broke because o…"),
        (24, "支付退款支付退款支付退款", "支付退款支付退款支…"),
        (3, "it broke because of this and that", "it broke be…"),
        (24, "x" * 19, "x" * 19),
    ],
    ids=["wide", "narrow", "wide characters", "too narrow", "just fits"],
)
def test_on_a_terminal_the_last_column_takes_the_cut(columns, text, last):
    assert on_terminal(columns, text, NO_COLOR="1") == ["RUN  WHY", f"r1   {last}", "r2   short"]


def test_headings_are_dim():
    assert on_terminal(80, "it broke") == ["\x1b[2mRUN  WHY\x1b[0m", "r1   it broke", "r2   short"]


def test_a_table_of_nothing_has_no_headings():
    assert on_terminal(80, "", EMPTY) == []


def test_people_see_thousands_and_programs_numbers():
    assert on_terminal(80, "", NUMBERS, NO_COLOR="1") == ["RECORDS  WHY", "20,800"]
    done = subprocess.run([sys.executable, "-c", NUMBERS], capture_output=True, text=True, timeout=60)
    assert done.stdout == "20800\t\n"


def test_headings_are_said_in_the_users_language_and_columns_stay_aligned():
    code = f"from collectors.language import LANGUAGE\nLANGUAGE.set('zh'){PRINT}"
    assert on_terminal(80, "it broke", code, NO_COLOR="1") == ["运行  原因", "r1    it broke", "r2    short"]


@pytest.mark.parametrize(("language", "path", "mode"), [("en", "path", "mode"), ("zh", "路径", "模式")])
def test_fields_begin_with_their_name_in_the_users_language(capsys, language, path, mode):
    token = LANGUAGE.set(language)
    try:
        show_field("path", "/a")
        show_field("mode", "full", "")
    finally:
        LANGUAGE.reset(token)
    assert capsys.readouterr().out == f"  {path}        /a\n{mode}        full\n"


def test_in_a_pipe_nothing_is_cut(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    done = subprocess.run([sys.executable, "-c", PRINT, "x" * 500], capture_output=True, text=True, timeout=60)
    assert done.stdout == "r1\t" + "x" * 500 + "\nr2\tshort\n"
