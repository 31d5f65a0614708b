"""Online knowledge distillation: train peers that teach each other, deploy one of them.

What is imported from here is the public API: the names in ``__init__.pyi``. Each is loaded when it
is first used, so that ``import kdzoo`` and ``kdzoo --help`` do not wait for torch.
"""

import os
import sys

__version__ = "0.1.0"

if sys.argv[:1] == ["-m"] and {"kdzoo", "-mkdzoo"} & set(sys.orig_argv):
    # python -m has the current folder searched first, so that a random.py in somebody's run that
    # one looks at would be carried out. Left alone where this package itself lies there.
    _here = os.getcwd()
    if sys.path[:1] == [_here] and not __file__.startswith(os.path.join(_here, "kdzoo")):
        del sys.path[0]

import lazy_loader

from kdzoo.home import provide_cache

provide_cache()  # the first thing, since libraries look for theirs as they are imported
del provide_cache

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
