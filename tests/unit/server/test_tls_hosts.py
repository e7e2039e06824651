"""Reloading of certificates that change on disk."""

from types import SimpleNamespace

import pytest

from gproxy.config.sections.tls import TLSSettings
from gproxy.server import tls_hosts as sites
from gproxy.server.tls_hosts import CertificateReloader


@pytest.fixture
def pair(tmp_path):
    settings = TLSSettings("a", certificate=tmp_path / "a.crt", key=tmp_path / "a.key")
    for path in (settings.certificate, settings.key):
        path.write_text("old")
    return settings


def test_a_pair_is_reloaded_once_both_files_are_stable(pair, monkeypatch):
    read = []
    runtime = SimpleNamespace(offload=lambda function, *arguments: function(*arguments), clock=lambda: 0.0)
    tls_hosts = SimpleNamespace(reload=lambda name, certificate: read.append((name, certificate.protocols)))
    renewal = CertificateReloader(tls_hosts, {"a": pair}, runtime, ["h2", "http/1.1"])
    monkeypatch.setattr(
        sites, "read_certificate", lambda _, now, protocols: SimpleNamespace(warnings=(), protocols=protocols)
    )

    def look():
        renewal.look("a", pair)
        return len(read)

    assert look() == 0
    pair.certificate.write_text("newer")
    assert look() == 0
    pair.key.write_text("newer")
    assert look() == 0  # it was seen to change, so more may follow
    assert look() == 1
    assert look() == 1
    assert read == [("a", ["h2", "http/1.1"])]


def test_an_outdated_list_is_reported_once(pair, caplog):
    ends = [100.0]
    runtime = SimpleNamespace(clock=lambda: 100.0)
    renewal = CertificateReloader(SimpleNamespace(lists_expire=lambda _: ends[0]), {"a": pair}, runtime)
    for ends[0] in (101.0, 100.0, 100.0, 99.0):
        renewal.report_outdated("a")
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition(" UTC")[0] for line in lines] == [
        "[tls:a] client_crl: a list is outdated since 1970-01-01 00:01"
    ] * 2


def test_a_bug_in_reading_does_not_end_the_reloading(pair, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("no idea")

    runtime = SimpleNamespace(offload=lambda function, *arguments: function(*arguments), clock=lambda: 0.0)
    monkeypatch.setattr(sites, "read_certificate", fail)
    renewal = CertificateReloader(SimpleNamespace(), {"a": pair}, runtime)
    pair.certificate.write_text("newer")
    renewal.look("a", pair)
    renewal.look("a", pair)
    assert [record.getMessage() for record in caplog.records] == [
        "[tls:a] the files cannot be read: RuntimeError: no idea; keeping the previous certificate"
    ]
