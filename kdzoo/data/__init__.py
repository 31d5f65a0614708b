"""Data sets by name, and the pipelines that make batches of them.

Here ``Dataset`` is kdzoo's: a source of labelled images. torch's data sets go in through
:func:`data_from`. The names are in ``__init__.pyi``; each is loaded when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
