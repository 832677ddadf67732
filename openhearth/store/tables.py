"""The tables, one class each. A row is the truth; what it means is decided in `services/`.

Times are Unix seconds. `created_at` keeps its fraction, so that rows of the same second stay in the order they came.
"""

from sqlalchemy import BigInteger, Double, ForeignKey, Index, MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Table(DeclarativeBase):
    """The root of all tables. Constraints have names everywhere, so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map = {int: BigInteger, float: Double}  # noqa: RUF012 (SQLAlchemy reads it as a class attribute)


class APIKeyRow(Table):
    """One API key. The key itself is not kept: a hash to find it by, and its last characters to know it by."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    project: Mapped[str]
    secret_hash: Mapped[str] = mapped_column(unique=True)
    last_characters: Mapped[str]
    created_at: Mapped[float]
    revoked_at: Mapped[float | None]


class FileRow(Table):
    """One file, complete: its content is the blob of the same id, stored before the row and deleted after it."""

    __tablename__ = "files"
    __table_args__ = (Index(None, "project", "created_at", "id"), Index(None, "expires_at"))

    id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str]
    purpose: Mapped[str]
    filename: Mapped[str]
    bytes: Mapped[int]
    sha256: Mapped[str]
    status: Mapped[str]
    status_details: Mapped[str | None]
    created_at: Mapped[float]
    expires_at: Mapped[int | None]


class UploadRow(Table):
    """One upload: the announcement of a file that arrives in parts."""

    __tablename__ = "uploads"
    __table_args__ = (Index(None, "project"), Index(None, "status", "expires_at"))

    id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str]
    purpose: Mapped[str]
    filename: Mapped[str]
    mime_type: Mapped[str]
    bytes: Mapped[int]
    status: Mapped[str]
    created_at: Mapped[float]
    expires_at: Mapped[int]
    file_expires_after_seconds: Mapped[int | None]


class UploadPartRow(Table):
    """One part of a pending upload; its content is the blob of the same id. Gone once the upload has ended."""

    __tablename__ = "upload_parts"
    __table_args__ = (Index(None, "upload_id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id", ondelete="CASCADE"))
    bytes: Mapped[int]
    created_at: Mapped[float]
