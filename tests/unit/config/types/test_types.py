"""Secrets stay secret; references have a shape."""

import pickle

import pytest

from gproxy.config.types import ModuleRef, Secret


def test_secret_shows_nothing():
    secret = Secret("hunter2")
    assert f"{secret} {secret!r} {[secret]}" == "*** *** [***]"
    assert secret.reveal() == "hunter2"


def test_secret_equality():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert Secret("é\udc80") == Secret("é\udc80")
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


def test_secret_travels():
    assert pickle.loads(pickle.dumps(Secret("a"))) == Secret("a")


def test_empty_secret_is_refused():
    with pytest.raises(ValueError, match="a secret must not be empty"):
        Secret.parse("")


@pytest.mark.parametrize("text", ["m:A", "a.b_c:D.e", "_x:é"])
def test_reference(text):
    reference = ModuleRef.parse(text)
    assert str(reference) == text
    assert (reference.module, reference.attribute) == tuple(text.split(":"))


@pytest.mark.parametrize("text", ["", "a", "a.B", "a:", ":B", "a:b:c", "a b:c", "a..b:c", "1a:b", "./a.py:B", "a:B()"])
def test_not_a_reference(text):
    with pytest.raises(ValueError):
        ModuleRef.parse(text)
