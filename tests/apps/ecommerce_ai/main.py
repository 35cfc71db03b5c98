"""`gunicorn -k uvicorn_worker.UvicornWorker main:app`."""

from __future__ import annotations

import os

import redis
from database import engine
from fastapi import FastAPI, Response
from fastapi.middleware.cors import CORSMiddleware
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

cache = redis.Redis.from_url(
    os.environ["CACHE_URL"], decode_responses=True, socket_timeout=2, socket_connect_timeout=2
)
app = FastAPI(title="Recommendations")
app.add_middleware(
    CORSMiddleware,
    allow_origins=os.environ["CORS_ALLOWED_ORIGINS"].split(","),
    allow_methods=["GET", "POST"],
    allow_headers=["content-type"],
)
TOGETHER = """
SELECT others.product FROM views AS mine
  JOIN views AS others ON others.visitor = mine.visitor AND others.product <> mine.product
 WHERE mine.product = :product GROUP BY others.product ORDER BY count(*) DESC LIMIT 3
"""
LOOK = "INSERT INTO views VALUES (:visitor, :product) ON CONFLICT DO NOTHING"


class View(BaseModel):
    visitor: str
    product: int


@app.post("/ai/views", status_code=204)
def look(view: View) -> None:
    with engine.begin() as connection:
        connection.execute(text(LOOK), view.model_dump())


@app.get("/ai/recommendations/{product}")
def recommendations(product: int) -> dict[str, list[int]]:
    with engine.connect() as connection:
        rows = connection.execute(text(TOGETHER), {"product": product})
        return {"products": [row.product for row in rows]}


@app.get("/health")
def health(response: Response) -> dict[str, str]:
    parts = {"database": "connected", "redis": "connected"}
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError:
        parts["database"] = "disconnected"
    try:
        cache.ping()
    except (redis.RedisError, OSError):
        parts["redis"] = "disconnected"
    well = set(parts.values()) == {"connected"}
    response.status_code = 200 if well else 503
    return {"status": "healthy" if well else "unhealthy", **parts}
