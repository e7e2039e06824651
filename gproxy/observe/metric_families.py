"""The table of all metrics: their kinds, labels and meaning."""

from typing import Final, Literal, NamedTuple

#: The label value of all series beyond `max_series`.
OTHER: Final = "other"


class Family(NamedTuple):
    """All series of one name. A gauge covers live processes; a counter includes ended ones."""

    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    #: What makes one value of those of all processes: their sum, or the highest one if all report the same thing.
    merge: Literal["sum", "max"] = "sum"

    @property
    def is_sampled(self) -> bool:
        """True if each sample sets the value of this process anew, so that nothing of ended processes is kept."""
        return self.kind == "gauge" or self.merge == "max"

    def other(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Return these label values with `other` for each, except the worker's number."""
        return tuple(value if name == "worker" else OTHER for name, value in zip(self.labels, labels, strict=True))


_BACKEND: Final = ("upstream", "backend")
FAMILIES: Final[dict[str, Family]] = {
    "gproxy_requests_total": Family("counter", ("route", "status", "reason"), "requests answered"),
    "gproxy_request_duration_seconds": Family(
        "histogram", ("route",), "seconds from the first byte of the request to the last of the response"
    ),
    "gproxy_request_bytes_total": Family("counter", ("route",), "bytes of request bodies received"),
    "gproxy_response_bytes_total": Family("counter", ("route",), "bytes of response bodies sent"),
    "gproxy_retries_total": Family("counter", ("route",), "attempts after a request's first"),
    "gproxy_fallthrough_total": Family("counter", ("route",), "requests that an app has left to the upstream"),
    "gproxy_offload_dropped_total": Family(
        "counter", ("handler",), "results of threads that came after the deadline, or after their client had left"
    ),
    "gproxy_requests_in_flight": Family("gauge", (), "requests in progress"),
    "gproxy_buffer_bytes": Family("gauge", (), "bytes kept in memory for slow clients"),
    "gproxy_connections": Family("gauge", (), "open client connections"),
    "gproxy_http2_connections": Family("gauge", (), "open client connections in HTTP/2"),
    "gproxy_http2_streams": Family("gauge", (), "streams of clients in HTTP/2 whose requests are in progress"),
    "gproxy_http2_resets_total": Family(
        "counter", ("sender",), "streams of clients in HTTP/2 that were reset, by `client` or `gateway`"
    ),
    "gproxy_http2_floods_total": Family(
        "counter",
        (),
        "client connections in HTTP/2 closed after too many frames that cost work without being a request",
    ),
    "gproxy_backend_attempts_total": Family("counter", _BACKEND, "requests sent to the backend"),
    "gproxy_backend_failures_total": Family("counter", _BACKEND, "requests sent to the backend that failed"),
    "gproxy_backend_ejections_total": Family("counter", _BACKEND, "ejections of the backend after failures"),
    "gproxy_backend_duration_seconds": Family(
        "histogram", ("upstream",), "seconds from sending a request to the head of its response, or to its failure"
    ),
    "gproxy_backend_active": Family("gauge", _BACKEND, "requests in progress at the backend"),
    "gproxy_backend_waiting": Family("gauge", _BACKEND, "requests sent to the backend, without a first byte so far"),
    "gproxy_backend_healthy": Family("gauge", (*_BACKEND, "worker"), "1 if the worker may pick the backend, else 0"),
    "gproxy_connect_duration_seconds": Family(
        "histogram", ("upstream",), "seconds of connecting to a backend, the TLS handshake included"
    ),
    "gproxy_pool_connections": Family(
        "gauge", ("upstream", "state"), "connections to backends: active ones have a request, idle ones wait for one"
    ),
    "gproxy_queue_depth": Family("gauge", ("upstream",), "requests that wait for a place at the upstream"),
    "gproxy_queue_wait_seconds": Family(
        "histogram", ("upstream",), "seconds in the queue of the upstream, of requests that had to wait"
    ),
    "gproxy_breaker_state": Family(
        "gauge", ("upstream",), "circuit breaker: 0 closed, 1 half-open, 2 open; the highest of all workers", "max"
    ),
    "gproxy_tunnels": Family("gauge", (), "open tunnels, such as WebSockets"),
    "gproxy_handler_errors_total": Family(
        "counter",
        ("handler",),
        "exceptions of the handler that are no HTTPError, wrong return values, and ends of its time_limit",
    ),
    "gproxy_handler_skipped": Family(
        "gauge", ("handler",), "1 if workers skip the handler after errors, for on_error = skip; else 0", "max"
    ),
    "gproxy_policy_reports_total": Family(
        "counter",
        ("handler", "status", "route"),
        "requests that the handler with mode = report would have rejected, or could not judge",
    ),
    "gproxy_handler_duration_seconds": Family(
        "histogram", ("handler",), "seconds in the handler itself, without the rest of its chain; of some requests"
    ),
    "gproxy_rate_limited_total": Family("counter", ("handler",), "requests rejected by the rate limit"),
    "gproxy_rate_limit_delayed_total": Family("counter", ("handler",), "requests that waited for their turn"),
    "gproxy_rate_limit_evictions_total": Family(
        "counter", ("handler",), "clients evicted early because there were too many"
    ),
    "gproxy_table_evictions_total": Family(
        "counter", ("table",), "entries that left a full table before the end of their life"
    ),
    "gproxy_job_runs_total": Family(
        "counter",
        ("job", "result"),
        "runs of a job that have ended: success, error, timeout, or cut by a stop; skipped: none, the one before ran",
    ),
    "gproxy_job_last_success_timestamp_seconds": Family(
        "gauge", ("job",), "Unix time at which a run of a job has succeeded last; 0: never", "max"
    ),
    "gproxy_concurrency_limited_total": Family(
        "counter", ("handler",), "requests rejected by the limit of concurrent requests"
    ),
    "gproxy_concurrency_uncounted_total": Family(
        "counter", ("handler",), "requests admitted uncounted because too many clients had requests under way"
    ),
    "gproxy_auth_total": Family(
        "counter", ("handler", "outcome"), "requests judged by the identity handler, by outcome"
    ),
    "gproxy_auth_asked_total": Family(
        "counter", ("handler", "outcome"), "outside calls of the identity handler, by outcome: ok, rejected, failed"
    ),
    "gproxy_auth_asked_seconds": Family("histogram", ("handler",), "seconds of outside calls of the identity handler"),
    "gproxy_keys": Family("gauge", ("issuer",), "usable keys in the key set of the issuer", "max"),
    "gproxy_keys_age_seconds": Family(
        "gauge", ("issuer",), "seconds since the key set was fetched; that of the worker with the oldest set", "max"
    ),
    "gproxy_keys_fetches_total": Family("counter", ("issuer", "outcome"), "fetches of the key set, by outcome"),
    "gproxy_store_round_trips_total": Family("counter", (), "round trips to Redis"),
    "gproxy_store_failures_total": Family("counter", (), "round trips to Redis that failed"),
    "gproxy_store_seconds_total": Family("counter", (), "seconds spent in round trips to Redis"),
    "gproxy_store_up": Family("gauge", ("worker",), "1 if Redis is available to the worker, else 0"),
    "gproxy_log_lost_lines_total": Family("counter", (), "access lines lost, of each target"),
    "gproxy_feed_dropped_total": Family("counter", (), "records for the monitor that were lost"),
    "gproxy_series_dropped_total": Family(
        "counter", (), "combinations of labels beyond max_series, counted under the label value other"
    ),
    "gproxy_workers": Family("gauge", (), "workers that serve, draining ones included"),
    "gproxy_workers_started_total": Family("counter", (), "workers that began to serve"),
    "gproxy_worker_uptime_seconds": Family("gauge", ("worker",), "seconds since the worker began to serve"),
    "gproxy_worker_memory_bytes": Family("gauge", ("worker",), "resident memory of the worker"),
    "gproxy_worker_lag_seconds": Family("gauge", ("worker",), "delay of the worker's event loop in seconds"),
    "gproxy_hub_lag_seconds": Family("histogram", (), "seconds by which the event loops of workers were late"),
    "gproxy_hub_blocked_total": Family(
        "counter", ("handler", "route"), "times that the handler has blocked an event loop for longer than block_log"
    ),
    "gproxy_hub_blocked_seconds_total": Family(
        "counter", ("handler", "route"), "seconds in which the handler has blocked an event loop"
    ),
    "gproxy_worker_cpu_seconds_total": Family("counter", ("worker",), "CPU time of the worker in seconds", "max"),
    "gproxy_greenlets": Family("gauge", ("worker",), "live greenlets of the worker, counted about every ten seconds"),
    "gproxy_open_fds": Family("gauge", ("worker",), "open file descriptors of the worker"),
    "gproxy_max_fds": Family("gauge", ("worker",), "most open file descriptors that the worker may have"),
    "gproxy_generation": Family("gauge", (), "number of the generation that serves", "max"),
    "gproxy_reloads_total": Family("counter", ("result",), "reloads since the start, by success or failure", "max"),
    "gproxy_last_reload_successful": Family("gauge", (), "1 if the last reload or the start succeeded, else 0", "max"),
    "gproxy_last_reload_success_timestamp_seconds": Family(
        "gauge", (), "Unix time of the last successful reload, or of the start", "max"
    ),
    "gproxy_certificate_expires_seconds": Family(
        "gauge", ("tls",), "Unix time at which the certificate of the [tls:NAME] expires", "max"
    ),
    "gproxy_trace_spans_total": Family(
        "counter", ("result",), "spans for the collector: sent, dropped from a full queue, or failed to be sent"
    ),
    "gproxy_build_info": Family("gauge", ("version", "python", "compiled"), "1; the labels name what runs", "max"),
}
