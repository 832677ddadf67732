"""The trainer as a program: what it reports, what it leaves, and that interruptions do not change the outcome."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from openhearth.training.checkpoints import is_whole
from openhearth.training.reports import CheckpointSaved, Failed, Notice, Report, Started, StepDone, Stopped, read_report
from openhearth.training.spec import LoraSpec, TrainingMethod, TrainingSpec
from tests.tiny_model import make_tiny_model

WITHOUT_DROPOUT: dict[str, Any] = {"lora": LoraSpec(r=4)}


@dataclass
class Run:
    """A trainer that runs, and what it has said so far."""

    process: "subprocess.Popen[bytes]"
    reports: list[Report] = field(default_factory=list)

    def wait(self) -> int:
        """Wait for the end, let go of the pipes, and return the exit code."""
        with self.process as process:
            return process.wait(timeout=60)

    def read_until(self, is_enough: Callable[[Report], bool]) -> None:
        """Read reports until one is enough, or the trainer ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.reports.append(read_report(line))
            if is_enough(self.reports[-1]):
                return

    def to_the_end(self) -> "Run":
        """Read all reports."""
        self.read_until(lambda _report: False)
        assert self.wait() == 0
        return self

    def steps(self) -> dict[int, StepDone]:
        """Return the reports of steps."""
        return {report.step: report for report in self.reports if isinstance(report, StepDone)}


@dataclass
class Workshop:
    """A tiny model, and files to train it on."""

    root: Path

    def spec(self, name: str, method: TrainingMethod = "supervised", **members: Any) -> TrainingSpec:
        """Return a spec with dropout, so that the state of the random numbers matters."""
        defaults: dict[str, Any] = {
            "method": method,
            "base_model": self.root / "model",
            "training_file": self.root / f"{method}.jsonl",
            "validation_file": self.root / f"{method}.jsonl",
            "output_dir": self.root / name,
            "n_epochs": 2,
            "batch_size": 4,
            "max_micro_batch_size": 2,
            "learning_rate": 1e-3,
            "seed": 7,
            "lora": LoraSpec(r=4, lora_dropout=0.2),
        }
        return TrainingSpec(**(defaults | members))

    def start(self, spec: TrainingSpec) -> Run:
        """Start the trainer."""
        spec.output_dir.mkdir(exist_ok=True)
        file = spec.output_dir / "spec.json"
        file.write_text(spec.model_dump_json())
        command = [sys.executable, "-m", "openhearth.training", str(file)]
        with (spec.output_dir / "log").open("w") as log:
            return Run(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log))


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Make a workshop."""
    root = tmp_path_factory.mktemp("training")
    make_tiny_model(root / "model")
    questions = [{"role": "user", "content": f"say {number}"} for number in range(14)]
    answers = [{"role": "assistant", "content": f"it is {number}"} for number in range(14)]
    chats = [{"messages": pair} for pair in zip(questions, answers, strict=True)]
    preferences = [
        {"input": {"messages": [question]}, "preferred_output": [answer], "non_preferred_output": [answers[0]]}
        for question, answer in zip(questions, answers, strict=True)
    ]
    for name, rows in (("supervised", chats), ("dpo", preferences)):
        (root / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return Workshop(root)


@pytest.fixture(scope="module")
def uninterrupted(workshop: Workshop) -> Run:
    """Run a whole training."""
    return workshop.start(workshop.spec("uninterrupted")).to_the_end()


@pytest.fixture(scope="module")
def together(workshop: Workshop) -> Run:
    """Run a whole training in two processes, without dropout, whose random numbers differ between processes."""
    return workshop.start(workshop.spec("together", **WITHOUT_DROPOUT, num_processes=2)).to_the_end()


def weights(directory: Path) -> bytes:
    """Return the trained weights in a checkpoint."""
    return (directory / "adapter_model.safetensors").read_bytes()


class TestReports:
    """What the trainer says."""

    def test_steps(self, uninterrupted: Run) -> None:
        """Every step is reported once, with the whole validation at the end of each epoch, and the loss goes down."""
        steps = uninterrupted.steps()

        assert list(steps) == [1, 2, 3, 4, 5, 6, 7, 8]
        assert [n for n, step in steps.items() if step.metrics.full_valid_loss is not None] == [4, 8]
        assert [step.total_steps for step in steps.values()] == [8] * 8
        assert steps[8].metrics.full_valid_loss < steps[4].metrics.full_valid_loss  # type: ignore[operator]

    def test_order(self, uninterrupted: Run) -> None:
        """The start comes first, a checkpoint at the end of each epoch, the end last."""
        others = [report for report in uninterrupted.reports if not isinstance(report, StepDone)]

        assert isinstance(others[0], Started)
        assert others[0].trained_tokens > 0
        assert [report.kind for report in others[1:]] == ["checkpoint", "checkpoint", "finished"]

    def test_failure(self, workshop: Workshop) -> None:
        """A file that the model's template cannot write is a failure that is reported, with the line."""
        spec = workshop.spec("failing")
        bare = make_tiny_model(workshop.root / "bare", chat_template=None)

        run = workshop.start(spec.model_copy(update={"base_model": bare})).to_the_end()

        assert isinstance(run.reports[-1], Failed)
        assert (run.reports[-1].code, run.reports[-1].param) == ("invalid_training_file", "training_file")
        assert "Line 1" in run.reports[-1].message


