"""Fine-tuning, as the official client sees it: real training of a tiny model, from the file to the answer."""

import io
import json
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from openai import BadRequestError, NotFoundError, OpenAI, PermissionDeniedError
from openai.types.fine_tuning import FineTuningJob
from peft import PeftModel
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner, Result

from openhearth.app import open_api_keys
from openhearth.catalog.gguf_convert import convert_gguf
from openhearth.catalog.progress import SilentProgress
from openhearth.cli import command
from openhearth.engine.fake.engine import FakeTextEngine
from tests.servers import RunningServer, make_settings, run_server
from tests.tiny_model import make_tiny_model

TINY = "tiny-llama"
ENDED = ("succeeded", "failed", "cancelled")
CHATS = [
    {"messages": [{"role": "user", "content": f"say {n}"}, {"role": "assistant", "content": f"it is {n}"}]}
    for n in range(12)
]
OTHER_CHATS = [
    {"messages": [{"role": "user", "content": f"tell {n}"}, {"role": "assistant", "content": f"it was {n}"}]}
    for n in range(10)
]
REARRANGED = {"messages": [dict(reversed(message.items())) for message in CHATS[3]["messages"]]}
"""A row of `CHATS`, with its keys in another order."""
PREFERENCES = [
    {
        "input": {"messages": [{"role": "user", "content": f"say {n}"}]},
        "preferred_output": [{"role": "assistant", "content": f"it is {n}"}],
        "non_preferred_output": [{"role": "assistant", "content": f"no {n}"}],
    }
    for n in range(10)
]


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Run a server that trains."""
    root = tmp_path_factory.mktemp("trainer")
    make_tiny_model(root / "models" / TINY)
    settings = make_settings(
        root,
        worker_poll_interval_seconds=0.05,
        training_num_threads=1,
        training_lora_r=4,
        training_niceness=0,
    )
    with run_server(settings, FakeTextEngine()) as running:
        yield running


@pytest.fixture(scope="module")
def tuner(trainer: RunningServer) -> Iterator[OpenAI]:
    """Give the official client."""
    with trainer.client() as client:
        yield client


def upload(client: OpenAI, rows: list[Any], purpose: Any = "fine-tune") -> str:
    """Upload a file and return its id."""
    content = "\n".join(map(json.dumps, rows)).encode()
    return client.files.create(file=("rows.jsonl", io.BytesIO(content)), purpose=purpose).id


def wandb_run(**wanted: Any) -> dict[str, Any]:
    """Return an integration."""
    return {"type": "wandb", "wandb": {"project": "lamps"} | wanted}


def wait(client: OpenAI, job_id: str, is_enough: Callable[[FineTuningJob], bool]) -> FineTuningJob:
    """Wait until a job has got far enough."""
    deadline = time.monotonic() + 120
    while not is_enough(job := client.fine_tuning.jobs.retrieve(job_id)):
        assert time.monotonic() < deadline, job
        time.sleep(0.05)
    return job


def has_ended(job: FineTuningJob) -> bool:
    """Whether nothing more will come of a job."""
    return job.status in ENDED


def messages(client: OpenAI, job_id: str) -> list[str]:
    """Return what the events of a job say, oldest first."""
    return [event.message for event in client.fine_tuning.jobs.list_events(job_id)][::-1]


@pytest.fixture(scope="module")
def succeeded(tuner: OpenAI) -> FineTuningJob:
    """Tune the tiny model."""
    job = tuner.fine_tuning.jobs.create(
        model=TINY,
        training_file=upload(tuner, CHATS),
        validation_file=upload(tuner, OTHER_CHATS),
        suffix="my_suffix",
        seed=7,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4}}},
        metadata={"purpose": "test", "a[b]c": "d"},
    )
    assert job.status == "validating_files"
    return wait(tuner, job.id, has_ended)


class TestJob:
    """A job that goes well."""

    def test_object(self, succeeded: FineTuningJob) -> None:
        """The job shows what was asked for, what came of it, and numbers for `auto`."""
        assert succeeded.status == "succeeded", succeeded.error
        assert succeeded.model == TINY
        assert succeeded.seed == 7
        assert succeeded.metadata == {"purpose": "test", "a[b]c": "d"}
        assert succeeded.hyperparameters.model_dump() == {
            "batch_size": 4,
            "learning_rate_multiplier": 1.0,
            "n_epochs": 2,
        }
        assert succeeded.trained_tokens
        assert succeeded.finished_at
        assert succeeded.finished_at >= succeeded.created_at
        assert succeeded.organization_id.startswith("org-")
        assert (succeeded.error, succeeded.estimated_finish, succeeded.integrations) == (None, None, [])

    def test_name(self, succeeded: FineTuningJob) -> None:
        """The name says base, organization and suffix."""
        assert succeeded.fine_tuned_model is not None
        kind, base, organization, suffix, tail = succeeded.fine_tuned_model.split(":")
        assert (kind, base, organization, suffix, len(tail)) == ("ft", TINY, "openhearth", "my_suffix", 8)

    def test_events(self, tuner: OpenAI, succeeded: FineTuningJob) -> None:
        """Events come in the words and the order of the reference, each step once."""
        said = messages(tuner, succeeded.id)
        events = list(tuner.fine_tuning.jobs.list_events(succeeded.id, limit=4))
        steps = [event for event in events if event.type == "metrics"][::-1]

        assert said[:4] == [
            f"Created fine-tuning job: {succeeded.id}",
            f"Validating training file: {succeeded.training_file} and validation file: {succeeded.validation_file}",
            "Files validated, moving job to queued state",
            "Fine-tuning job started",
        ]
        assert [event.data for event in events[:9:-1]] == [{}, {}, {}, None]
        assert [words.partition(":")[0] for words in said[4:]] == [
            "Step 1/6",
            "Step 2/6",
            "Step 3/6",
            "Checkpoint created at step 3",
            "Step 4/6",
            "Step 5/6",
            "Step 6/6",
            "Checkpoint created at step 6",
            "New fine-tuned model created",
            "The job has successfully completed",
        ]
        assert "full validation loss=" in said[-4]
        assert len({event.id for event in events}) == len(said) == 14
        assert set(steps[-1].data) == {  # type: ignore[call-overload]
            "step",
            "total_steps",
            "train_loss",
            "train_mean_token_accuracy",
            "valid_loss",
            "valid_mean_token_accuracy",
            "full_valid_loss",
            "full_valid_mean_token_accuracy",
        }

    def test_checkpoints(self, tuner: OpenAI, succeeded: FineTuningJob) -> None:
        """There is one checkpoint for each epoch, the latest first, and pages of them."""
        checkpoints = list(tuner.fine_tuning.jobs.checkpoints.list(succeeded.id, limit=1))

        assert [checkpoint.step_number for checkpoint in checkpoints] == [6, 3]
        assert [checkpoint.fine_tuned_model_checkpoint for checkpoint in checkpoints] == [
            f"{succeeded.fine_tuned_model}:ckpt-step-{step}" for step in (6, 3)
        ]
        assert checkpoints[0].metrics.full_valid_loss is not None
        assert checkpoints[0].id.startswith("ftckpt_")

    def test_last_three_checkpoints(self, trainer: RunningServer, tuner: OpenAI) -> None:
        """Of more epochs than three the last three checkpoints stay; those before are gone, also from the disk."""
        job = tuner.fine_tuning.jobs.create(
            model=TINY, training_file=upload(tuner, CHATS), hyperparameters={"n_epochs": 5, "batch_size": 6}
        )

        job = wait(tuner, job.id, has_ended)

        kept = [f"{job.fine_tuned_model}:ckpt-step-{step}" for step in (10, 8, 6)]
        checkpoints = tuner.fine_tuning.jobs.checkpoints.list(job.id).data
        assert [checkpoint.fine_tuned_model_checkpoint for checkpoint in checkpoints] == kept
        assert len([words for words in messages(tuner, job.id) if words.startswith("Checkpoint created")]) == 5
        assert {model.id for model in tuner.models.list() if f"{job.fine_tuned_model}:" in model.id} == set(kept)
        for name in kept:
            assert tuner.completions.create(model=name, prompt="a", max_tokens=1).model == name
        with pytest.raises(NotFoundError):
            tuner.completions.create(model=f"{job.fine_tuned_model}:ckpt-step-4", prompt="a", max_tokens=1)
        weights = (trainer.settings.home / "fine_tuning" / job.id).rglob("*.safetensors")
        assert {path.parent.name for path in weights} == {"checkpoint-6", "checkpoint-8", "checkpoint-10"}

    def test_result_file(self, tuner: OpenAI, succeeded: FineTuningJob) -> None:
        """The result file has one row for each step."""
        (file_id,) = succeeded.result_files
        file = tuner.files.retrieve(file_id)
        rows = tuner.files.content(file_id).text.splitlines()

        assert (file.filename, file.purpose) == ("step_metrics.csv", "fine-tune-results")
        assert rows[0].startswith("step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy")
        assert [row.partition(",")[0] for row in rows[1:]] == ["1", "2", "3", "4", "5", "6"]

    def test_list(self, tuner: OpenAI, succeeded: FineTuningJob) -> None:
        """Jobs are found by their metadata."""
        found = tuner.fine_tuning.jobs.list(metadata={"purpose": "test"})
        others = tuner.fine_tuning.jobs.list(metadata={"purpose": "other"})
        bracketed = tuner.fine_tuning.jobs.list(metadata={"a[b]c": "d"})
        not_bracketed = tuner.fine_tuning.jobs.list(metadata={"a[b]c": "other"})
        quoted = tuner.fine_tuning.jobs.list(metadata={'a "quoted" key': "test"})
        plain = tuner.fine_tuning.jobs.create(model=TINY, training_file=succeeded.training_file)
        tuner.fine_tuning.jobs.cancel(plain.id)
        without = [job.id for job in tuner.fine_tuning.jobs.list(extra_query={"metadata": "null"})]

        assert [job.id for job in found] == [succeeded.id]
        assert others.data == []
        assert [job.id for job in bracketed] == [succeeded.id]
        assert not_bracketed.data == []
        assert quoted.data == []
        assert plain.id in without
        assert succeeded.id not in without

    def test_pages(self, tuner: OpenAI, succeeded: FineTuningJob) -> None:
        """Pages go on behind what `after` names; a name that is not in the list is refused."""
        jobs, checkpoint = tuner.fine_tuning.jobs, f"{succeeded.fine_tuned_model}:ckpt-step-3"
        first = jobs.list_events(succeeded.id, limit=1)
        second = jobs.list_events(succeeded.id, limit=1, after=first.data[0].id)
        assert first.has_more
        assert second.data[0].id not in (first.data[0].id, None)

        for ask in (jobs.list,
                    partial(jobs.list_events, succeeded.id),
                    partial(jobs.checkpoints.list, succeeded.id),
                    partial(tuner.fine_tuning.checkpoints.permissions.list, checkpoint)):  # fmt: skip
            with pytest.raises(NotFoundError) as caught:
                ask(after="nobody")
            assert caught.value.param == "after"


class TestTunedModel:
    """A tuned model is called like any other, by those who may."""

    def test_call(self, tuner: OpenAI, succeeded: FineTuningJob) -> None:
        """The model and its checkpoints answer, and what they answer is not what the base answers."""
        name = succeeded.fine_tuned_model
        assert name is not None
        asked: Any = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 4, "temperature": 0}
        base = tuner.completions.create(model=TINY, prompt="a", max_tokens=4, temperature=0)
        base_chat = tuner.chat.completions.create(model=TINY, **asked)

        for model in (name, f"{name}:ckpt-step-3"):
            tuned = tuner.completions.create(model=model, prompt="a", max_tokens=4, temperature=0)
            chat = tuner.chat.completions.create(model=model, **asked)

            assert tuned.model == chat.model == model
            assert tuned.choices[0].text != base.choices[0].text
            assert chat.choices[0].message.content != base_chat.choices[0].message.content

    def test_suffix_of_other_letters(self, tuner: OpenAI) -> None:
        """A suffix may have any letters: the model is called by it, and its name is in the headers as ASCII."""
        hyperparameters: Any = {"n_epochs": 1, "batch_size": 12}
        job = tuner.fine_tuning.jobs.create(
            model=TINY, training_file=upload(tuner, CHATS), suffix="ランプ/ü: %41?#", hyperparameters=hyperparameters
        )

        name = wait(tuner, job.id, has_ended).fine_tuned_model

        assert name is not None
        assert "ランプ/ü: %41?#" in name
        called = tuner.completions.with_raw_response.create(model=name, prompt="a", max_tokens=1)
        assert called.parse().model == name
        assert called.headers["openai-model"].startswith(
            f"ft:{TINY}:openhearth:%E3%83%A9%E3%83%B3%E3%83%97/%C3%BC: %41?#"
        )
        stream = tuner.chat.completions.create(
            model=name, messages=[{"role": "user", "content": "a"}], max_tokens=1, stream=True
        )
        assert {chunk.model for chunk in stream} == {name}
        assert tuner.models.retrieve(name).id == name
        assert tuner.models.delete(name).deleted

    def test_base_gets_ready(self, tuner: OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
        """A base model in memory is told of the adapter to come as soon as there is a job."""
        told: list[str] = []

        async def prepare_lora(_engine: FakeTextEngine, target_modules: str) -> None:
            told.append(target_modules)

        tuner.completions.create(model=TINY, prompt="a", max_tokens=1)
        monkeypatch.setattr(FakeTextEngine, "prepare_lora", prepare_lora)

        job = tuner.fine_tuning.jobs.create(model=TINY, training_file=upload(tuner, CHATS))

        tuner.fine_tuning.jobs.cancel(job.id)
        assert told == ["gate_proj,up_proj"]

    def test_base_gets_ready_after_a_restart(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server that finds a job that is not over tells the base model as soon as it is in memory."""
        told: list[str] = []

        async def prepare_lora(_engine: FakeTextEngine, target_modules: str) -> None:
            told.append(target_modules)

        make_tiny_model(tmp_path / "models" / TINY)
        settings = make_settings(tmp_path, worker=False, text_model=TINY)
        with run_server(settings, FakeTextEngine()) as before, before.client() as client:
            client.fine_tuning.jobs.create(model=TINY, training_file=upload(client, CHATS))
        monkeypatch.setattr(FakeTextEngine, "prepare_lora", prepare_lora)

        with run_server(settings, FakeTextEngine()):
            pass

        assert told == ["gate_proj,up_proj"]

    def test_a_loss_that_is_no_number(self, tuner: OpenAI) -> None:
        """The job fails at once, and says at which step, and what to change."""
        job = tuner.fine_tuning.jobs.create(
            model=TINY, training_file=upload(tuner, CHATS), hyperparameters={"learning_rate_multiplier": 1e30}
        )

        job = wait(tuner, job.id, lambda job: job.status in ("failed", "succeeded"))

        assert job.status == "failed"
        assert job.error is not None
        assert job.error.code == "training_diverged"
        assert "learning_rate_multiplier" in job.error.message

    def test_listed(self, tuner: OpenAI, succeeded: FineTuningJob) -> None:
        """The model is among the models, and so are its checkpoints."""
        name = succeeded.fine_tuned_model
        assert name is not None

        assert {name, f"{name}:ckpt-step-3", f"{name}:ckpt-step-6"} <= {model.id for model in tuner.models.list()}
        assert tuner.models.retrieve(name).owned_by == "openhearth"

    def test_permissions(self, trainer: RunningServer, tuner: OpenAI, succeeded: FineTuningJob) -> None:
        """Permissions are given once, listed in either order, and taken back; nobody else has such a checkpoint."""
        checkpoint = f"{succeeded.fine_tuned_model}:ckpt-step-6"
        permissions = tuner.fine_tuning.checkpoints.permissions
        created = permissions.create(checkpoint, project_ids=["alpha", "beta"])
        again = permissions.create(checkpoint, project_ids=["alpha"])

        assert [permission.project_id for permission in created] == ["alpha", "beta"]
        assert again.data[0].id == created.data[0].id
        assert [p.project_id for p in permissions.list(checkpoint, limit=1)] == ["beta", "alpha"]
        assert [p.project_id for p in permissions.list(checkpoint, order="ascending")] == ["alpha", "beta"]
        assert [p.project_id for p in permissions.list(checkpoint, project_id="beta")] == ["beta"]

        deleted = permissions.delete(created.data[0].id, fine_tuned_model_checkpoint=checkpoint)

        assert deleted.deleted
        assert [p.project_id for p in permissions.list(checkpoint)] == ["beta"]
        with pytest.raises(NotFoundError):
            permissions.delete(created.data[0].id, fine_tuned_model_checkpoint=checkpoint)
        with pytest.raises(NotFoundError):
            permissions.list(f"ft:{TINY}:nobody::00000000")
        with pytest.raises(BadRequestError, match="Unknown parameter: 'color'"):
            permissions.create(checkpoint, project_ids=[], extra_body={"color": "red"})

    def test_tune_further_and_delete(self, trainer: RunningServer, tuner: OpenAI, succeeded: FineTuningJob) -> None:
        """A tuned model can be tuned further, by preferences too; it goes when it is deleted, and its child stays."""
        settings = {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 1, "batch_size": 5, "beta": 0.2}}}
        job = tuner.fine_tuning.jobs.create(
            model=f"{succeeded.fine_tuned_model}:ckpt-step-3",
            training_file=upload(tuner, PREFERENCES),
            method=settings,  # type: ignore[arg-type]
        )
        job = wait(tuner, job.id, has_ended)
        assert job.status == "succeeded", job.error
        assert job.hyperparameters is None
        assert job.method is not None
        assert job.method.dpo is not None
        assert job.method.dpo.hyperparameters is not None
        assert job.method.dpo.hyperparameters.beta == 0.2
        child = job.fine_tuned_model
        assert child is not None
        assert child.startswith(f"ft:{TINY}:openhearth::")

        for name in (child, f"{child}:ckpt-step-2"):
            assert tuner.models.delete(name).deleted
            with pytest.raises(NotFoundError):
                tuner.completions.create(model=name, prompt="a")
        assert tuner.fine_tuning.jobs.checkpoints.list(job.id).data == []
        assert list((trainer.settings.home / "fine_tuning" / job.id).rglob("*.safetensors")) == []
        assert tuner.fine_tuning.jobs.retrieve(job.id).fine_tuned_model == child
        assert tuner.models.retrieve(succeeded.fine_tuned_model or "")


