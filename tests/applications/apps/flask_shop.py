"""A shop in Flask: uploads, downloads with ranges, a streamed answer, sessions, redirects, slow work."""

import hashlib
import os
import time

from flask import Flask, Response, redirect, request, send_from_directory, session, url_for

app = Flask(__name__)
app.secret_key = "a secret of the test"


@app.post("/form")
def form():
    file = request.files["file"]
    return {"name": file.filename, "sha256": hashlib.sha256(file.read()).hexdigest(), "note": request.form["note"]}


@app.put("/raw")
def raw():
    digest, size = hashlib.sha256(), 0
    while piece := request.stream.read(65536):
        digest.update(piece)
        size += len(piece)
    return {"size": size, "sha256": digest.hexdigest(), "chunked": "Transfer-Encoding" in request.headers}


@app.get("/files/<name>")
def files(name):
    return send_from_directory(os.environ["APP_FOLDER"], name, conditional=True)


@app.get("/stream")
def stream():
    """Send lines; each is 0.5 s after the last one."""

    def lines(count=int(request.args["lines"])):
        for number in range(count):
            time.sleep(0.5)
            yield f"line {number}\n"

    return Response(lines(), mimetype="text/plain")


@app.get("/reports")
@app.get("/work")
def work():
    time.sleep(float(request.args["seconds"]))
    return "done"


@app.post("/login")
def login():
    session["user"] = request.form["user"]
    response = redirect(url_for("account", _external=True))
    response.set_cookie("theme", "dark", path="/account")
    return response


@app.get("/account")
def account():
    return {"user": session["user"], "theme": request.cookies["theme"], "url": request.base_url}


@app.get("/private")
def private():
    given = request.authorization
    if given is None or (given.username, given.password) != ("alice", "wonder"):
        return Response("who?", 401, {"WWW-Authenticate": 'Basic realm="shop"'})
    return given.username
