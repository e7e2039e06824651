"""Words of NGINX, HAProxy, Traefik, Caddy, Kong and gunicorn, and what is written here instead.

`hints` imports this file late: an arbiter whose settings are right needs no memory for it.
"""

from collections.abc import Mapping
from typing import Final

_UPSTREAM: Final = "upstream = NAME in [route:NAME], and backends = http://HOST:PORT in [upstream:NAME]"
_BACKENDS: Final = "backends = http://HOST:PORT in [upstream:NAME]"
_CERTIFICATE: Final = "certificate = FILE and key = FILE in [tls:NAME], and bind = :443 tls in [server]"
_LIMIT: Final = "limit = 100/minute in [handler:rate_limit], and rate_limit in [gateway] handlers"
_CONNECTIONS: Final = "max_connections_per_address = in [server]"
_SET_REQUEST: Final = "request = NAME: VALUE in a [handler:NAME] with use = headers"
_SET_RESPONSE: Final = "response = NAME: VALUE in a [handler:NAME] with use = headers"
_COMPRESS: Final = "compress in [gateway] handlers, with its options in [handler:compress]"
_MATCH: Final = "path = and host = in [route:NAME]"
_BIND: Final = "bind = HOST:PORT in [server]"
_HANDLERS: Final = "handlers = in [gateway] or [route:NAME], and a [handler:NAME] section for the options"
_FILES: Final = "root = FOLDER in [route:NAME]"
_NOTHING: Final = "nothing in its place"
_PASSWORDS: Final = "users = FILE in [handler:basic], and basic in a handlers list"
_ASK: Final = "upstream = NAME in [handler:forward_auth], and forward_auth in a handlers list"
_PAGES: Final = "STATUS = FILE in [errors]"
_SMALLEST: Final = "min_size = in [handler:compress]"
_HTTP_ONLY: Final = "an HTTP backend: the gateway speaks no other protocol to backends"

