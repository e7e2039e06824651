"""Frames are assigned to the handler whose code runs in them."""

import functools
import sys
from dataclasses import dataclass, field

from gproxy.introspection.handler_code import HandlerCode

SEEN = []


def seen():
    """Note the frame of the caller, as one that waits there would be found."""
    SEEN.append(sys._getframe(1))
    return SEEN[-1]


def logged(function):
    @functools.wraps(function)
    def wrapper(request, next):
        seen()
        return function(request, next)

    return wrapper


def plain(request, next):
    return seen()


@logged
def decorated(request, next):
    return seen()


def with_body(request, next):
    def pieces():
        yield seen()

    return pieces()


class Base:
    def __call__(self, request, next):
        return self.judge(request)

    def judge(self, request):
        return seen()


@dataclass
class Limit(Base):
    rate: int = 1
    helper: object = field(default=None)

    @property
    def now(self):
        return seen()

    @staticmethod
    def tool():
        return seen()


def helper():
    return seen()


def calls_a_helper(request, next):
    return helper()


def test_a_function_a_wrapped_one_and_a_partial_one():
    code = HandlerCode({"plain": plain, "decorated": decorated, "part": functools.partial(calls_a_helper, next=None)})
    assert code.name(plain(None, None)) == "plain"
    SEEN.clear()
    decorated(None, None)
    assert [code.name(frame) for frame in SEEN] == ["decorated", "decorated"]
    frame = helper()
    assert code.name(frame) == ""
    assert frame not in code


def test_the_generator_of_a_body_belongs_to_its_handler():
    code = HandlerCode({"body": with_body})
    assert code.name(next(with_body(None, None))) == "body"


def test_methods_properties_and_inherited_ones():
    limit = Limit()
    code = HandlerCode({"limit": limit})
    assert [code.name(frame) for frame in (limit(None, None), limit.now, limit.tool())] == ["limit"] * 3


def test_two_instances_of_one_class_are_told_apart_by_their_frames():
    slow, fast = Limit(1), Limit(1)
    code = HandlerCode({"slow": slow, "fast": fast})
    assert code.name(slow(None, None)) == "slow"
    assert code.name(fast(None, None)) == "fast"


def test_two_functions_of_one_decorator_are_told_apart_by_what_it_wraps():
    def noted(function):
        def noting(request, next):
            seen()
            return function(request, next)

        return noting

    first, second = noted(plain), noted(calls_a_helper)
    code = HandlerCode({"first": first, "second": second})
    SEEN.clear()
    first(None, None)
    second(None, None)
    assert [code.name(frame) for frame in SEEN] == ["first", "", "second", ""]


def test_the_innermost_frame_of_a_handler():
    code = HandlerCode({"calls": calls_a_helper})
    frame = calls_a_helper(None, None)
    assert frame.f_code.co_name == "helper"
    SEEN.clear()

    def inside(request, next):
        return [code.innermost(sys._getframe()), helper()]

    code = HandlerCode({"inside": inside})
    found, _ = inside(None, None)
    assert found.f_code is inside.__code__
    assert code.innermost(sys._getframe()) is None
    assert code.innermost(None) is None


def test_code_of_the_standard_library_belongs_to_no_handler():
    class Cookies(functools.partialmethod):
        def __call__(self, request, next):
            return seen()

    code = HandlerCode({"cookies": Cookies(print)})
    assert functools.partialmethod.__init__.__code__ not in code._owners


def test_without_handlers_no_frame_has_one():
    assert HandlerCode({}).name(sys._getframe()) == ""
