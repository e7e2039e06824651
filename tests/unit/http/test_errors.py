"""Errors of handlers: what their constructors reject."""

import pytest

from gproxy import HTTPError


def test_a_text_in_place_of_the_status_is_named():
    with pytest.raises(TypeError, match="HTTPError: the first argument is a status, not 'no such user'"):
        HTTPError("no such user")
