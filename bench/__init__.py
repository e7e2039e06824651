"""Measures gproxy: beside other proxies (`scripts/bench`), and at scale (`scripts/bench scale`)."""
