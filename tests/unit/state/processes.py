"""Processes for tests of what several of them share."""

import mmap
import os
import signal
import traceback


class Child:
    """A forked process that does one thing, and tells whether it came to an end."""

    def __init__(self, function, *args):
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                function(*args)
                code = 0
            except BaseException:  # noqa: BLE001 a child must not run the tests of its parent
                traceback.print_exc()
            finally:
                os._exit(code)

    def wait(self):
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        return self.wait()


def together(count, function, *args):
    """Run it in so many processes, all at the same time; each gets its number first. Fails if one of them does."""
    gate = memoryview(mmap.mmap(-1, 8)).cast("Q")

    def run(number):
        while not gate[0]:
            os.sched_yield()
        function(number, *args)

    children = [Child(run, number) for number in range(count)]
    gate[0] = 1
    assert [child.wait() for child in children] == [0] * count
