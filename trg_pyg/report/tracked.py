"""The same pictures and tables in wandb."""

import io
from pathlib import Path
from typing import Any, Literal

from trg_pyg.report.page import Page, Section
from trg_pyg.study.tracking import Limits, Tracker
from trg_pyg.viz.figure import to_png

Mode = Literal["offline", "online", "disabled"]

# Pictures take longer to send than the metrics of an epoch, and nothing waits behind a report.
_LIMITS = Limits(log=60.0, finish=120.0)


def track(page: Page, file: Path, mode: Mode, project: str) -> None:
    """Send every study's pictures and tables to one wandb run of the job type "report".

    What wandb does wrong is said in one line, see :class:`~trg_pyg.study.tracking.Tracker`.

    Args:
        page: what to send.
        file: where the page is; wandb keeps its own files in a folder beside it.
        mode: ``"disabled"`` does nothing at all.
        project: project in wandb.
    """
    if mode == "disabled":
        return
    folder = file.with_name(f"{file.stem}_wandb")
    folder.mkdir(parents=True, exist_ok=True)
    tracker = Tracker(
        folder,
        mode,
        project=project,
        group="report",
        name=file.stem,
        config={"command": page.command, "studies": [section.title for section in page.sections]},
        resume=False,
        limits=_LIMITS,
        job_type="report",
        kept=f"{file.name} has the same",
        unit="studies",
    )
    for section in page.sections:
        tracker.log(_media(section))
    tracker.finish()


def _media(section: Section) -> dict[str, Any]:
    import wandb
    from PIL import Image

    # A slash would be a heading of wandb's own.
    study = section.title.replace("/", " ")
    media: dict[str, Any] = {}
    for block in section.blocks:
        for table in block.tables:
            head, *rows = table.rows
            media[f"{study}/{table.name}"] = wandb.Table(columns=list(head), data=[list(row) for row in rows])
        for picture in block.pictures:
            image = wandb.Image(Image.open(io.BytesIO(to_png(picture.figure))), caption=picture.alt)
            media[f"{study}/{picture.name.replace('/', ' ')}"] = image
    return media