class TestInterruptions:
    """However often a run is interrupted, the outcome is the same."""

    def test_kill(self, workshop: Workshop, uninterrupted: Run) -> None:
        """A run that was killed, and whose newest checkpoint was torn, gives the same weights bit by bit."""
        first = workshop.start(workshop.spec("killed", snapshot_seconds=0))
        first.read_until(lambda report: isinstance(report, CheckpointSaved) and report.step == 3)
        first.process.kill()
        first.wait()
        torn, good = (workshop.root / "killed" / f"checkpoint-{step}" for step in (3, 2))
        (torn / "optimizer.pt").write_bytes((torn / "optimizer.pt").read_bytes()[:-1])

        spec = workshop.spec("resumed", resume_from=(torn, good))
        second = workshop.start(spec).to_the_end()

        notices = [report.message for report in second.reports if isinstance(report, Notice)]
        assert notices == ["The checkpoint at step 3 is damaged; the one before it is used."]
        assert list(second.steps()) == [3, 4, 5, 6, 7, 8]
        assert {**first.steps(), **second.steps()} == uninterrupted.steps()
        for step in (4, 8):
            original = workshop.root / "uninterrupted" / f"checkpoint-{step}"
            assert weights(spec.output_dir / original.name) == weights(original)

    def test_stop(self, workshop: Workshop) -> None:
        """A run that is asked to stop leaves a checkpoint of the step it has taken."""
        run = workshop.start(workshop.spec("stopped", method="dpo", n_epochs=50))
        run.read_until(lambda report: isinstance(report, StepDone))
        assert run.process.stdin is not None
        run.process.stdin.write(b"stop\n")
        run.process.stdin.flush()

        run.to_the_end()

        checkpoint = next(report for report in reversed(run.reports) if isinstance(report, CheckpointSaved))
        assert isinstance(run.reports[-1], Stopped)
        assert checkpoint.step == max(run.steps()) < 200
        assert is_whole(workshop.root / "stopped" / checkpoint.directory)

    def test_orphan(self, workshop: Workshop) -> None:
        """A trainer ends at once when whoever started it is gone."""
        run = workshop.start(workshop.spec("orphan", n_epochs=50))
        run.read_until(lambda report: isinstance(report, StepDone))
        assert run.process.stdin is not None
        run.process.stdin.close()

        assert run.wait() == 3