#: Words of NGINX, HAProxy, Traefik, Caddy, Kong and gunicorn, in lower case with `_`, and what is written here.
WORDS: Final[Mapping[str, str]] = {
    # The listener.
    **dict.fromkeys(("listen", "port", "address", "entrypoint", "entrypoints", "bind_address", "http_port"), _BIND),
    **dict.fromkeys(("maxconn", "worker_connections"), "max_connections = in [server]"),
    **dict.fromkeys(("worker_processes", "nbproc", "processes", "worker_count"), "workers = in [server]"),
    "nbthread": "threads = in [server], for apps with offload = yes: a worker serves many requests at a time without",
    "worker_class": f"{_NOTHING}: a worker serves many requests at a time",
    **dict.fromkeys(
        ("daemon", "daemonize", "pidfile", "pid", "user", "group"),
        f"{_NOTHING}: systemd or supervisord starts the gateway in the foreground, as the user that they name",
    ),
    "client_max_body_size": "max_body = in [server] or [route:NAME]",
    "client_header_timeout": "head_timeout = in [server]",
    "client_body_timeout": "body_timeout = in [server]",
    "large_client_header_buffers": "max_head = in [server]",
    "keepalive_timeout": "idle_timeout = in [server]",
    "send_timeout": "write_timeout = in [server]",
    "graceful_timeout": "grace = in [server]",
    "server_tokens": f"{_NOTHING}: no response names the gateway",
    **dict.fromkeys(("sendfile", "tcp_nopush", "tcp_nodelay"), f"{_NOTHING}: the gateway does it by itself"),
    **dict.fromkeys(("limit_conn", "limit_conn_zone"), _CONNECTIONS),
    # Certificates.
    **dict.fromkeys(
        ("ssl_certificate", "ssl_certificate_key", "certfile", "keyfile", "cert", "crt", "ssl"), _CERTIFICATE
    ),
    **dict.fromkeys(("certresolver", "acme", "certificatesresolvers"), _CERTIFICATE),
    "ssl_protocols": "min_version = in [tls:NAME]",
    "ssl_ciphers": "ciphers = in [tls:NAME]",
    "ssl_client_certificate": "client_ca = in [tls:NAME]",
    "ssl_verify_client": "client_auth = in [tls:NAME]",
    # Routes.
    **dict.fromkeys(("location", "rule", "router", "routers", "handle", "prefix", "path_prefix", "pathprefix"), _MATCH),
    **dict.fromkeys(("server_name", "server_names", "hostname", "domain", "vhost"), "host = in [route:NAME]"),
    **dict.fromkeys(("proxy_pass", "reverse_proxy", "use_backend", "default_backend"), _UPSTREAM),
    **dict.fromkeys(("fastcgi_pass", "uwsgi_pass", "scgi_pass"), _HTTP_ONLY),
    "grpc_pass": f"{_UPSTREAM}, with http2 = yes",
    **dict.fromkeys(("root", "file_server", "static", "document_root", "staticfiles"), _FILES),
    "alias": f"{_FILES}, with strip_prefix = yes",
    "try_files": "fallback = FILE in [route:NAME] with root =",
    "index": "index = FILE in [route:NAME] with root =",
    **dict.fromkeys(("gzip_static", "brotli_static", "precompress"), "precompressed = in [route:NAME] with root ="),
    "expires": "cache = TIME in [route:NAME] with root =",
    **dict.fromkeys(("autoindex", "browse"), f"{_NOTHING}: a folder without index is a 404"),
    "return": "respond = STATUS or redirect = URL in [route:NAME]",
    "strip_path": "strip_prefix = yes in [route:NAME]",
    **dict.fromkeys(("preserve_host", "passhostheader"), "host = client or backend in [upstream:NAME]"),
    **dict.fromkeys(("map", "geo", "if"), "headers =, cookies =, query = or client = in [route:NAME]"),
    "acl": "path =, host =, headers = and methods = in [route:NAME]",
    "priority": f"{_NOTHING}: the longest matching path wins, then host, method and headers",
    # Upstreams.
    **dict.fromkeys(("server", "servers", "backend", "url", "uri", "target", "targets", "nodes"), _BACKENDS),
    **dict.fromkeys(("loadbalancer", "lb_policy", "load_balancing"), "balance = in [upstream:NAME]"),
    **dict.fromkeys(("least_conn", "ip_hash"), "balance = least_conn or ip_hash in [upstream:NAME]"),
    **dict.fromkeys(("sticky", "stickiness", "session_affinity"), "balance = sticky in [upstream:NAME]"),
    **dict.fromkeys(("proxy_connect_timeout", "timeout_connect"), "connect_timeout = in [upstream:NAME]"),
    **dict.fromkeys(
        ("proxy_read_timeout", "proxy_send_timeout", "timeout_server"),
        "timeout = in [gateway] or [route:NAME], and read_timeout = in [upstream:NAME]",
    ),
    **dict.fromkeys(("proxy_buffering", "proxy_buffers", "proxy_buffer_size"), "buffer_response = in [upstream:NAME]"),
    **dict.fromkeys(("proxy_request_buffering", "client_body_buffer_size"), "buffer_request = in [upstream:NAME]"),
    "proxy_http_version": f"{_NOTHING}: backends get HTTP/1.1, or HTTP/2 with http2 = yes",
    **dict.fromkeys(("proxy_redirect", "proxy_cookie_path"), f"{_NOTHING}: strip_prefix = yes does it"),
    "proxy_ssl_verify": "tls_verify = in [upstream:NAME]",
    "proxy_ssl_trusted_certificate": "tls_ca = in [upstream:NAME]",
    **dict.fromkeys(("proxy_ssl_name", "proxy_ssl_server_name"), "tls_name = in [upstream:NAME]"),
    **dict.fromkeys(("proxy_cache", "proxy_cache_path"), f"{_NOTHING}: an upstream caches"),
    "timeout_client": "idle_timeout = and body_timeout = in [server]",
    **dict.fromkeys(("timeout_http_request", "timeout_http-request"), "head_timeout = in [server]"),
    **dict.fromkeys(("timeout_http_keep_alive", "timeout_http-keep-alive"), "idle_timeout = in [server]"),
    "timeout_queue": "queue_timeout = in [upstream:NAME]",
    "timeout_tunnel": "tunnel_timeout = in [route:NAME]",
    **dict.fromkeys(("proxy_next_upstream", "redispatch", "option_redispatch"), "retry_on = in [upstream:NAME]"),
    **dict.fromkeys(("healthcheck", "health_check", "option_httpchk", "httpchk"), "health_path = in [upstream:NAME]"),
    "insecureskipverify": "tls_verify = no in [upstream:NAME]",
    "resolver": "dns_interval = in [upstream:NAME]",
    # Handlers.
    **dict.fromkeys(("middleware", "middlewares", "plugins", "filters"), _HANDLERS),
    **dict.fromkeys(("limit_req", "limit_req_zone", "ratelimit", "rate_limiting", "limit"), _LIMIT),
    **dict.fromkeys(("auth_basic", "auth_basic_user_file", "basicauth", "basic_auth"), _PASSWORDS),
    **dict.fromkeys(("auth_request", "auth_request_set", "forwardauth"), _ASK),
    **dict.fromkeys(("auth_jwt", "auth_jwt_key_file"), "key = in [handler:jwt], and jwt in a handlers list"),
    "satisfy": "of = NAME, NAME in [handler:any_of], and any_of in a handlers list",
    "stub_status": "metrics in [gateway] handlers",
    **dict.fromkeys(("gzip_min_length", "brotli_min_length"), _SMALLEST),
    **dict.fromkeys(("gzip", "gzip_types", "brotli", "encode", "compression"), _COMPRESS),
    **dict.fromkeys(("proxy_set_header", "request_header"), _SET_REQUEST),
    **dict.fromkeys(("add_header", "response_header"), _SET_RESPONSE),
    **dict.fromkeys(
        ("set", "add", "set_header"), "request = or response = NAME: VALUE in a [handler:NAME] with use = headers"
    ),
    "proxy_hide_header": "remove_response = NAME in a [handler:NAME] with use = headers",
    **dict.fromkeys(("allow", "deny"), "allow = and deny = in [handler:allow], and allow in a handlers list"),
    # The rest.
    **dict.fromkeys(
        ("set_real_ip_from", "real_ip_header", "forwarded_allow_ips", "forwardedheaders", "trust_proxy"),
        "trusted_proxies = in [gateway]",
    ),
    **dict.fromkeys(("access_log", "accesslog", "log_path"), "access = FILE, - or syslog:ADDRESS in [log]"),
    **dict.fromkeys(("error_page", "errorfile", "proxy_intercept_errors"), _PAGES),
    "log_format": "format = and fields = in [log]",
    "syslog": "access = syslog:ADDRESS in [log]",
    **dict.fromkeys(
        ("error", "error_log", "errorlog", "loglevel", "log_level"), "level = in [log]; errors go to standard error"
    ),
    "include": "include = FILE in [gateway]",
}

