"""How tests are collected, the order of their files, and what happens to the files of a process that has crashed.

The longest files are first, so that the last ones to run leave no core idle.
"""

import gc

import pytest
from xdist.scheduler import LoadFileScheduling

#: Seconds of the files that take long, below tests/; `pytest --durations=0` has the figures. Only the order counts.
LONG = {
    "process/test_reload.py": 101,
    "process/test_arbiter.py": 70,
    "flow/test_timeouts.py": 54,
    "process/test_process_sharing.py": 53,
    "flow/test_balancing.py": 52,
    "process/test_process_traces.py": 51,
    "process/test_process_orders.py": 50,
    "process/test_process_rules.py": 49,
    "process/test_command_line.py": 49,
    "process/test_process_mtls.py": 48,
    "flow/test_names.py": 46,
    "process/test_process_stop.py": 46,
    "flow/test_tunnel.py": 44,
    "process/test_process_redis.py": 43,
    "process/test_process_memory.py": 43,
    "process/test_process_identity_seen.py": 40,
    "process/test_process_page.py": 40,
    "process/test_scripts.py": 39,
    "flow/test_connecting.py": 37,
    "process/test_isolation.py": 36,
    "process/test_process_key_sets.py": 35,
    "process/test_process_admin.py": 34,
    "flow/test_health.py": 34,
    "bench/test_bench.py": 31,
    "process/test_process_tls.py": 30,
    "flow/test_streaming.py": 30,
    "process/test_process_concurrency.py": 30,
    "process/test_process_api_keys.py": 29,
    "process/test_process_introspect.py": 29,
    "applications/test_flask.py": 28,
    "flow/test_retries.py": 28,
    "process/test_process_bursts.py": 27,
    "process/test_process_basic.py": 27,
    "process/test_process_record.py": 27,
    "flow/test_failures.py": 26,
    "process/test_examples.py": 26,
    "process/test_process_apps.py": 26,
    "process/test_process_logs.py": 25,
    "flow/test_idle_backends.py": 23,
    "flow/test_tls_backends.py": 23,
    "docs/test_identity.py": 22,
    "process/test_process_watchdog.py": 22,
    "process/test_process_access_log.py": 22,
    "flow/test_slow_clients.py": 22,
    "flow/test_shielding.py": 22,
    "process/test_process_gunicorn.py": 21,
    "process/test_process_targets.py": 21,
    "process/test_systemd.py": 20,
    "process/test_stop_under_load.py": 19,
    "unit/state/rate_limit/test_shared_limiter.py": 19,
    "process/test_limits.py": 19,
    "process/test_process_pinned_code.py": 19,
    "flow/test_http2_vanished.py": 18,
    "process/test_process_tables.py": 18,
    "process/test_process_forward_auth.py": 17,
    "process/test_process_dev.py": 17,
    "process/test_process_debug_faults.py": 17,
    "process/test_process_metrics.py": 16,
    "applications/test_uvicorn.py": 16,
    "flow/test_handlers.py": 16,
    "docs/test_recipes.py": 15,
    "wire/test_wire_cases.py": 15,
    "process/test_process_grpc.py": 15,
    "process/test_process_watching.py": 15,
    "process/test_process_jobs.py": 15,
    "process/test_process_tokens.py": 14,
    "process/test_process_packages.py": 13,
    "process/test_supervisord.py": 12,
    "unit/config/test_load.py": 12,
    "flow/test_policies.py": 12,
    "process/test_process_cached_look_ups.py": 12,
    "process/test_process_jwt.py": 11,
    "process/test_process_breakpoint.py": 11,
    "process/test_process_debug.py": 11,
    "process/test_process_admin_access.py": 11,
    "process/test_process_admin_logs.py": 10,
    "flow/test_tls_clients.py": 10,
    "process/test_process_routing.py": 9,
    "docs/test_getting_started.py": 9,
    "house/test_house.py": 9,
    "flow/test_both_ways.py": 9,
    "process/test_process_time_account.py": 9,
    "process/test_process_explain_identity.py": 8,
    "process/test_process_identity_secrets.py": 8,
    "docs/test_migrating.py": 8,
    "process/test_process_backend_command.py": 8,
    "process/test_process_admin_command.py": 8,
    "process/test_process_prometheus.py": 8,
    "process/test_process_health.py": 8,
    "process/test_process_http2_browser.py": 8,
    "process/test_process_own_metrics.py": 8,
    "process/test_process_record_and_replay.py": 8,
    "flow/test_errors.py": 8,
    "process/test_process_limits_under_attack.py": 7,
    "wire/test_frame_cases.py": 7,
    "wire/test_http2_attacks.py": 7,
    "flow/test_proxy_header.py": 7,
    "process/test_process_reload_command.py": 7,
}


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Let the collector of cycles not look at the thousands of tests, which stay: half of the time was its own."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: -LONG.get(item.nodeid.partition("::")[0].removeprefix("tests/"), 0))


class Scheduling(LoadFileScheduling):
    """The scheduling of pytest-xdist, which goes on after a crash.

    pytest-xdist 3.8 gives other processes the finished files of a crashed one too. They wait for ever for their tests.
    """

    def remove_node(self, node):
        work = self.assigned_work[node]
        for file in [file for file, tests in work.items() if all(tests.values())]:
            del work[file]
        return super().remove_node(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None