class TestSeveralProcesses:
    """Several devices train as one; here they are two processes on the processor."""

    def test_steps(self, workshop: Workshop, together: Run) -> None:
        """Each step is reported once, with the loss and the accuracy of the whole batch, as one process would."""
        alone = workshop.start(workshop.spec("alone", **WITHOUT_DROPOUT)).to_the_end()

        assert [report.kind for report in together.reports] == [report.kind for report in alone.reports]
        assert list(together.steps()) == list(alone.steps())
        for step in (1, 2, 3):  # the fourth batch is filled up
            ours, theirs = (run.steps()[step].metrics for run in (together, alone))
            assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-4)
            assert ours.train_mean_token_accuracy == pytest.approx(theirs.train_mean_token_accuracy)

    def test_resume(self, workshop: Workshop, together: Run) -> None:
        """A run goes on from a checkpoint to the same weights."""
        middle = workshop.root / "together" / "checkpoint-4"

        spec = workshop.spec("together-again", **WITHOUT_DROPOUT, num_processes=2, resume_from=(middle,))
        run = workshop.start(spec).to_the_end()

        assert run.steps() == {step: together.steps()[step] for step in (5, 6, 7, 8)}
        assert weights(spec.output_dir / "checkpoint-8") == weights(workshop.root / "together" / "checkpoint-8")

    def test_stop(self, workshop: Workshop) -> None:
        """All of them stop at the same step, and leave one checkpoint."""
        spec = workshop.spec("together-stopped", method="dpo", n_epochs=50, num_processes=2)
        run = workshop.start(spec)
        run.read_until(lambda report: isinstance(report, StepDone))
        assert run.process.stdin is not None
        run.process.stdin.write(b"stop\n")
        run.process.stdin.flush()

        run.to_the_end()

        assert isinstance(run.reports[-1], Stopped)
        assert is_whole(spec.output_dir / f"checkpoint-{max(run.steps())}")

    def test_death(self, workshop: Workshop) -> None:
        """Where one is killed, all end, and by the same signal."""
        run = workshop.start(workshop.spec("together-killed", n_epochs=50, num_processes=2))
        run.read_until(lambda report: isinstance(report, StepDone))
        members = children(run.process.pid)
        os.kill(members[1], signal.SIGKILL)

        assert run.wait() == -signal.SIGKILL
        assert len(members) == 2
        assert not any(Path(f"/proc/{member}").exists() for member in members)


def children(pid: int) -> list[int]:
    """Return the processes that a process has started, the first one first."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if path.read_text().rpartition(")")[2].split()[1] == str(pid):
                found.append(int(path.parent.name))
    return sorted(found)


class TestExhaustion:
    """A machine that runs out of something is named, with what helps, and trying again is left to people."""

    @pytest.mark.parametrize("room", [16_384, 32_768, 65_536, 131_072])
    def test_disk(self, workshop: Workshop, small_disk: Path, room: int) -> None:
        """Whatever is being written when the disk is full."""
        spec = workshop.spec("full", output_dir=small_disk / "full")
        fill(small_disk, but=room)

        run = workshop.start(spec).to_the_end()

        assert isinstance(run.reports[-1], Failed)
        assert run.reports[-1].code == "out_of_disk"
        assert "OPENHEARTH_HOME" in run.reports[-1].message
        assert not any(map(is_whole, spec.output_dir.glob("checkpoint-*")))

    def test_memory(self, workshop: Workshop) -> None:
        """More than any machine has."""
        run = workshop.start(workshop.spec("hungry", lora=LoraSpec(r=10**13))).to_the_end()

        assert isinstance(run.reports[-1], Failed)
        assert run.reports[-1].code == "out_of_memory"
        assert "OPENHEARTH_TRAINING_MICRO_BATCH_SIZE" in run.reports[-1].message


def fill(disk: Path, *, but: int) -> None:
    """Fill a disk, save for so many bytes."""
    (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - but))