#: Sections of others. Those whose word is an option too are in WORDS.
SECTIONS: Final[Mapping[str, str]] = {
    "http": "[server], [gateway], [route:NAME] and [upstream:NAME], without a section around them",
    "events": "max_connections = in [server]",
    "frontend": "bind = in [server], and a [route:NAME]",
    **dict.fromkeys(("backend", "service", "services", "cluster", "clusters", "pool"), "[upstream:NAME]"),
    **dict.fromkeys(("global", "defaults", "default", "main"), "[server] and [gateway]"),
    **dict.fromkeys(("location", "router", "routers", "virtualhost"), "[route:NAME] with path = /..."),
    **dict.fromkeys(("middleware", "middlewares", "plugin", "plugins", "filter"), "[handler:NAME]"),
    **dict.fromkeys(("ssl", "certificate", "certificates", "certs"), "[tls:NAME]"),
    **dict.fromkeys(("logging", "logs", "accesslog", "access_log"), "[log]"),
    **dict.fromkeys(("redis", "store", "cache"), "redis = URL in [state]"),
}

#: NGINX's variables, and the placeholders with the same value.
VARIABLES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("host", "http_host", "server_name"), "{host}"),
    **dict.fromkeys(("uri", "request_uri", "document_uri"), "{path}"),
    **dict.fromkeys(("remote_addr", "proxy_add_x_forwarded_for", "realip_remote_addr"), "{client}"),
    **dict.fromkeys(("args", "query_string"), "{query}"),
    "scheme": "{scheme}",
    "request_method": "{method}",
    "request_id": "{id}",
    "remote_user": "{user}",
    "server_port": "{port}",
}

#: Words for networks, and the networks.
NETWORKS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("*", "all", "any"), "0.0.0.0/0, ::/0"),
    "localhost": "127.0.0.0/8, ::1/128",
    **dict.fromkeys(("private", "private_ranges"), "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16"),
}

#: Invalid values of any option as a whole, and what to say of them; `\1` is the text of the first group.
VALUES: Final[Mapping[str, str]] = {
    r"\[(?![0-9A-Fa-f:.]*[:\]]).*|[^\[]*\]": "a list is written without brackets",
    r"- .*": "the items of a list are written without '-'",
    r"[a-z_]+\s*=\s.*": "an indented line continues the option above; another option is not indented",
    r".*\$([A-Z_][A-Z0-9_]*).*": r"a variable of the environment is written ${\1}",
    r"([0-9]+)r/([smhd])": r"write \1/\2",
    r"(30[0-9])\s+(\S+)": r"write redirect = \2 and status = \1",
    r"([245][0-9][0-9])\s+([^\d\s].*)": r"write respond = \1 and body = \2",
    r"(\S*\(\S*)\s+(/\S*)": r"an arrow stands between both: \1 -> \2",
}

#: Options that are lists, and usually are repeated by writers who know NGINX.
LISTS: Final = (
    "access", "backends", "bind", "cookies", "handlers", "headers", "host", "include", "methods", "origins", "path",
    "query", "request", "response", "skip", "trusted_proxies", "upstream",
)  # fmt: skip
