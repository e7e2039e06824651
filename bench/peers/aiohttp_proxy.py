"""A streaming proxy made of aiohttp's server and client. Usage: aiohttp_proxy.py PORT BACKEND_PORT"""

import sys

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection"}
PORT, BACKEND = map(int, sys.argv[1:])
#: A body that is shorter is sent in one piece with its head, in bytes.
SHORT = 65536


def passed_on(headers):
    return [(name, value) for name, value in headers.items() if name.lower() not in HOP_BY_HOP]


async def forward(request):
    url = f"http://127.0.0.1:{BACKEND}{request.rel_url}"
    body = request.content if request.can_read_body else None
    headers = passed_on(request.headers)
    async with request.app["session"].request(
        request.method, url, headers=headers, data=body, allow_redirects=False
    ) as answer:
        return await send(request, answer)


async def send(request, answer):
    headers = passed_on(answer.headers)
    if answer.content_length is not None and answer.content_length < SHORT:
        return web.Response(status=answer.status, headers=headers, body=await answer.read())
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(request)
    async for piece in answer.content.iter_any():
        await response.write(piece)
    return response


async def session(app):
    connector = TCPConnector(limit=256)
    async with ClientSession(timeout=ClientTimeout(total=3), auto_decompress=False, connector=connector) as opened:
        app["session"] = opened
        yield


app = web.Application()
app.cleanup_ctx.append(session)
app.router.add_route("*", "/{tail:.*}", forward)
web.run_app(app, host="127.0.0.1", port=PORT, access_log=None, print=None, backlog=4096)
