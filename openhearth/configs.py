"""What each part has to know of the settings, in its own words. Settings in, configurations out; nothing is opened."""

import os
from functools import partial

from openhearth.engine.embedding.config import EmbeddingConfig
from openhearth.engine.image.config import ImageEngineConfig
from openhearth.engine.registry import (
    estimate_text_adapters,
    estimate_text_engine,
    load_embedding_engine,
    load_image_engine,
    load_remote_embedding_engine,
    load_remote_text_engine,
    load_text_engine,
)
from openhearth.engine.remote.config import RemoteConfig
from openhearth.engine.text.config import EngineConfig
from openhearth.jobs.worker import WorkerConfig
from openhearth.services.model_host import Loaders
from openhearth.services.rate_limits import RateLimitConfig
from openhearth.services.training_config import TrainingConfig
from openhearth.settings import RemoteSettings, Settings
from openhearth.training.spec import LoraSpec


def loaders(settings: Settings) -> Loaders:
    """Return how models are loaded."""
    return Loaders(
        text=partial(load_text_engine, config=engine_config(settings)),
        embedding=partial(load_embedding_engine, config=embedding_config(settings)),
        image=partial(load_image_engine, config=image_config(settings)),
        remote=lambda name: load_remote_text_engine(remote_config(settings.remotes[name])),
        remote_embedding=lambda name: load_remote_embedding_engine(remote_config(settings.remotes[name])),
        estimate_text=partial(estimate_text_engine, config=engine_config(settings)),
        estimate_adapters=partial(estimate_text_adapters, config=engine_config(settings)),
    )


def engine_config(settings: Settings) -> EngineConfig:
    """Return what text engines have to know."""
    return EngineConfig(
        dtype=settings.dtype,
        kv_cache_dtype=settings.kv_cache_dtype,
        kv_cache_bytes=settings.kv_cache_bytes,
        max_model_len=settings.max_model_len,
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        max_waiting_requests=settings.max_waiting_requests,
        max_waiting_tokens=settings.max_waiting_tokens,
        enable_prefix_caching=settings.enable_prefix_caching,
        num_speculative_tokens=settings.num_speculative_tokens,
        max_loras=settings.max_loras,
        lora_cache_bytes=settings.lora_cache_bytes,
        num_threads=settings.num_threads,
    )


def embedding_config(settings: Settings) -> EmbeddingConfig:
    """Return what embedding engines have to know."""
    return EmbeddingConfig(
        dtype=settings.embedding_dtype,
        max_batch_tokens=settings.max_batch_tokens,
        max_concurrent_requests=settings.max_concurrent_requests,
        num_threads=settings.num_threads,
    )


def image_config(settings: Settings) -> ImageEngineConfig:
    """Return what image engines have to know."""
    return ImageEngineConfig(
        max_waiting_requests=settings.max_waiting_images,
        max_batch_pixels=settings.max_batch_pixels,
        num_threads=settings.num_threads,
    )


def remote_config(remote: RemoteSettings) -> RemoteConfig:
    """Return what engines in other processes have to know."""
    return RemoteConfig(
        base_url=remote.base_url,
        model=remote.model,
        tokenizer=remote.tokenizer,
        api_key=None if remote.api_key is None else remote.api_key.get_secret_value(),
        dialect=remote.dialect,
        max_model_len=remote.max_model_len,
    )


def rate_limit_config(settings: Settings) -> RateLimitConfig:
    """Return what may be asked for in a minute."""
    return RateLimitConfig(
        requests=settings.max_requests_per_minute,
        tokens=settings.max_tokens_per_minute,
        project_tokens=settings.max_project_tokens_per_minute,
        uploads=settings.max_uploads_per_minute,
    )


def training_config(settings: Settings) -> TrainingConfig:
    """Return what the trainer has to know."""
    return TrainingConfig(
        learning_rate=settings.training_learning_rate,
        dpo_learning_rate=settings.training_dpo_learning_rate,
        lora=LoraSpec(
            r=settings.training_lora_r,
            lora_alpha=settings.training_lora_alpha,
            lora_dropout=settings.training_lora_dropout,
            target_modules=settings.training_lora_target_modules,
        ),
        device=settings.training_device,
        dtype=settings.training_dtype,
        num_processes=settings.training_num_processes,
        num_threads=settings.training_num_threads or max(1, (os.cpu_count() or 1) // 2),
        max_length=settings.training_max_length,
        max_micro_batch_size=settings.training_micro_batch_size,
        snapshot_seconds=settings.training_snapshot_seconds,
        trackers=tuple(settings.training_trackers),
        tracker_project=settings.training_tracker_project,
    )


def worker_config(settings: Settings) -> WorkerConfig:
    """Return what the worker has to know."""
    return WorkerConfig(
        poll_interval_seconds=settings.worker_poll_interval_seconds,
        heartbeat_interval_seconds=settings.worker_heartbeat_interval_seconds,
        lease_seconds=settings.worker_lease_seconds,
    )
