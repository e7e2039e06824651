import pytest

from gproxy.config import hints
from gproxy.config.ini.build import build
from gproxy.config.ini.parser import RawSection, Value
from gproxy.config.sections.static import CacheRule, StaticOptions


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("0s", CacheRule("*", 0)),
        ("1h", CacheRule("*", 3600)),
        ("1h immutable", CacheRule("*", 3600, is_immutable=True)),
        ("/assets/*: 1d immutable", CacheRule("/assets/*", 86400, is_immutable=True)),
        ("*.js: 500ms", CacheRule("*.js", 0.5)),
    ],
)
def test_cache_rules_read_what_they_write(text, rule):
    assert CacheRule.parse(text) == rule
    assert str(rule) == text


@pytest.mark.parametrize("text", ["", "immutable", "a: b", "*.js 1h", "1h forever", "*.js: 1h immutable now", "1"])
def test_other_cache_rules(text):
    with pytest.raises(ValueError):
        CacheRule.parse(text)


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*", "/a/b", True),
        ("*.js", "/a/b.js", True),
        ("*.js", "/a/b.json", False),
        ("/assets/*", "/assets/a/b", True),
        ("assets/*", "/assets/a", True),
        ("assets/*", "/more/assets/a", False),
        ("/a.js", "/aXjs", False),
    ],
)
def test_what_a_cache_rule_is_for(pattern, path, matches):
    assert CacheRule(pattern, 1).matches(path) is matches


def options(**given):
    problems = []
    values = {name: Value(text, "f", 1) for name, text in given.items()}
    section = RawSection("route", "r", "f", 1, options=values)
    return build(StaticOptions, values, section, problems, []), [problem.message for problem in problems]


def test_the_options_as_written(tmp_path):
    built, problems = options(
        root=str(tmp_path), index="a.html", fallback="/app/a.html", precompressed="gzip", cache="*.js: 1h, 5s",
        hidden="yes",
    )  # fmt: skip
    assert problems == []
    assert built.cache_control("/a.js") == "max-age=3600"
    assert built.cache_control("/a.css") == "max-age=5"
    assert StaticOptions(root=tmp_path, cache=(CacheRule("*.js", 1),)).cache_control("/a.css") == "max-age=0"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"root": "/none/such"}, "/none/such is not a folder"),
        ({"root": "/", "index": "a/b"}, "expected the name of a file, such as index.html"),
        ({"root": "/", "index": ".."}, "expected the name of a file, such as index.html"),
        ({"root": "/", "fallback": "../a"}, "expected a file below root, such as index.html"),
        ({"root": "/", "fallback": "a\\b"}, "expected a file below root, such as index.html"),
        ({"root": "/", "precompressed": "br, br"}, "'br' is listed twice"),
        ({"index": "a.html"}, "has no meaning without root ="),
        ({"hidden": "yes"}, "has no meaning without root ="),
    ],
)
def test_problems(given, problem):
    assert options(**given) == (None, [problem])


@pytest.mark.parametrize("word", ["alias", "try_files", "file_server", "gzip_static", "expires", "autoindex"])
def test_words_of_other_servers_have_an_answer(word):
    hint = hints.option(word, [])
    assert "root =" in hint or "in its place" in hint
