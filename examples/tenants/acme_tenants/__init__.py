"""A handler for gproxy: paths of tenants."""

from dataclasses import dataclass, field

from gproxy import HTTPError, Next, Request, Response


@dataclass
class TenantPath:
    """Paths of tenants: the backend gets /alpha/reports when the tenant alpha asks for /reports."""

    except_for: tuple[str, ...] = field(default=(), metadata={"doc": "users whose paths stay as they are"})
    depth: int = field(default=20, metadata={"doc": "the most segments of a path"})

    def __post_init__(self) -> None:
        """Check the options. `gproxy check` reports the problem at the line of the option that the text begins with."""
        if self.depth < 1:
            raise ValueError("depth: expected 1 or more")

    def __call__(self, request: Request, next: Next) -> Response:
        if not request.user:
            raise HTTPError(403, "the request has no tenant", reason="no_tenant")
        if request.path.count("/") > self.depth:
            raise HTTPError(404, "the path has too many segments", reason="deep_path")
        if request.user not in self.except_for:
            request.add_prefix(f"/{request.user}")
        return next(request)
