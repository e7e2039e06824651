"""What a look-up of `cached` takes along of the request that has begun it: the account that notes its attempts.

A look-up serves no request: it has a greenlet of its own, and other requests get its result. Only a capture sees that a
request has begun it.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

from greenlet import getcurrent

from gproxy.http.exchange import Account
from gproxy.runtime.served import served_request

#: The attribute in which a greenlet has the account.
_NOTE: Final = "gproxy_lent_account"
_NOTHING: Final = nullcontext()


def lent_account() -> Account | None:
    """Return the account of the look-up that the greenlet makes; None elsewhere, and without a capture."""
    found: Account | None = getattr(getcurrent(), _NOTE, None)
    return found


def lend() -> AbstractContextManager[None]:
    """Return the block for a look-up that the greenlet begins: in it its attempts are noted, if captured.

    A look-up that begins another one passes on what it has.
    """
    request = served_request()
    if request is None:
        account = lent_account()
    else:
        own = request.exchange.account
        account = None if own is None else own.lent(request.at_end)
    return _NOTHING if account is None else _noting(account)


@contextmanager
def _noting(account: Account) -> Iterator[None]:
    here: Any = getcurrent()
    setattr(here, _NOTE, account)
    try:
        yield
    finally:
        delattr(here, _NOTE)
