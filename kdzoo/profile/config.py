"""What is profiled, and for how long."""

from kdzoo.component import validate
from kdzoo.config import Count, RunConfig


class ProfileConfig(RunConfig):
    """A run's config, which says what is profiled, and how many steps of it."""

    steps: Count = 20
    """Steps that are measured in parts; as many are measured as a whole, in turn with them."""
    warmup: Count = 5
    """Steps before the first that is measured."""

    @property
    def run(self) -> RunConfig:
        """The run whose steps are looked at."""
        own = ProfileConfig.model_fields.keys() - RunConfig.model_fields.keys()
        return validate(RunConfig, self.model_dump(exclude=own))
