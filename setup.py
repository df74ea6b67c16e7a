"""The compiled module. Without a C compiler it is left out, and Python does its work, more slowly."""

from glob import glob

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "state._fold",
            sorted(glob("state/c/*.c") + glob("state/c/core/*.c")),
            depends=sorted(glob("state/c/*.h") + glob("state/c/core/*.h")),
            extra_compile_args=[
                "-O3",
                "-ffp-contract=off",
                "-fvisibility=hidden",
                "-Wall",
                "-Wextra",
                "-Wno-unused-parameter",
                "-Wno-missing-field-initializers",
            ],
            optional=True,
        )
    ]
)
