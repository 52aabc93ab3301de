"""The page at `/docs`, which tries every route out: Swagger UI, all of it served by the endpoint itself.

It asks for a key where the endpoint does, and keeps it until it is closed. What it may load is bounded by the browser, which
is told by a header: from the endpoint only, so that it works without a network and tells nobody outside of it.
"""

import base64
import hashlib
from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.responses import HTMLResponse, Response

PATH, ASSETS = "/docs", "/static-offline-docs"
_SCRIPT = """
const form = document.getElementById("key");
async function show(key) {
  const answer = await fetch("openapi.json", {headers: key ? {"x-api-key": key} : {}});
  form.hidden = answer.ok;
  if (!answer.ok) {
    form.querySelector("output").value = (await answer.json()).error.message;
    return;
  }
  const page = SwaggerUIBundle({
    spec: await answer.json(), dom_id: "#page", validatorUrl: null, tryItOutEnabled: true,
    onComplete: () => key && page.preauthorizeApiKey("key", key),
  });
}
form.addEventListener("submit", event => {
  event.preventDefault();
  show(new FormData(form).get("key"));
});
show("");
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="{assets}/favicon.png">
<link rel="stylesheet" href="{assets}/swagger-ui.css">
</head>
<body>
<form id="key" hidden>
<label>API key <input name="key" type="password" autocomplete="off" required></label>
<button>Open</button>
<output></output>
</form>
<main id="page"></main>
<script src="{assets}/swagger-ui-bundle.js"></script>
<script>{script}</script>
</body>
</html>
"""
_HASH = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; script-src 'self' 'sha256-{_HASH}'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_KEYS = {
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "bearer": {"type": "http", "scheme": "bearer"},
}


def application(title: str, version: str, *, keys: bool) -> FastAPI:
    """An application with the page and its OpenAPI document, which says how to send a key when there may be `keys`."""
    # Spans and logs are the layers' own: the framework's telemetry would only look at each request for who wants them.
    quiet: dict[str, Any] = {"telemetry": {"tracing": False, "metrics": False}}
    app = FastAPIOffline(docs_url=None, redoc_url=None, static_url=ASSETS, title=title, version=version, **quiet)
    content = _PAGE.format(title=escape(title), assets=ASSETS.removeprefix("/"), script=_SCRIPT)

    @app.get(PATH, include_in_schema=False)
    async def get_docs() -> Response:
        return HTMLResponse(content, headers={"content-security-policy": _POLICY})

    if keys:
        _declare(app)
    return app


def _declare(app: FastAPI) -> None:
    """Have the document say that a key may be sent: whether one must be is known only when somebody asks."""
    written = app.openapi

    def openapi() -> dict[str, Any]:
        document = written()
        document.setdefault("components", {})["securitySchemes"] = _KEYS
        document["security"] = [*({name: []} for name in _KEYS), {}]
        return document

    app.openapi = openapi
