"""A launcher that carries out a bench's runs in the process of the bench."""

from collections.abc import Sequence

from kdzoo.bench.launchers.base import Jobs, LaunchError
from kdzoo.component import ComponentConfig
from kdzoo.compose import compose
from kdzoo.config import RunConfig
from kdzoo.errors import UserError
from kdzoo.registry import launchers
from kdzoo.training.run import train
from kdzoo.training.run_folder import RunFolder


@launchers.register("here")
class Here:
    class Config(ComponentConfig):
        name: str = "here"

    def __init__(self, config: Config, jobs: Jobs, configs: Sequence[RunConfig]) -> None:
        self.slots = 1
        self.why = "all in this process"

    def carry_out(
        self, config: RunConfig, folder: RunFolder, needs: Sequence[RunFolder], slot: int
    ) -> None:
        """As ``local`` does it: from the ``config.yaml`` of the run's folder."""
        try:
            train(compose([str(folder.config)]))
        except UserError as error:
            raise LaunchError(str(error)) from None

    def stop(self) -> None:
        """Runs end by themselves here."""
