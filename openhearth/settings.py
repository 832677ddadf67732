"""Settings, read once at start, then frozen. Precedence: flag, OPENHEARTH_* variable, TOML file, default."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from openhearth.errors import ConfigurationError

DEFAULT_TEXT_MODEL = "smollm2-135m-instruct"
DEFAULT_EMBEDDING_MODEL = "all-minilm-l6-v2"
DEFAULT_IMAGE_MODEL = "openhearth-clipart"
DEFAULT_ALIASES = ("gpt-3.5-turbo-instruct", "gpt-3.5-turbo", "gpt-4o-mini", "babbage-002", "davinci-002")
"""Names in the reference's own examples; unless the settings say otherwise, all of them mean the text model."""

DEFAULT_EMBEDDING_ALIASES = ("text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002")
"""The same for the embedding model."""

DEFAULT_IMAGE_ALIASES = ("dall-e-2", "dall-e-3", "gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5")
"""The same for the image model."""


def _default_aliases(earlier: dict[str, Any]) -> dict[str, str]:
    text_model = earlier.get("text_model", DEFAULT_TEXT_MODEL)
    embedding_model = earlier.get("embedding_model", DEFAULT_EMBEDDING_MODEL)
    embedding_aliases = DEFAULT_EMBEDDING_ALIASES if embedding_model else ()
    image_model = earlier.get("image_model", DEFAULT_IMAGE_MODEL)
    image_aliases = DEFAULT_IMAGE_ALIASES if image_model else ()
    return (
        dict.fromkeys(DEFAULT_ALIASES, text_model)
        | dict.fromkeys(embedding_aliases, embedding_model)
        | dict.fromkeys(image_aliases, image_model)
    )


