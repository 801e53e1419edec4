"""The same pictures and tables in wandb."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from trg_pyg.report.content import Section
from trg_pyg.study.tracking import Limits, Tracker
from trg_pyg.viz.figure import to_png

# Pictures take longer to send than the metrics of an epoch, and nothing waits behind a report.
_LIMITS = Limits(log=60.0, finish=120.0)


def track(
    page: Path, mode: Literal["offline", "online", "disabled"], project: str, sections: Sequence[Section], command: str
) -> None:
    """Send every study's pictures and tables to one wandb run of the job type "report".

    What wandb does wrong is said in one line, see :class:`~trg_pyg.study.tracking.Tracker`.

    Args:
        page: the report; wandb keeps its own files in a folder beside it.
        mode: ``"disabled"`` does nothing at all.
        project: project in wandb.
        sections: what to send.
        command: that made the report.
    """
    if mode == "disabled":
        return
    folder = page.with_name(f"{page.stem}_wandb")
    folder.mkdir(parents=True, exist_ok=True)
    tracker = Tracker(
        folder,
        mode,
        project=project,
        group="report",
        name=page.stem,
        config={"command": command, "studies": [section.title for section in sections]},
        resume=False,
        limits=_LIMITS,
        job_type="report",
        kept=f"{page.name} has the same",
        unit="studies",
    )
    for section in sections:
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
