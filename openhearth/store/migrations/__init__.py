"""The history of the tables, one idea per revision, carried out by Alembic when the server starts."""
