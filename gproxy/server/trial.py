"""The worker process of a self-test: it opens all parts for itself alone, tests, closes them and exits."""

import faulthandler
import os
from functools import partial
from typing import Final

import gevent

from gproxy.arbiter import messages
from gproxy.arbiter.control import Control
from gproxy.config.sections.settings import Settings
from gproxy.gateway import user_code
from gproxy.gateway.gateway import Gateway
from gproxy.generations.ask import Ask
from gproxy.generations.selftest import LIMIT, SelfTest
from gproxy.observe.json_log import Hide

#: Seconds after which the process ends though C code lets no other thread run; the arbiter gets the stacks.
_HELD: Final = LIMIT + 2.0
#: Seconds that the parts may take to close.
_CLOSING: Final = 2.0


def run_trial(control: Control, settings: Settings, gateway: Gateway, hide: Hide) -> None:
    """Run the self-test and report its result. Raises CannotOpenError."""
    gateway.open()
    ask = Ask(gateway, gateway.trust, settings.server)
    selftest = SelfTest(settings.server.selftest, settings.section("server"), ask, user_code.place)
    faulthandler.dump_traceback_later(_HELD, exit=True, file=control.socket)
    reasons = selftest.run(partial(_give_up, control, hide))
    faulthandler.cancel_dump_traceback_later()
    control.send(messages.Judged([*map(hide, reasons)]))
    with gevent.Timeout(_CLOSING, False):
        gateway.close()


def _give_up(control: Control, hide: Hide, reasons: list[str]) -> None:
    """Report a test that blocks the event loop, and exit. Called in another thread."""
    control.send_from_thread(messages.Judged([*map(hide, reasons)]))
    os._exit(0)
