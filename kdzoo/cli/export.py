"""``kdzoo export --format timm``: a folder for timm, here and on the hub."""

from pathlib import Path

from rich.console import Console


def export_for_timm(run: Path, to: Path | None, repo: str | None, out: Console) -> None:
    """Write the folder and, where a repository is named, send it there.

    Raises:
        UserError: it cannot be written, or not be sent.
    """
    from kdzoo.hub.folder import write_timm_folder
    from kdzoo.hub.push import check_repo, push_folder

    if repo is not None:
        check_repo(repo)
    folder = write_timm_folder(run, to, repo)
    out.print(f"The student is in {folder}", soft_wrap=True)
    if repo is not None:
        out.print(f"It is at {push_folder(folder, repo)}", soft_wrap=True)
