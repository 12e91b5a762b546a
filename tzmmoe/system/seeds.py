"""Seeds that depend on another seed and a name alone."""

import hashlib

import torch


def generator_of(seed: int, name: str) -> torch.Generator:
    """Random numbers that depend on the seed and a name alone."""
    return torch.Generator().manual_seed(seed_of(seed, name))


def seed_of(seed: int, name: str) -> int:
    """A seed that depends on another one and a name."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
