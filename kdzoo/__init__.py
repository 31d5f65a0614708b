"""Online knowledge distillation: train peers that teach each other, deploy one of them.

What is imported from here is the public API: the names in ``__init__.pyi``. Each is loaded when it
is first used, so that ``import kdzoo`` and ``kdzoo --help`` do not wait for torch.
"""

import lazy_loader

from kdzoo.home import provide_cache

provide_cache()  # the first thing, since libraries look for theirs as they are imported
del provide_cache

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