class RemoteSettings(BaseModel):
    """A model that another server computes; `docs/reference/settings.md` describes each member."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    base_url: Annotated[str, Field(pattern="^https?://.")]
    model: str
    tokenizer: Path
    api_key: SecretStr | None = None
    kind: Literal["text", "embedding"] = "text"
    dialect: Literal["openai", "vllm", "llama.cpp"] = "openai"
    max_model_len: int | None = Field(None, ge=1)

    @field_validator("tokenizer")
    @classmethod
    def _expand_user(cls, value: Path) -> Path:
        return value.expanduser().absolute()


class Settings(BaseSettings):
    """Every setting of the server; `docs/reference/settings.md` describes each one."""

    model_config = SettingsConfigDict(env_prefix="OPENHEARTH_", frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    home: Path = Path("~/.openhearth")
    models: Path = Path("~/.cache/openhearth/models")
    allowed_hosts: Annotated[list[str], NoDecode] = []
    cors_allow_origins: Annotated[list[str], NoDecode] = []
    drain_timeout_seconds: float = Field(10.0, ge=0)
    request_timeout_seconds: float = Field(3600.0, gt=0)
    max_request_body_bytes: int = Field(16 * 2**20, ge=1024)
    max_file_bytes: int = Field(512 * 2**20, ge=1)
    max_upload_bytes: int = Field(8 * 2**30, ge=1)
    max_project_bytes: int = Field(2_500_000_000_000, ge=1)
    max_requests_per_minute: int | None = Field(None, ge=1)
    max_tokens_per_minute: int | None = Field(None, ge=1)
    max_project_tokens_per_minute: int | None = Field(None, ge=1)
    max_uploads_per_minute: int | None = Field(None, ge=1)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "console", "json"] = "auto"

    text_model: str = DEFAULT_TEXT_MODEL
    embedding_model: str = DEFAULT_EMBEDDING_MODEL
    image_model: str = DEFAULT_IMAGE_MODEL
    aliases: dict[str, str] = Field(default_factory=_default_aliases)
    remotes: dict[Annotated[str, Field(pattern=r"^[\w.-]+$")], RemoteSettings] = {}
    model_memory_bytes: int | None = Field(None, ge=1)
    model_idle_seconds: float = Field(3600.0, ge=0)
    matryoshka_models: Annotated[list[str], NoDecode] = ["text-embedding-3-small", "text-embedding-3-large"]

    dtype: Literal["int8", "f16", "f32"] = "int8"
    kv_cache_dtype: Literal["u8", "f16", "f32"] | None = None
    kv_cache_bytes: int = Field(512 * 2**20, ge=2**20)
    max_model_len: int | None = Field(None, ge=1)
    max_num_seqs: int = Field(64, ge=1)
    max_num_batched_tokens: int = Field(512, ge=16)
    max_waiting_requests: int = Field(256, ge=0)
    max_waiting_tokens: int = Field(1_000_000, ge=1)
    enable_prefix_caching: bool = True
    num_speculative_tokens: int = Field(4, ge=0, le=7)
    max_loras: int = Field(8, ge=1)
    lora_cache_bytes: int = Field(512 * 2**20, ge=0)
    num_threads: int | None = Field(None, ge=1)

    embedding_dtype: Literal["bf16", "f32"] = "bf16"
    max_batch_tokens: int = Field(1024, ge=16)
    max_concurrent_requests: int = Field(512, ge=1)

    max_waiting_images: int = Field(16, ge=0)
    max_batch_pixels: int = Field(4 * 2**20, ge=2**16)
    fetch_image_urls: bool = False

    organization: str = Field("openhearth", pattern=r"[A-Za-z0-9_-]{1,64}")
    worker: bool = True
    worker_poll_interval_seconds: float = Field(1.0, gt=0)
    worker_heartbeat_interval_seconds: float = Field(5.0, gt=0)
    worker_lease_seconds: float = Field(30.0, gt=0)
    training_device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    training_dtype: Literal["auto", "f32", "bf16"] = "auto"
    training_num_processes: int | None = Field(None, ge=1)
    training_num_threads: int | None = Field(None, ge=1)
    training_niceness: int = Field(10, ge=0, le=19)
    training_learning_rate: float = Field(2e-4, gt=0)
    training_dpo_learning_rate: float = Field(5e-5, gt=0)
    training_max_length: int | None = Field(None, ge=16)
    training_micro_batch_size: int = Field(8, ge=1)
    training_snapshot_seconds: float = Field(300.0, ge=0)
    training_lora_r: int = Field(24, ge=1)
    training_lora_alpha: int = Field(48, ge=1)
    training_lora_dropout: float = Field(0.0, ge=0, lt=1)
    training_lora_target_modules: str = "gate_proj,up_proj"
    training_trackers: Annotated[list[Literal["mlflow", "trackio"]], NoDecode] = []
    training_tracker_project: str = Field("openhearth", min_length=1)

    @property
    def default_models(self) -> list[str]:
        """The models that are there when the server starts."""
        return [model for model in (self.text_model, self.embedding_model, self.image_model) if model]

    @property
    def preloaded_models(self) -> list[str]:
        """The models that are in memory from the start: all but the embedded image model, a process of its own."""
        return [model for model in self.default_models if model != DEFAULT_IMAGE_MODEL]

    @field_validator("allowed_hosts", "cors_allow_origins", "matryoshka_models", "training_trackers", mode="before")
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("home", "models")
    @classmethod
    def _expand_user(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags first, then the environment, then the TOML file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(*, config: Path | None = None, **flags: Any) -> Settings:
    """Read the settings once. `flags` that are `None` were not given.

    Raises `ConfigurationError`, naming the setting and what is wrong with it.
    """
    if config is not None and not config.is_file():
        raise ConfigurationError(f"The configuration file {config} does not exist.")
    bound: type[Settings] = (
        type("Settings", (Settings,), {"model_config": SettingsConfigDict(toml_file=config)}) if config else Settings
    )
    try:
        return bound(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"Setting '{name}' is not usable: {first['msg']}.") from error
    except ValueError as error:
        raise ConfigurationError(f"The configuration cannot be read: {error}.") from error
