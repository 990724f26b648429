"""The least that a push could be: a Starlette handler under uvicorn that reads and stores nothing."""

from uuid import uuid4

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def add(request: Request) -> JSONResponse:
    await request.body()
    uid = str(uuid4())
    return JSONResponse({"uid": uid, "state": "waiting"}, 201, {"Location": f"/job/{uid}"})


app = Starlette(routes=[Route("/add", add, methods=["POST"])])
