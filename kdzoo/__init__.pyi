from .api import create_method as create_method
from .api import list_backbones as list_backbones
from .api import list_datasets as list_datasets
from .api import list_methods as list_methods
from .api import run as run
from .backbones.create import create_backbone as create_backbone
from .data.torch_datasets import data_from as data_from
from .errors import UserError as UserError
from .predict import load_predictor as load_predictor
from .student import load_student as load_student

__version__: str