class TestSteering:
    """Jobs are paused, resumed and cancelled."""

    def create(self, client: OpenAI) -> FineTuningJob:
        """Create a job that takes long enough to be steered."""
        hyperparameters: Any = {"n_epochs": 50, "batch_size": 1}
        return client.fine_tuning.jobs.create(
            model=TINY, training_file=upload(client, CHATS), hyperparameters=hyperparameters
        )

    def test_pause_resume_cancel(self, tuner: OpenAI) -> None:
        """A paused job leaves a checkpoint that can be called, goes on from there, and can be cancelled."""
        jobs = tuner.fine_tuning.jobs
        job = self.create(tuner)
        with pytest.raises(BadRequestError, match="nothing to resume"):
            jobs.resume(job.id)
        running = wait(tuner, job.id, lambda job: job.estimated_finish is not None)
        assert running.status == "running"
        assert running.estimated_finish is not None
        assert running.estimated_finish >= running.created_at

        assert jobs.pause(job.id).to_dict()["status"] == "paused"  # a word that the client's types lack
        wait(tuner, job.id, lambda _job: len(jobs.checkpoints.list(job.id).data) > 0)
        paused_at = jobs.checkpoints.list(job.id).data[0]
        called = tuner.completions.create(model=paused_at.fine_tuned_model_checkpoint, prompt="a", max_tokens=2)
        assert called.choices[0].text

        assert jobs.resume(job.id).status == "queued"
        last = paused_at.step_number
        wait(tuner, job.id, lambda _job: jobs.checkpoints.list(job.id).data[0].step_number > last)
        assert jobs.cancel(job.id).status == "cancelled"

        for steer in (jobs.pause, jobs.resume, jobs.cancel):
            with pytest.raises(BadRequestError, match="is cancelled"):
                steer(job.id)
        said = messages(tuner, job.id)
        assert [words for words in said if words.startswith("Fine-tuning job")] == [
            "Fine-tuning job started",
            "Fine-tuning job paused",
            "Fine-tuning job resumed",
            "Fine-tuning job cancelled",
        ]
        steps = [words for words in said if words.startswith("Step")]
        assert len(set(steps)) == len(steps)
        assert jobs.retrieve(job.id).finished_at

    def test_unused_method(self, tuner: OpenAI) -> None:
        """Of several methods the one that is named like the type is used; a warning says which are not."""
        method: Any = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 9}}, "dpo": {}}
        job = tuner.fine_tuning.jobs.create(model=TINY, training_file=upload(tuner, CHATS), method=method)
        tuner.fine_tuning.jobs.cancel(job.id)

        assert job.method is not None
        assert (job.hyperparameters.n_epochs, job.method.dpo) == (9, None)
        warnings = [event.message for event in tuner.fine_tuning.jobs.list_events(job.id) if event.level == "warn"]
        assert warnings == ["method.dpo is not used: the type of the method is supervised"]

    def test_cancel_at_once(self, tuner: OpenAI) -> None:
        """A job that has not begun is cancelled just as well."""
        job = self.create(tuner)

        assert tuner.fine_tuning.jobs.cancel(job.id).status == "cancelled"


