"""The new shop: an ordinary Flask app. It knows nothing of the gateway."""

from flask import Flask, request

app = Flask(__name__)


@app.get("/api/cart")
def cart():
    return {"by": "the new app", "user": request.headers["X-User-ID"]}


@app.post("/api/orders")
def order():
    lines = request.get_json()["lines"]
    return {"by": "the new app", "items": sum(line["count"] for line in lines)}, 201
