"""`[state]`: what is a Redis URL, and that its password is shown nowhere."""

import pytest

from gproxy.config.sections import state
from gproxy.config.sections.state import RedisURL, StateSettings
from gproxy.config.types import Seconds


@pytest.mark.parametrize(
    ("text", "where", "facts"),
    [
        ("redis://localhost", "localhost:6379", ("redis", "", "", 0)),
        ("redis://cache.example:7000/3", "cache.example:7000", ("redis", "", "", 3)),
        ("rediss://:p%40ss@cache.example/0", "cache.example:6379", ("rediss", "", "p@ss", 0)),
        ("redis://me:p:w@[::1]:6380/1", "::1:6380", ("redis", "me", "p:w", 1)),
        ("unix:/run/redis.sock", "unix:/run/redis.sock", ("unix", "", "", 0)),
        ("unix://me:pw@/run/redis.sock?db=2", "unix:/run/redis.sock", ("unix", "me", "pw", 2)),
    ],
)
def test_where_it_is(text, where, facts):
    url = RedisURL.parse(text)
    assert url.where == where
    assert (url.scheme, url.user, url.password, url.database) == facts
    assert repr(url) == str(url) == f"{url}" == "***"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://:s3cret@localhost", "the URL must begin with redis://, rediss:// or unix:"),
        ("localhost:6379", "the URL must begin with redis://, rediss:// or unix:"),
        ("redis://s3cret@localhost", "before @ comes user:password, or :password"),
        ("redis://:s3cret@", "after // comes only [user:password@]host:port/db"),
        ("redis://:s3cret@localhost?a=b", "after // comes only [user:password@]host:port/db"),
        ("redis://:s3cret@localhost/zero", "the database must be a number"),
        ("redis://:s3cret@localhost:99999", "the port must be a number from 1 to 65535"),
        ("redis://:s3cret@localhost:port", "the port must be a number from 1 to 65535"),
        ("redis://:s3cret@[::1", "the value is not a URL"),
        ("unix:redis.sock", "after unix: comes an absolute path, and optionally ?db=N"),
        ("unix://run/redis.sock", "after unix: comes an absolute path, and optionally ?db=N"),
        ("unix:/run/redis.sock?s3cret", "the database must be a number"),
    ],
)
def test_what_it_is_not_is_said_without_quoting_it(text, message):
    with pytest.raises(ValueError) as caught:
        RedisURL.parse(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"timeout": Seconds(0)}, "timeout: must be more than 0"),
        ({"lease": 0}, "lease: must be at least 1"),
        ({"max_connections": 0}, "max_connections: must be at least 1"),
        ({"prefix": "a b"}, "prefix: must not contain spaces or control characters"),
    ],
)
def test_what_the_section_refuses(given, message):
    with pytest.raises(ValueError) as caught:
        StateSettings(**given)
    assert str(caught.value) == message


def test_what_becomes_of_limits_without_it_is_told():
    assert StateSettings().meanwhile == "each machine counts locally"
    assert StateSettings(on_failure="closed").meanwhile == "limited requests get 503"


def test_the_package_must_be_there_if_it_is_needed(monkeypatch):
    monkeypatch.setattr(state, "find_spec", lambda _: None)
    StateSettings()
    with pytest.raises(ValueError, match=r"^redis: needs the Python package redis; install gproxy\[redis\]$"):
        StateSettings(redis=RedisURL("redis://localhost"))
