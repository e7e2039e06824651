"""The phases of a request: what it waits for, or what is done with it, at the moment.

`Request.phase` is one of these numbers. The hot path stores it at each change: one attribute, without a clock. Views of
the requests in flight show the word.
"""

from typing import Final

#: In a handler, or in the gateway itself.
HANDLER: Final = 0
#: Waiting for a place at the upstream.
QUEUE: Final = 1
#: Getting a connection to a backend.
CONNECT: Final = 2
#: Being sent to the backend.
SEND: Final = 3
#: Sent; waiting for the head of the backend's response.
WAIT: Final = 4
#: Moving the body of the response.
BODY: Final = 5
#: Waiting for the client's body.
UPLOAD: Final = 6
#: Pausing before a retry.
PAUSE: Final = 7
#: Carrying bytes both ways.
TUNNEL: Final = 8
#: Stopped by a debugger.
DEBUG: Final = 9

#: The words, by number.
PHASES: Final = (
    "handler", "queue", "connect", "send", "wait", "body", "upload", "pause", "tunnel", "debug",
)  # fmt: skip
