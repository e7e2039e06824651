"""Identity handlers along the chains: headers that two parts set, members of any_of, and certificates."""

from types import SimpleNamespace

from gproxy.config.identity_chains import open_routes, shared_headers
from gproxy.config.ini.parser import RawSection, Value


def section(kind, name, **options):
    lines = enumerate(options.items(), 11)
    return RawSection(kind, name, "a.ini", 10, {option: Value(text, "a.ini", line) for line, (option, text) in lines})


def written(value):
    return "\n".join(f"{key}: {one}" for key, one in value.items()) if isinstance(value, dict) else ", ".join(value)


def handler(name, use="jwt", identity_headers=frozenset(), **options):
    attributes = options if use == "headers" else {**options, "identity_headers": identity_headers}
    where = section("handler", name, use=use, **{option: written(value) for option, value in options.items()})
    return SimpleNamespace(
        name=name, use=use, handler=SimpleNamespace(**attributes), section=where, options={}, is_user_code=False
    )


def forwarding(name, *headers, **attributes):
    keys = frozenset(header.lower() for header in headers)
    return handler(name, forward={f"c{at}": one for at, one in enumerate(headers)}, identity_headers=keys, **attributes)


def route(name="users", handlers=(), skip=(), upstream=("api",), action="upstream", public=False):
    return SimpleNamespace(name=name, handlers=handlers, skip=skip, upstream=upstream, action=action, public=public)


def found(routes, *handlers, gateway=(), tls=()):
    of_tls = [(SimpleNamespace(forward=one), section("tls", "main", forward=written(one))) for one in tls]
    by_name = {one.name: one for one in handlers}
    return [
        (problem.section, problem.option, problem.message.partition(" is a header")[0])
        for problem in shared_headers(SimpleNamespace(handlers=gateway), routes, by_name, of_tls)
    ]


def test_a_header_of_the_certificate_belongs_to_no_other_part():
    tls = [{"subject": "X-Client"}]
    jwt = forwarding("jwt", "x-client")
    edit = handler("edit", "headers", request={"X-CLIENT": "me"})
    assert found([route()], jwt, gateway=("jwt",), tls=tls) == [("handler:jwt", "forward", "x-client")]
    assert found([route()], edit, gateway=("edit",), tls=tls) == [("handler:edit", "request", "X-CLIENT")]
    assert found([route(skip=("jwt",))], jwt, gateway=("jwt",), tls=tls) == []
    assert found([], gateway=(), tls=[{"subject": "X-Client"}, {"subject": "X-Client"}]) == []


def test_a_header_is_reported_once_however_many_routes_have_both_handlers():
    handlers = forwarding("jwt", "X-User"), forwarding("key", "X-User")
    routes = [route(name) for name in ("a", "b", "c")]
    assert found(routes, *handlers, gateway=("jwt", "key")) == [("handler:key", "forward", "X-User")]


def test_headers_that_no_option_names_are_those_of_user_code():
    own = handler("own", "mine:Own", identity_headers=frozenset({"x-user"}))
    assert found([route()], forwarding("jwt", "X-User"), own, gateway=("jwt", "own")) == [("handler:own", "", "x-user")]


def test_copied_headers_count():
    ask = handler("ask", "forward_auth", copy=("Remote-User",), identity_headers=frozenset({"remote-user"}))
    jwt = forwarding("jwt", "REMOTE-USER")
    assert found([route()], ask, jwt, gateway=("ask", "jwt")) == [("handler:jwt", "forward", "REMOTE-USER")]
    assert found([route()], ask, jwt, gateway=("jwt", "ask")) == [("handler:ask", "copy", "Remote-User")]


def test_members_of_an_any_of_may_share_a_header_and_no_other_handler_may():
    members = forwarding("jwt", "X-User"), forwarding("key", "X-User")
    who = handler("who", "any_of", of=("jwt", "key"), identity_headers=frozenset({"x-user"}))
    assert found([route()], who, *members, gateway=("who",)) == []
    second = forwarding("mtls", "X-User")
    assert found([route()], who, *members, second, gateway=("mtls", "who")) == [
        ("handler:jwt", "forward", "X-User"),
        ("handler:key", "forward", "X-User"),
    ]


def open_ones(*routes, gateway=("edit",)):
    handlers = {"jwt": handler("jwt"), "edit": handler("edit", "headers")}
    pairs = [(one, section("route", one.name)) for one in routes]
    return [problem.section for problem in open_routes(SimpleNamespace(handlers=gateway), pairs, handlers)]


def test_a_route_is_open_if_others_have_an_identity_handler_and_it_does_not_declare_that():
    guarded = route("guarded", handlers=("jwt",))
    assert open_ones(guarded, route("open")) == ["route:open"]
    assert open_ones(route("open"), route("other")) == []
    assert open_ones(guarded, route("open", public=True)) == []
    assert open_ones(guarded, route("redirect", upstream=(), action="redirect")) == []
    assert open_ones(guarded, route("files", upstream=(), action="root")) == ["route:files"]
    assert open_ones(guarded, route("open", skip=("edit",))) == ["route:open"]
    assert open_ones(route("guarded"), route("open", skip=("jwt",)), gateway=("jwt",)) == []
