"""`tf.version`: which version this is."""

VERSION = "0.1.0"
GIT_VERSION = VERSION
COMPILER_VERSION = "numba"

__all__ = ["COMPILER_VERSION", "GIT_VERSION", "VERSION"]
