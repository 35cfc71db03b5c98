"""`gunicorn -k uvicorn_worker.UvicornWorker main:app`."""

from __future__ import annotations

import logging
import os
import secrets
from typing import Annotated

import boto3
import redis
from database import engine
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from tasks import review

CODE_SECONDS, SESSION_SECONDS = 300, 12 * 3600
PREFIX = os.environ["REDIS_KEY_PREFIX"]
BUCKET = os.environ["S3_BUCKET"]
log = logging.getLogger("uvicorn.error")

# Codes and sessions are kept where nothing is evicted.
store = redis.Redis.from_url(
    os.environ["BROKER_URL"], decode_responses=True, socket_timeout=2, socket_connect_timeout=2
)
s3 = boto3.client("s3")  # finds server, region and keys in AWS_*
app = FastAPI(title="PropFlow")
app.add_middleware(
    CORSMiddleware,
    allow_origins=os.environ["CORS_ALLOWED_ORIGINS"].split(","),
    allow_methods=["GET", "POST", "PUT"],
    allow_headers=["authorization", "content-type"],
)


class Phone(BaseModel):
    phone: Annotated[str, Field(pattern=r"^\+\d{6,15}$")]


class Code(Phone):
    code: str


class Property(BaseModel):
    address: Annotated[str, Field(min_length=1, max_length=200)]


@app.post("/api/v1/codes", status_code=202)
def send_code(asked: Phone) -> dict[str, int]:
    code = f"{secrets.randbelow(10**6):06}"
    store.set(f"{PREFIX}code:{asked.phone}", code, ex=CODE_SECONDS)
    if not os.environ.get("TWILIO_ACCOUNT_SID"):  # on a desk and in tests nobody sends an SMS
        log.warning("code for %s: %s", asked.phone, code)
    return {"valid_seconds": CODE_SECONDS}


@app.post("/api/v1/sessions", status_code=201)
def sign_in(given: Code) -> dict[str, str]:
    expected = store.getdel(f"{PREFIX}code:{given.phone}")  # right or wrong, a code serves once
    if not expected or not secrets.compare_digest(expected, given.code):
        raise HTTPException(403, "That code is wrong or too old.")
    token = secrets.token_urlsafe(32)
    store.set(f"{PREFIX}session:{token}", given.phone, ex=SESSION_SECONDS)
    return {"token": token}


def signed_in(authorization: Annotated[str, Header()] = "") -> str:
    phone = store.get(f"{PREFIX}session:{authorization.removeprefix('Bearer ')}")
    if not phone:
        raise HTTPException(401, "Sign in first.")
    return phone


@app.get("/api/v1/properties", dependencies=[Depends(signed_in)])
def properties() -> list[dict[str, object]]:
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT id, address, photo IS NOT NULL AS photo, reviewed FROM properties")
        )
        return [dict(row) for row in rows.mappings()]


@app.post("/api/v1/properties", status_code=201, dependencies=[Depends(signed_in)])
def add_property(new: Property) -> dict[str, int]:
    with engine.begin() as connection:
        added = connection.execute(
            text("INSERT INTO properties (address) VALUES (:address) RETURNING id"),
            {"address": new.address},
        )
        return {"id": added.scalar_one()}


@app.put("/api/v1/properties/{number}/photo", status_code=204, dependencies=[Depends(signed_in)])
async def add_photo(number: int, request: Request) -> None:
    key = f"photos/{number}"
    s3.put_object(Bucket=BUCKET, Key=key, Body=await request.body())
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE properties SET photo = :key WHERE id = :number"),
            {"key": key, "number": number},
        )
    review.delay()


@app.get("/api/v1/properties/{number}/photo", dependencies=[Depends(signed_in)])
def photo(number: int) -> Response:
    body = s3.get_object(Bucket=BUCKET, Key=f"photos/{number}")["Body"].read()
    return Response(body, media_type="application/octet-stream")


@app.get("/api/v1/status")
def status() -> dict[str, str]:
    return {"status": "up", "revision": os.environ.get("RELEASE_REVISION", "")}


@app.get("/health")
def health(response: Response) -> dict[str, str]:
    parts = {"database": "connected", "redis": "connected"}
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError:
        parts["database"] = "disconnected"
    try:
        store.ping()
    except (redis.RedisError, OSError):
        parts["redis"] = "disconnected"
    well = set(parts.values()) == {"connected"}
    response.status_code = 200 if well else 503
    return {"status": "healthy" if well else "unhealthy", **parts}
