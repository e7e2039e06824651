"""The reader keeps lines, follows configparser where it is sane, and finds every mistake."""

import pytest

from gproxy.config.ini.parser import Value, parse

NO_OPTION = "expected 'option = value', '[section]', a comment, or an indented continuation"


def one(text, environ=None):
    """The options of the one section in `text`, as name: (text, line); fails on any problem."""
    problems = []
    (section,) = parse(text, "f", environ or {}, problems)
    assert problems == []
    return {name: (value.text, value.line) for name, value in section.options.items()}


def faults(text, environ=None):
    problems = []
    parse(text, "f", environ or {}, problems)
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[s]\na = 1", {"a": ("1", 2)}),
        ("[s]\na=1=2", {"a": ("1=2", 2)}),
        ("[s]\nA-b_C = X", {"a_b_c": ("X", 2)}),
        ("[s]\r\na = 1\r\nb = 2\r\n", {"a": ("1", 2), "b": ("2", 3)}),
        (
            "[s] ; why\na = 1 ; one\nb = 1;2\nc = #3 # x\nd = ;x\n",
            {"a": ("1", 2), "b": ("1;2", 3), "c": ("#3 # x", 4), "d": ("", 5)},
        ),
        ("; top\n# top\n  ; top\n[s]\n  # in\na = 1", {"a": ("1", 6)}),
        ("[s]\na = 1,\n  2\n\n\t3", {"a": ("1,\n2\n\n3", 2)}),
        ("[s]\na =\n\n  1\nb = 2", {"a": ("1", 4), "b": ("2", 5)}),
        ("[s]\na = 1\n  ; no\n  2 ; two\n", {"a": ("1\n\n2", 2)}),
        ("[s]\n  a = 1\n  b = 2\n    c = 3", {"a": ("1", 2), "b": ("2\nc = 3", 3)}),
        ("[s]\na = 1\n  [::1]:80", {"a": ("1\n[::1]:80", 2)}),
        ("[s]\na = http://h:1", {"a": ("http://h:1", 2)}),
        ("[s]\na =", {"a": ("", 2)}),
        ("[s]\na = é\u2028x", {"a": ("é\u2028x", 2)}),
    ],
)
def test_options_and_their_lines(text, expected):
    assert one(text) == expected


@pytest.mark.parametrize(
    ("text", "kind", "name", "title"),
    [
        ("[server]", "server", "", "server"),
        (" [ route : a.b-c ] ", "route", "a.b-c", "route:a.b-c"),
        ("[route:]", "route", "", "route"),
        ("[a:b:c]", "a", "b:c", "a:b:c"),
    ],
)
def test_section_header(text, kind, name, title):
    problems = []
    (section,) = parse(text, "f", {}, problems)
    assert (section.kind, section.name, section.title, problems) == (kind, name, title, [])


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("${A}", "one"),
        ("x${A}y${A}", "xoneyone"),
        ("${B:-two}", "two"),
        ("${A:-two}", "one"),
        ("${EMPTY}", ""),
        ("${EMPTY:-two}", "two"),
        ("${B:-}", ""),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("^a$", "^a$"),
        ("${TRICKY}", "a ; b\n[x]"),
    ],
)
def test_environment(written, expected):
    assert one(f"[s]\na = {written}", {"A": "one", "EMPTY": "", "TRICKY": "a ; b\n[x]"})["a"] == (expected, 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1", ["f:1: a: is before the first section; expected [section] first"]),
        (
            "[s]\njust words",
            ["f:2: [s] expected 'option = value', '[section]', a comment, or an indented continuation"],
        ),
        (
            "[s]\nhost: a",
            [f"f:2: [s] {NO_OPTION}; write host = VALUE, with an equals sign"],
        ),
        ("[s]\n= 1", ["f:2: [s] expected 'option = value', '[section]', a comment, or an indented continuation"]),
        ("[s", ["f:1: expected a section such as [server] or [route:users]; write [s]"]),
        ("[]\na = 1", ["f:1: expected a section such as [server] or [route:users]"]),
        ("[s] x\na = 1", ["f:1: expected a section such as [server] or [route:users]"]),
        ("[s]\na = 1\n\nA = 2", ["f:4: [s] a: duplicate option; the first is at line 2"]),
        ("[s:x]\n[t]\n[s:x]", ["f:3: [s:x] duplicate section; the first is at line 1"]),
        ("[s]\na = ${X}", ["f:2: [s] a: ${X} is not set in the environment; set it, or write ${X:-default}"]),
        ("[s]\na =\n 1\n ${X", ["f:4: [s] a: expected ${NAME} or ${NAME:-default} after '$'"]),
    ],
)
def test_faults(text, expected):
    assert faults(text) == expected


def test_all_faults_are_found():
    assert len(faults("x\n[s\n[t]\na = ${A} ${B}\na = 1\nwords\n[t]")) == 7


def test_second_section_of_the_same_name_adds_to_the_first():
    problems = []
    (section,) = parse("[s]\na = 1\n[s]\nb = 2", "f", {}, problems)
    assert list(section.options) == ["a", "b"]
    assert len(problems) == 1


def test_option_without_its_variable_is_broken_not_missing():
    (section,) = parse("[s]\na = ${X}", "f", {}, [])
    assert section.broken == {"a"}


def test_value_hides_its_text():
    assert "hunter2" not in repr(Value("hunter2", "f", 1))
