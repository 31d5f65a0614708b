"""A run's student in the format that a person asks for."""

from pathlib import Path

from kdzoo.student import load_student, read_student_info, save_student


def export_run(run: Path, form: str, to: Path | None) -> Path:
    """Write a finished run's student.

    Args:
        run: the run folder.
        form: ``safetensors`` with its description, ``onnx``, or a ``torch.export`` program.
        to: the file to write, a folder for safetensors; by default ``student.FORMAT`` in the run
            folder, or ``export`` there.

    Returns:
        what was written.

    Raises:
        UserError: the run has no student, or it cannot be written like that.
    """
    from kdzoo.export import export_onnx, export_program

    network, info = load_student(run), read_student_info(run)
    if form == "safetensors":
        folder = to or run / "export"
        save_student(folder, network, info)
        return folder
    path = to or run / f"student.{form}"
    write = export_onnx if form == "onnx" else export_program
    write(network, info.input_size, path)
    return path