class TestRefusals:
    """What can be told at once is refused at once, by name."""

    @pytest.mark.parametrize(
        ("body", "param", "code"),
        [
            ({"model": None}, "model", "invalid_type"),
            ({"training_file": None}, "training_file", "invalid_type"),
            ({"training_file": "file-unknown"}, "training_file", "invalid_value"),
            ({"suffix": ""}, "suffix", "empty_string"),
            ({"suffix": "x" * 65}, "suffix", "string_above_max_length"),
            ({"suffix": "a\nb"}, "suffix", "invalid_value"),
            ({"suffix": "a\u0000b"}, "suffix", "invalid_value"),
            ({"metadata": {"k": "a\u0000b"}}, "metadata.k", "invalid_value"),
            ({"seed": -1}, "seed", "integer_below_min_value"),
            ({"seed": 2**31}, "seed", "integer_above_max_value"),
            ({"seed": "7"}, "seed", "invalid_type"),
            ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs", "integer_below_min_value"),
            ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs", "integer_above_max_value"),
            ({"hyperparameters": {"n_epochs": "all"}}, "hyperparameters.n_epochs", "invalid_value"),
            ({"hyperparameters": {"batch_size": 257}}, "hyperparameters.batch_size", "integer_above_max_value"),
            ({"hyperparameters": {"beta": 1}}, "hyperparameters.beta", "unknown_parameter"),
            ({"method": {}}, "method.type", "missing_required_parameter"),
            ({"method": {"type": "magic"}}, "method.type", "invalid_value"),
            ({"method": {"type": "reinforcement"}}, "method.type", "unsupported_parameter"),
            (
                {"method": {"type": "dpo", "supervised": {"hyperparameters": {"n_epochs": 0}}}},
                "method.supervised.hyperparameters.n_epochs",
                "integer_below_min_value",
            ),
            ({"method": {"type": "dpo"}, "hyperparameters": {}}, "hyperparameters", "invalid_value"),
            (
                {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 2.1}}}},
                "method.dpo.hyperparameters.beta",
                "decimal_above_max_value",
            ),
            ({"integrations": [{"type": "mlflow"}]}, "integrations[0].type", "invalid_value"),
            ({"integrations": [{"type": "wandb"}]}, "integrations[0].wandb", "missing_required_parameter"),
            ({"integrations": [wandb_run()] * 6}, "integrations", "array_above_max_length"),
            ({"integrations": [wandb_run(project="a/b")]}, "integrations[0].wandb.project", "invalid_value"),
            ({"integrations": [wandb_run(project="")]}, "integrations[0].wandb.project", "empty_string"),
            (
                {"integrations": [wandb_run(tags=["x" * 65])]},
                "integrations[0].wandb.tags[0]",
                "string_above_max_length",
            ),
            ({"metadata": {"k": "v" * 513}}, "metadata.k", "string_above_max_length"),
            ({"metadata": {str(n): "" for n in range(17)}}, "metadata", "object_above_max_length"),
            ({"color": "red"}, "color", "unknown_parameter"),
        ],
    )
    def test_body(self, tuner: OpenAI, body: dict[str, Any], param: str, code: str) -> None:
        """A bad parameter is named, and nothing is created."""
        good = {"model": TINY, "training_file": "file-unknown"}

        with pytest.raises(BadRequestError) as caught:
            tuner.post("/fine_tuning/jobs", cast_to=object, body=good | body)

        assert (caught.value.param, caught.value.code) == (param, code)

    def test_purpose(self, tuner: OpenAI) -> None:
        """A file of another purpose is refused."""
        with pytest.raises(BadRequestError, match="purpose 'user_data'"):
            tuner.fine_tuning.jobs.create(model=TINY, training_file=upload(tuner, CHATS, "user_data"))

    def test_validation_file(self, tuner: OpenAI) -> None:
        """A validation file that is not there, or of another purpose, is refused."""
        training_file = upload(tuner, CHATS)
        for validation_file in ("file-unknown", upload(tuner, OTHER_CHATS, "user_data")):
            with pytest.raises(BadRequestError) as caught:
                tuner.fine_tuning.jobs.create(model=TINY, training_file=training_file, validation_file=validation_file)

            assert (caught.value.param, caught.value.code) == ("validation_file", "invalid_value")

    @pytest.mark.parametrize("model", ["nobody", f"ft:{TINY}:nobody::00000000"])
    def test_model(self, tuner: OpenAI, model: str) -> None:
        """A model that is not there is refused."""
        with pytest.raises(NotFoundError) as caught:
            tuner.fine_tuning.jobs.create(model=model, training_file=upload(tuner, CHATS))

        assert (caught.value.param, caught.value.code) == ("model", "model_not_found")

    def test_unknown_job(self, tuner: OpenAI) -> None:
        """A job that is not there is refused everywhere in the same words."""
        jobs = tuner.fine_tuning.jobs

        for ask in (jobs.retrieve, jobs.cancel, jobs.pause, jobs.resume, jobs.list_events, jobs.checkpoints.list):
            with pytest.raises(NotFoundError, match="Could not find fine tune: ftjob-x") as caught:
                ask("ftjob-x")
            assert (caught.value.param, caught.value.code) == ("fine_tune_id", "fine_tune_not_found")


