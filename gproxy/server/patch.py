"""Import this first, in a fresh interpreter: what has imported ssl or threading before it keeps the blocking ones."""

from gevent import monkey

monkey.patch_all()
