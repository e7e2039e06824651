"""Monkey patching by gevent; import this first: modules that import ssl or threading earlier keep blocking ones."""

from gevent import monkey

monkey.patch_all()
