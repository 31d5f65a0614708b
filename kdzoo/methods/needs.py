"""What a method needs of a run before it can be built, by its settings alone."""

from typing import Any


class Needs:
    """Asked of the class with a config; nothing is needed here."""

    @classmethod
    def prerequisites(cls, config: Any) -> dict[str, dict[str, Any]]:
        """The runs that have to be finished before the method can be built.

        Returns:
            For each field of ``config`` that is to hold the folder of such a run: that run's
            settings, laid over the present run's (``method`` and ``backbone`` whole, not merged).
        """
        return {}

    @classmethod
    def contents(cls, config: Any) -> dict[str, Any]:
        """What stands, in the identity of a run, for the files that the method's settings name.

        Returns:
            For each field of ``config`` that names a file or folder: what is in it, such as a
            checksum, as JSON can hold it. The same content elsewhere is then the same run.

        Raises:
            UserError: there is no such file.
        """
        return {}

    @classmethod
    def images_per_class(cls, config: Any) -> int:
        """How many images of each of its classes a batch is to hold; 1 for a batch of any."""
        return 1

    @classmethod
    def repeats_last_batch(cls, config: Any) -> bool:
        """Whether a batch is to hold the one before it once more, augmented anew.

        Each new sample, at the even places, is then followed by one of the batch before.
        """
        return False

    @classmethod
    def meta_every(cls, config: Any) -> int | None:
        """After every how many steps of an epoch, the first one among them, there is a meta step.

        Such a step learns from the batch what the loss cannot teach, by derivatives of derivatives.
        So blocks cannot be computed again (``training.checkpointing``), and as the host decides
        when it is due, no step is captured as a CUDA graph. None for never.
        """
        return None
