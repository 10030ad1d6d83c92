"""Which codec a source of training data is for, and what its training is."""

import zipfile
from pathlib import Path
from typing import Any

from nvc.errors import InputError
from nvc.training import clips, data
from nvc.training.aivc_task import AivcTask
from nvc.training.lhbdc_task import LhbdcTask
from nvc.training.picture_task import PictureTask
from nvc.training.task import FitSettings, Task
from nvc.training.video_task import VideoTask

TASKS: dict[str, type[Task]] = {task.codec: task for task in (PictureTask, VideoTask, LhbdcTask, AivcTask)}


def codec_of(source: Path) -> str:
    """The codec that is trained on a folder of clips or pictures, a .zip of pictures, a cache of clips.

    InputError where there is neither, or both.
    """
    if source.suffix == clips.CACHE:
        return VideoTask.codec
    if source.is_dir():
        names = [path.name for path in source.rglob("*")]
    elif source.suffix == ".zip" and zipfile.is_zipfile(source):
        return PictureTask.codec
    else:
        names = []
    suffixes = {Path(name).suffix.lower() for name in names}
    found = [
        codec
        for codec, known in ((PictureTask.codec, data.SUFFIXES), (VideoTask.codec, clips.SUFFIXES))
        if suffixes & known
    ]
    if len(found) != 1:
        reason = "both clips and pictures: say which with --codec" if found else "no pictures found and no clips"
        raise InputError(f"{source}: {reason} ({', '.join(sorted(data.SUFFIXES | clips.SUFFIXES))})")
    return found[0]


def settings_for(codec: str, minutes: float, **given: Any) -> FitSettings:
    """Settings of a codec's training; what is None is its default."""
    return FitSettings(minutes, **(TASKS[codec].defaults | {k: v for k, v in given.items() if v is not None}))
