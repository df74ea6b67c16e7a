"""The one compiled module. Without a C compiler it is left out, and Python does its work, more slowly."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension("state._fold", ["state/_fold.c"], extra_compile_args=["-O3", "-ffp-contract=off"], optional=True)
    ]
)
