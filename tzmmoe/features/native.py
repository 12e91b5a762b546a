"""The two hashes as compiled code that a system may have, for long texts.

A hash takes in a text step by step, and each step needs the one before, so that Python's own
integers take a hundred times as long. MurmurHash64A is how GCC's C++ library hashes texts, and
torch has loaded that library on Linux; FarmHash is in the package pyfarmhash. Either may be absent.
"""

import ctypes
import importlib
from collections.abc import Callable
from functools import cache

LONG = 1 << 10  # bytes; shorter texts are hashed as fast by numpy, many at a time
SEED = 0xC70F6907  # of MurmurHash64A, as in GCC's library
MURMUR_LIBRARY = "libstdc++.so.6"
MURMUR_SYMBOL = "_ZSt11_Hash_bytesPKvmm"  # std::_Hash_bytes(void const*, size_t, size_t)
FARM_MODULE = "farmhash"  # of pyfarmhash; the package cityhash has another module of that name
# A function that gives this text another hash than the code of this package does is not used.
PROBE = bytes(range(1, 128)) * 9
PROBE_HASHES = {"MURMUR_HASH": 0xEC10E4F817884C81, "FARM_HASH": 0x4B0A6D22AF120A99}

Hash = Callable[[bytes], int]


@cache
def compiled(function: str) -> Hash | None:
    """A uint64 hash of bytes; None if the system has none. ``function`` is a word of FUNCTIONS."""
    find = {"MURMUR_HASH": _murmur, "FARM_HASH": _farm}[function]
    try:
        hash_bytes = find()
    except (ImportError, OSError, AttributeError):
        return None
    return hash_bytes if hash_bytes(PROBE) == PROBE_HASHES[function] else None


def _murmur() -> Hash:
    hash_bytes = ctypes.CDLL(MURMUR_LIBRARY)[MURMUR_SYMBOL]
    hash_bytes.restype = ctypes.c_uint64
    hash_bytes.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t)
    return lambda text: hash_bytes(text, len(text), SEED)


def _farm() -> Hash:
    return importlib.import_module(FARM_MODULE).fingerprint64