class TestFailures:
    """What only the files tell makes the job fail, with the line."""

    @pytest.mark.parametrize(
        ("training", "validation", "method", "code", "param", "complaint"),
        [
            (CHATS[:7], None, "supervised", "invalid_n_examples", "training_file",
             "Training file has 7 example(s), but must have at least 10 examples"),
            ([*CHATS, {"messages": []}], None, "supervised", "invalid_training_file", "training_file", "Line 13"),
            (CHATS, None, "dpo", "invalid_training_file", "training_file",
             "format (fine-tune-chat) is not compatible with the method: dpo"),
            (CHATS, [*OTHER_CHATS, {"a": 1}], "supervised", "invalid_validation_file", "validation_file", "Line 11"),
            (CHATS, CHATS[:10], "supervised", "invalid_validation_file", "validation_file", "in the training file"),
            (CHATS, [*OTHER_CHATS, REARRANGED], "supervised",
             "invalid_validation_file", "validation_file", "Line 11 is in the training file"),
        ],
    )  # fmt: skip
    def test_contents(
        self, tuner: OpenAI, training: Any, validation: Any, method: Any, code: str, param: str, complaint: str
    ) -> None:
        """The error has code, parameter and a message that names the line."""
        job = tuner.fine_tuning.jobs.create(
            model=TINY,
            training_file=upload(tuner, training),
            validation_file=upload(tuner, validation) if validation else None,
            method={"type": method},
        )

        job = wait(tuner, job.id, has_ended)

        assert job.status == "failed"
        assert job.error is not None
        assert (job.error.code, job.error.param) == (code, param)
        assert complaint in job.error.message
        assert job.finished_at
        assert complaint in messages(tuner, job.id)[-1]


