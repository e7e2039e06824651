"""The login form of the page, for browsers on TCP: it takes a token and gives a session."""

from html import escape
from typing import Final

from gproxy.http.errors import HTTPError
from gproxy.http.response import Response
from gproxy.monitor.access import audit
from gproxy.monitor.api.operation import Call, Parameter

#: The field of the form.
FIELDS: Final = (Parameter("token", "text", "token or read_token of [admin]"),)

_FORM: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Log in: {title}</title>
</head>
<body>
<main>
<h1>{title}</h1>
<form method="post" action="/login">
{problem}<p><label for="token">Token</label></p>
<p><input id="token" name="token" type="password" autocomplete="current-password" required autofocus{described}></p>
<p><button>Log in</button></p>
</form>
</main>
</body>
</html>
"""
_PROBLEM: Final = '<p id="problem" role="alert">{problem}</p>\n'
_WRONG: Final = "This token is wrong."
_TOO_MANY: Final = "Too many tokens were wrong. Try again in a minute."
_DESCRIBED: Final = ' aria-invalid="true" aria-describedby="problem"'


def form(call: Call) -> Response:
    """Return the form."""
    return _page(call, 200)


def log_in(call: Call) -> Response:
    """Give the client a session for the token of the form, and send it to the page; the form again for a wrong one."""
    try:
        acts = call.access.enter(call.request, call.values.get("token", ""))
    except HTTPError as error:
        page = _page(call, error.status, _WRONG if error.status == 401 else _TOO_MANY)
        page.headers.update(error.headers)
        return page
    response = _see("/")
    call.access.login.begin(call.request, response, acts=acts)
    audit.record(call, f"login {'to act' if acts else 'to read'}")
    return response


def log_out(call: Call) -> Response:
    """Take the session from the client."""
    response = _see("/login")
    call.access.login.end(call.request, response)
    return response


def _see(path: str) -> Response:
    return Response(303, headers={"Location": path})


def _page(call: Call, status: int, problem: str = "") -> Response:
    shown = _PROBLEM.format(problem=escape(problem)) if problem else ""
    page = _FORM.format(
        title=escape(call.gateway.settings.admin.name), problem=shown, described=_DESCRIBED if problem else ""
    )
    return Response(status, page.encode(), {"Content-Type": "text/html; charset=utf-8"})
