"""An ASGI application without a framework: a WebSocket that echoes, events with pauses, a page that uses both."""

import asyncio
import json
import os
from pathlib import Path

#: The page opens an EventSource and a WebSocket, sends a file and a cookie, and posts what it has seen to /report.
PAGE = b"""<!doctype html>
<title>chat</title>
<script>
const seen = {events: [], opened: 0, errors: 0, echo: "", cookie: "", stored: 0}
const events = new EventSource("/events?pause=3.4")
const told = new Promise(resolve => {
  events.onopen = () => seen.opened++
  events.onerror = () => seen.errors++
  events.addEventListener("count", event => {
    seen.events.push(event.lastEventId + ":" + event.data)
    if (seen.events.length == 4) { events.close(); resolve() }
  })
})
const socket = new WebSocket("ws://" + location.host + "/chat")
const echoed = new Promise(resolve => {
  socket.onopen = () => socket.send("hello \\u00fc")
  socket.onmessage = event => { seen.echo = event.data; socket.close(); resolve() }
})
async function rest() {
  const answer = await fetch("/count", {method: "POST", body: new Blob(["x".repeat(300000)])})
  seen.stored = await answer.json()
  seen.cookie = document.cookie
}
Promise.all([told, echoed, rest()]).then(() => fetch("/report", {method: "POST", body: JSON.stringify(seen)}))
</script>
"""


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await chat(receive, send)
    elif scope["type"] == "http":
        await PATHS[scope["path"]](scope, receive, send)


async def chat(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", **{key: event.get(key) for key in ("text", "bytes")}})


async def events(scope, receive, send):
    """Send two events with a pause between them and end; a browser comes back with the number of the last one."""
    headers = dict(scope["headers"])
    begin = int(headers.get(b"last-event-id", b"0"))
    pause = float(scope["query_string"].partition(b"=")[2] or 0)
    await head(send, 200, b"text/event-stream")
    for number in (begin + 1, begin + 2):
        piece = b"retry: 100\nid: %d\nevent: count\ndata: number %d\n\n" % (number, number)
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        if number == 1:
            await asyncio.sleep(pause)
    await send({"type": "http.response.body", "body": b""})


async def page(scope, receive, send):
    await head(send, 200, b"text/html", [(b"set-cookie", b"visitor=7; Path=/")])
    await send({"type": "http.response.body", "body": PAGE})


async def count(scope, receive, send):
    await answer(send, len(await body(receive)))


async def report(scope, receive, send):
    """Store what the page reports, whole or not at all."""
    await asyncio.to_thread(store, await body(receive))
    await answer(send, "thanks")


def store(data):
    new = Path(os.environ["APP_FOLDER"], "report.new")
    new.write_bytes(data)
    new.rename(new.with_suffix(".json"))


async def body(receive):
    data, more = b"", True
    while more:
        event = await receive()
        data += event.get("body", b"")
        more = event.get("more_body", False)
    return data


async def head(send, status, media_type, more=()):
    headers = [(b"content-type", media_type), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def answer(send, value):
    await head(send, 200, b"application/json")
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})


async def nothing(scope, receive, send):
    await head(send, 204, b"text/plain")
    await send({"type": "http.response.body", "body": b""})


PATHS = {"/": page, "/events": events, "/count": count, "/report": report, "/favicon.ico": nothing}