class TestCommands:
    """What the operator does with tuned models, and with files before they are trained on."""

    def run(self, trainer: RunningServer, *words: str) -> Result:
        """Run a command on the home of the server."""
        environment = {
            "OPENHEARTH_HOME": str(trainer.settings.home),
            "OPENHEARTH_MODELS": str(trainer.settings.models),
            "OPENHEARTH_TEXT_MODEL": TINY,
            "OPENHEARTH_EMBEDDING_MODEL": "",
            "OPENHEARTH_IMAGE_MODEL": "",
        }
        return CliRunner(env=environment).invoke(command, words)

    @pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")  # PEFT's use of transformers
    def test_export(self, trainer: RunningServer, succeeded: FineTuningJob, tmp_path: Path) -> None:
        """The adapter loads in PEFT, the merged models compute the same, and each has a Modelfile."""
        name = succeeded.fine_tuned_model
        assert name is not None
        for kind in ("peft", "merged", "gguf"):
            result = self.run(trainer, "export", name, "--to", str(tmp_path / kind), "--format", kind)
            assert result.exit_code == 0, result.output

        base = AutoModelForCausalLM.from_pretrained(trainer.settings.models / TINY)
        prompt = torch.tensor([[1, 2, 3]])
        before = base(prompt).logits.detach()
        tuned = PeftModel.from_pretrained(base, tmp_path / "peft")(prompt).logits
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(prompt).logits
        file = tmp_path / "gguf" / f"{name.replace(':', '-')}.gguf"
        (tmp_path / "again").mkdir()
        convert_gguf(file, tmp_path / "again", name="again", progress=SilentProgress())
        again = AutoModelForCausalLM.from_pretrained(tmp_path / "again", dtype=torch.float32)(prompt).logits

        assert torch.allclose(tuned, merged, atol=1e-5)
        assert torch.allclose(tuned, again, atol=5e-3)  # its weights are rounded to f16
        assert not torch.allclose(before, again, atol=5e-3)
        assert not torch.allclose(before, merged, atol=1e-5)
        assert (tmp_path / "merged" / "Modelfile").read_text() == "FROM .\n"
        assert (tmp_path / "gguf" / "Modelfile").read_text() == f"FROM ./{file.name}\n"
        assert sorted(path.name for path in (tmp_path / "gguf").iterdir()) == ["Modelfile", file.name]
        assert "ADAPTER ." in (tmp_path / "peft" / "Modelfile").read_text()

    def test_export_refusals(self, trainer: RunningServer, succeeded: FineTuningJob, tmp_path: Path) -> None:
        """What cannot be exported, or not to there, is said in a sentence."""
        (tmp_path / "something").touch()
        unknown = self.run(trainer, "export", "ft:nobody", "--to", str(tmp_path / "new"))
        full = self.run(trainer, "export", str(succeeded.fine_tuned_model), "--to", str(tmp_path))

        assert "No tuned model is called 'ft:nobody'" in str(unknown.exception)
        assert "is not empty" in str(full.exception)

    def test_check(self, trainer: RunningServer, tmp_path: Path) -> None:
        """A good file is counted; a bad one is named by its line."""
        good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
        good.write_text("\n".join(map(json.dumps, CHATS)))
        bad.write_text("\n".join(map(json.dumps, [*CHATS, {"a": 1}])))

        counted = self.run(trainer, "ft", "check", str(good), "--no-estimate")
        refused = self.run(trainer, "ft", "check", str(bad))
        other = self.run(trainer, "ft", "check", str(good), "--method", "dpo")

        assert "12 examples of the format fine-tune-chat" in counted.output
        assert "tokens in each epoch" in counted.output
        assert "0 examples are longer than 512 tokens and would be cut" in counted.output
        assert "to train" not in counted.output
        assert "Line 13" in str(refused.exception)
        assert "not compatible with the method: dpo" in str(other.exception)

    def test_check_cuts_as_a_job_would(
        self, trainer: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A setting that cuts examples cuts them here, too."""
        monkeypatch.setenv("OPENHEARTH_TRAINING_MAX_LENGTH", "16")
        file = tmp_path / "good.jsonl"
        file.write_text("\n".join(map(json.dumps, CHATS)))

        counted = self.run(trainer, "ft", "check", str(file), "--no-estimate")

        assert "16 at most" in counted.output
        assert "12 examples are longer than 16 tokens and would be cut" in counted.output

    @pytest.mark.parametrize(("flags", "n_epochs"), [((), 8), (("--n-epochs", "2"), 2)])
    def test_estimate(self, trainer: RunningServer, tmp_path: Path, flags: tuple[str, ...], n_epochs: int) -> None:
        """How long training would take is estimated for the epochs asked for, or for those that `auto` comes to."""
        file = tmp_path / "good.jsonl"
        file.write_text("\n".join(map(json.dumps, CHATS)))

        result = self.run(trainer, "ft", "check", str(file), *flags)

        assert re.search(rf"about \d+ (seconds|minutes) to train {n_epochs} epochs here \(an estimate\)", result.output)


class TestIntegrations:
    """Weights & Biases, through its real client, which writes to the disk here instead of sending."""

    def test_wandb(self, tuner: OpenAI, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """The run has the job's id, its steps and its tags, and the job shows the integration."""
        monkeypatch.setenv("WANDB_MODE", "offline")
        monkeypatch.setenv("WANDB_DIR", str(tmp_path))
        job = tuner.fine_tuning.jobs.create(
            model=TINY,
            training_file=upload(tuner, CHATS),
            hyperparameters={"n_epochs": 1, "batch_size": 6},
            integrations=[{"type": "wandb", "wandb": {"project": "lamps", "tags": ["mine"]}}],
        )

        job = wait(tuner, job.id, has_ended)

        assert job.status == "succeeded", job.error
        assert job.integrations is not None
        assert (job.integrations[0].wandb.project, job.integrations[0].wandb.tags) == ("lamps", ["mine"])
        (record,) = tmp_path.glob(f"wandb/offline-run-*-{job.id}/*.wandb")
        for word in (b"train_loss", b"lamps", b"mine", b"openai/finetune"):
            assert word in record.read_bytes()

    def test_several(self, tuner: OpenAI, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Up to five places are told, two of them in the same project, each by a run that the job shows."""
        monkeypatch.setenv("WANDB_MODE", "offline")
        monkeypatch.setenv("WANDB_DIR", str(tmp_path))
        projects = ["lamps", "lamps", "wicks", "oils", "glass"]
        job = tuner.fine_tuning.jobs.create(
            model=TINY,
            training_file=upload(tuner, CHATS),
            hyperparameters={"n_epochs": 1, "batch_size": 6},
            integrations=[{"type": "wandb", "wandb": {"project": project}} for project in projects],
        )

        job = wait(tuner, job.id, has_ended)

        assert job.status == "succeeded", job.error
        assert [event.level for event in tuner.fine_tuning.jobs.list_events(job.id) if event.level != "info"] == []
        shown = [integration.wandb.to_dict() for integration in job.integrations or []]
        assert [(run["project"], run["run_id"]) for run in shown] == list(
            zip(projects, [job.id, *(f"{job.id}-{number}" for number in range(2, 6))], strict=True)
        )
        for run in shown:
            (record,) = tmp_path.glob(f"wandb/offline-run-*-{run['run_id']}/*.wandb")
            assert str(run["project"]).encode() in record.read_bytes()
            assert record.read_bytes().count(b"train_loss") >= 2


class TestProjects:
    """Jobs and models belong to a project; a permitted project may call a checkpoint, and no more."""

    async def test_isolation(self, trainer: RunningServer, succeeded: FineTuningJob) -> None:
        """To another project neither job nor model exists, save for a checkpoint that it is permitted to call."""
        checkpoint = f"{succeeded.fine_tuned_model}:ckpt-step-3"
        async with open_api_keys(trainer.settings) as keys:
            own, other = await keys.create("own"), await keys.create("other", project="other")
        with trainer.client(api_key=own) as mine, trainer.client(api_key=other) as theirs:
            assert mine.fine_tuning.jobs.retrieve(succeeded.id).id == succeeded.id
            assert theirs.fine_tuning.jobs.list().data == []
            with pytest.raises(NotFoundError, match="Could not find fine tune"):
                theirs.fine_tuning.jobs.retrieve(succeeded.id)
            own_file = upload(theirs, CHATS)
            for training_file, validation_file in (
                (succeeded.training_file, None),
                (own_file, succeeded.validation_file),
            ):
                with pytest.raises(BadRequestError, match="no such file"):
                    theirs.fine_tuning.jobs.create(
                        model=TINY, training_file=training_file, validation_file=validation_file
                    )
            for use in (lambda: theirs.completions.create(model=checkpoint, prompt="a"),
                        lambda: theirs.models.retrieve(checkpoint),
                        lambda: theirs.fine_tuning.checkpoints.permissions.list(checkpoint)):  # fmt: skip
                with pytest.raises(NotFoundError):
                    use()

            mine.fine_tuning.checkpoints.permissions.create(checkpoint, project_ids=["other"])

            assert theirs.completions.create(model=checkpoint, prompt="a", max_tokens=2).model == checkpoint
            assert checkpoint in {model.id for model in theirs.models.list()}
            with pytest.raises(PermissionDeniedError):
                theirs.models.delete(checkpoint)
            with pytest.raises(NotFoundError):
                theirs.completions.create(model=str(succeeded.fine_tuned_model), prompt="a")
