"""What every method does around its trainer: read the data, go on from the newest whole checkpoint, report."""

import threading
from collections.abc import Callable
from datetime import datetime

from transformers import PreTrainedTokenizerBase, Trainer, set_seed
from transformers.trainer_callback import PrinterCallback

from openhearth.training.base_model import context_length, load_tokenizer, newest, steps_per_epoch
from openhearth.training.callbacks import Progress, Validation
from openhearth.training.checkpoints import first_whole
from openhearth.training.dataset import Encoder, RunData
from openhearth.training.devices import DevicePlan
from openhearth.training.reports import Finished, Notice, Started, Stopped, Tell
from openhearth.training.rows import RowError, ValidationRowError
from openhearth.training.spec import TrainingSpec

MakeTrainer = Callable[[TrainingSpec, DevicePlan, PreTrainedTokenizerBase, RunData], Trainer]
"""What is different from one method to the next."""
_WHY_NOTHING = "all their answers have the weight 0, are empty, or were cut off"


def train(make_trainer: MakeTrainer, spec: TrainingSpec, plan: DevicePlan, tell: Tell, stop: threading.Event) -> None:
    """Train to the end, or until `stop`. Raises `RowError` for data that cannot be trained on."""
    tokenizer = load_tokenizer(spec)
    now = None if spec.created_at is None else datetime.fromtimestamp(spec.created_at)
    data = _read_data(spec, Encoder(tokenizer, max_length=context_length(spec), now=now), tell)
    set_seed(spec.seed)
    _run(make_trainer(spec, plan, tokenizer, data), spec, data, tell, stop)


def _read_data(spec: TrainingSpec, encoder: Encoder, tell: Tell) -> RunData:
    """Read the files of a run, and say how many examples were skipped or cut, or train nothing. Raises `RowError`."""
    training = encoder.read(spec.training_file, spec.method)
    try:
        validation = encoder.read(spec.validation_file, spec.method) if spec.validation_file else None
    except RowError as error:
        raise ValidationRowError(str(error)) from error
    num_skipped = training.num_skipped + (validation.num_skipped if validation else 0)
    if num_skipped:
        tell(Notice(message=f"{num_skipped} example(s) have images, which the model cannot see, and were skipped."))
    num_cut = training.num_cut + (validation.num_cut if validation else 0)
    if num_cut:
        tell(Notice(message=f"{num_cut} example(s) are longer than the model's context and were cut at the end."))
    if training.num_untrained:
        tell(Notice(message=f"{training.num_untrained} example(s) train nothing: {_WHY_NOTHING}."))
    return RunData(training, validation)


def _run(trainer: Trainer, spec: TrainingSpec, data: RunData, tell: Tell, stop: threading.Event) -> None:
    """Take all steps that are left, or as many as there is time for until `stop`."""
    checkpoint = first_whole(spec.resume_from)
    for broken in spec.resume_from[: spec.resume_from.index(checkpoint) if checkpoint else None]:
        tell(Notice(message=f"The checkpoint at step {newest(broken)} is damaged; the one before it is used."))
    num_steps = steps_per_epoch(spec, len(data.training.examples))
    progress = Progress(tell, steps_per_epoch=num_steps, snapshot_seconds=spec.snapshot_seconds, stop=stop)
    progress.validation = Validation(trainer, batch_size=spec.batch_size)
    trainer.remove_callback(PrinterCallback)  # standard output is for reports
    trainer.add_callback(progress)
    total_steps = num_steps * spec.n_epochs
    trained_tokens = data.training.num_tokens * spec.n_epochs
    tell(Started(step=newest(checkpoint), total_steps=total_steps, trained_tokens=trained_tokens))
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    tell(Finished() if trainer.state.global_step == total_steps else Stopped())
