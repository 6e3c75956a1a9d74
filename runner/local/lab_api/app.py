"""The lab as an aiohttp application: routes, and the form of answers to requests that no handler takes."""

from __future__ import annotations

import logging

from aiohttp import web

from runner.local.faults import FaultPlan, fault_middleware
from runner.local.lab_api import (
    account,
    alerts,
    analytics,
    batch,
    configs,
    datasets,
    deploy,
    downloads,
    inference,
    job_tools,
    jobs,
    metrics,
    models,
    predictions,
    public,
    trained,
    webhooks,
)
from runner.local.lab_api.auth import KEY_USE, KeyUse
from runner.local.lab_api.context import LAB, Lab, Refusal
from runner.local.web_kit import Handler, json_response, refuse_foreign_hosts

MAX_UPLOAD_BYTES = 250 * 1024**2
NOT_FOUND = "<!DOCTYPE html><html><body><h1>404</h1><p>This page could not be found.</p></body></html>"

_log = logging.getLogger(__name__)

# Each part of the lab brings its own routes, so that a new part is one module and one name here.
# Paths that are words come before paths with a variable in the same place.
PARTS = (
    public, inference, job_tools, predictions, configs, datasets, deploy, jobs, metrics, alerts, webhooks, models,
    batch, analytics, account, downloads, trained,
)  # fmt: skip


def lab_app(lab: Lab, *, faults: FaultPlan | None = None) -> web.Application:
    """The server over one `Lab`."""
    acting = [fault_middleware(faults, "lab", lab.clock)] if faults is not None else []
    app = web.Application(middlewares=[refuse_foreign_hosts, *acting, answer_errors], client_max_size=MAX_UPLOAD_BYTES)
    app[LAB] = lab
    app[KEY_USE] = KeyUse()
    account.add_seeded_keys(lab)
    models.add_seeded_model(lab)
    app.on_shutdown.append(_end_background)
    for part in PARTS:
        app.add_routes(part.ROUTES)
    return app


async def _end_background(app: web.Application) -> None:
    await app[LAB].aclose()


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn refusals and accidents into the lab's error bodies."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return refusal.response()
    except web.HTTPMethodNotAllowed as exc:
        return web.Response(status=405, headers={"Allow": exc.headers["Allow"]})
    except web.HTTPNotFound:
        return web.Response(status=404, text=NOT_FOUND, content_type="text/html")
    except web.HTTPRequestEntityTooLarge:
        return json_response({"error": "Request body too large"}, status=413)
    except web.HTTPException:
        raise
    except ConnectionResetError:
        # The caller left in the middle of its request: nobody reads this.
        return web.Response(status=400)
    except Exception:
        _log.exception("%s %s failed", request.method, request.path)
        return json_response({"error": "Internal server error"}, status=500)
