"""Flask's hello world: what gunicorn serves, and gproxy as a route."""

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello():
    return "Hello, World!"
