"""The settings of each method of the zoo, apart from what carries them out.

Like all that a config is made of, they need no torch: a command that prints or checks one is quick.
"""

from kdzoo.methods.settings.offline import KDConfig, OfflineConfig, SHAKEConfig
from kdzoo.methods.settings.online import (
    AFDConfig,
    AHBFConfig,
    CLILRConfig,
    DKELConfig,
    DMLConfig,
    FFLConfig,
    FFSDConfig,
    IndependentConfig,
    KDCLConfig,
    LMCLConfig,
    MBDEConfig,
    MCLConfig,
    MCLOKDConfig,
    OKDDipConfig,
    OKDPHConfig,
    ONEConfig,
    PCLConfig,
    SwitOKDConfig,
)
from kdzoo.methods.settings.self_distillation import (
    BAKEConfig,
    BYOTConfig,
    CSKDConfig,
    DDGSDConfig,
    DLBConfig,
    PSKDConfig,
    TFKDConfig,
    USKDConfig,
)

__all__ = [
    "AFDConfig",
    "AHBFConfig",
    "BAKEConfig",
    "BYOTConfig",
    "CLILRConfig",
    "CSKDConfig",
    "DDGSDConfig",
    "DKELConfig",
    "DLBConfig",
    "DMLConfig",
    "FFLConfig",
    "FFSDConfig",
    "IndependentConfig",
    "KDCLConfig",
    "KDConfig",
    "LMCLConfig",
    "MBDEConfig",
    "MCLConfig",
    "MCLOKDConfig",
    "OKDDipConfig",
    "OKDPHConfig",
    "ONEConfig",
    "OfflineConfig",
    "PCLConfig",
    "PSKDConfig",
    "SHAKEConfig",
    "SwitOKDConfig",
    "TFKDConfig",
    "USKDConfig",
]
