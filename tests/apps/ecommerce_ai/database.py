"""The database behind DATABASE_URL, as a pooler in transaction mode wants to be used."""

import os

from sqlalchemy import NullPool, create_engine, make_url

engine = create_engine(
    make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg"),
    # The pooler keeps the connections, and no prepared statement outlives a transaction.
    poolclass=NullPool,
    connect_args={"prepare_threshold": None, "connect_timeout": 5},
)
