"""The answer of two services."""

from dataclasses import dataclass, field

from gproxy import HTTPError, Next, Request, Response, gather
from gproxy.config.types import Seconds, UpstreamName
from gproxy.runtime import Runtime
from gproxy.state.cached import cached


@dataclass
class Overview:
    """Answers with a user, the user's plan and the number of orders; without orders if their service is late."""

    users: UpstreamName = field(metadata={"doc": "upstream of users and plans"})
    orders: UpstreamName = field(metadata={"doc": "upstream of orders"})
    patience: Seconds = field(default=Seconds(0.3), metadata={"doc": "time that the orders have"})

    def open(self, runtime: Runtime) -> None:
        self._users = runtime.upstream(self.users)
        self._orders = runtime.upstream(self.orders)

    def __call__(self, request: Request, next: Next) -> Response:
        name = request.path.rpartition("/")[2]
        user, orders, plan = gather(
            lambda: self._users.request("GET", f"/users/{name}", timeout=1.0),
            lambda: self._orders.request("GET", f"/orders/{name}", timeout=self.patience),
            lambda: self.plan(name),
        )
        if user.status != 200:
            return user
        count = len(orders.json()["items"]) if orders.status == 200 else None
        return Response.from_json({"user": user.json()["path"], "orders": count, "plan": plan})

    @cached(ttl="30s", stale="10m")
    def plan(self, name: str) -> str:
        answer = self._users.request("GET", f"/plans/{name}", timeout=0.5)
        if answer.status != 200:
            raise HTTPError(503, "the plan is not known", reason="plan_unknown")
        return str(answer.json()["path"])
