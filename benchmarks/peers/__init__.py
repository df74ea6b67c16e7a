"""The same job on other stream processors, each in its own virtual environment, as its documentation recommends."""
