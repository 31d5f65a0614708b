"""``kdzoo export --format timm``: a folder for timm, here and on the hub."""

from pathlib import Path

from rich.console import Console

from kdzoo.console import print_line, print_wrapped


def export_for_timm(run: Path, to: Path | None, repo: str | None, out: Console) -> None:
    """Write the folder and, where a repository is named, send it there.

    Raises:
        UserError: it cannot be written, or not be sent.
    """
    from kdzoo.export import describe_input
    from kdzoo.hub.folder import write_timm_folder
    from kdzoo.hub.push import check_repo, push_folder
    from kdzoo.student import find_student, read_student_info

    if repo is not None:
        check_repo(repo)
    folder = write_timm_folder(run, to, repo)
    print_line(out, f"The student is in {folder}")
    for line in describe_input(read_student_info(find_student(run))):
        print_wrapped(out, line)
    if repo is not None:
        print_line(out, f"It is at {push_folder(folder, repo)}")
