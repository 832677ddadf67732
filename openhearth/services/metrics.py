"""What Prometheus gets to read, under vLLM's names: gauges and counters of the engines, and the latencies seen here."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from openhearth.engine.base import EmbeddingStats, EngineStats, ImageEngineStats
from openhearth.services.model_host import ModelHost

_LABELS = ("model_name",)
_LATENCY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)
_GAUGES = {
    "num_requests_running": "Requests that the engine is computing.",
    "num_requests_waiting": "Requests that wait for the engine.",
    "kv_cache_usage_perc": "The part of the key-value cache that is in use; 1 means all of it.",
}
_COUNTERS = {
    "prompt_tokens": "Tokens of prompts taken in.",
    "generation_tokens": "Tokens generated.",
    "num_preemptions": "Sequences that had to give their place to others for a while.",
    "prefix_cache_queries": "Prompt tokens looked up in the prefix cache.",
    "prefix_cache_hits": "Prompt tokens found in the prefix cache.",
    "image_steps": "Steps of denoising, one for all images that are drawn together.",
    "spec_decode_num_draft_tokens": "Tokens guessed and computed ahead.",
    "spec_decode_num_accepted_tokens": "Tokens guessed rightly.",
}


class Metrics:
    """All metrics of one server, in a registry of their own."""

    def __init__(self, host: ModelHost) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_EngineCollector(host))
        self._time_to_first_token = Histogram(
            "openhearth:time_to_first_token_seconds",
            "From the arrival of a prompt to the first text of its completion.",
            _LABELS,
            buckets=_LATENCY_BUCKETS,
            registry=self._registry,
        )
        self._e2e_request_latency = Histogram(
            "openhearth:e2e_request_latency_seconds",
            "From the arrival of a prompt to the end of its completion, or to the last of its images.",
            _LABELS,
            buckets=_LATENCY_BUCKETS,
            registry=self._registry,
        )
        self._request_success = Counter(
            "openhearth:request_success",
            "Prompts completed, by the reason their first candidate ended.",
            (*_LABELS, "finished_reason"),
            registry=self._registry,
        )
        self._images = Counter("openhearth:images", "Images drawn.", _LABELS, registry=self._registry)

    def started(self, model_id: str, *, seconds: float) -> None:
        """Take note of the first output of a prompt, `seconds` after the prompt."""
        self._time_to_first_token.labels(model_id).observe(seconds)

    def finished(self, model_id: str, reason: str, *, seconds: float) -> None:
        """Take note of the end of a prompt's completions."""
        self._e2e_request_latency.labels(model_id).observe(seconds)
        self._request_success.labels(model_id, reason).inc()

    def drew(self, model_id: str) -> None:
        """Take note of an image."""
        self._images.labels(model_id).inc()

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class _EngineCollector(Collector):
    """Reads the engines whenever somebody looks."""

    def __init__(self, host: ModelHost) -> None:
        self._host = host

    def describe(self) -> Iterator[Metric]:
        """Return nothing: what there is to read depends on the models that are in memory."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Return one family for each gauge and counter, with a sample for each model."""
        text = [(model.id, _values(model.engine.stats())) for model in self._host.loaded]
        embedding = [
            (model.id, _embedding_values(model.engine.stats())) for model in self._host.loaded_embedding_models
        ]
        image = [(model.id, _image_values(model.engine.stats())) for model in self._host.loaded_image_models]
        families: list[GaugeMetricFamily | CounterMetricFamily] = [
            *(GaugeMetricFamily(f"openhearth:{name}", text, labels=_LABELS) for name, text in _GAUGES.items()),
            *(CounterMetricFamily(f"openhearth:{name}", text, labels=_LABELS) for name, text in _COUNTERS.items()),
        ]
        for family in families:
            name = family.name.removeprefix("openhearth:")
            for model_id, values in text + embedding + image:
                if name in values:
                    family.add_metric([model_id], values[name])
            yield family


def _values(stats: EngineStats) -> dict[str, float]:
    return {
        "num_requests_running": stats.num_requests_running,
        "num_requests_waiting": stats.num_requests_waiting,
        "kv_cache_usage_perc": stats.kv_cache_usage,
        "prompt_tokens": stats.prompt_tokens,
        "generation_tokens": stats.generation_tokens,
        "num_preemptions": stats.num_preemptions,
        "prefix_cache_queries": stats.prefix_cache_queries,
        "prefix_cache_hits": stats.prefix_cache_hits,
        "spec_decode_num_draft_tokens": stats.spec_decode_draft_tokens,
        "spec_decode_num_accepted_tokens": stats.spec_decode_accepted_tokens,
    }


def _embedding_values(stats: EmbeddingStats) -> dict[str, float]:
    return {
        "num_requests_running": stats.num_requests_running,
        "num_requests_waiting": stats.num_requests_waiting,
        "prompt_tokens": stats.prompt_tokens,
    }


def _image_values(stats: ImageEngineStats) -> dict[str, float]:
    return {
        "num_requests_running": stats.num_requests_running,
        "num_requests_waiting": stats.num_requests_waiting,
        "image_steps": stats.num_steps,
    }
