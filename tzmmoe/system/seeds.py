"""Seeds derived from another seed and a name."""

import hashlib

import torch


def generator_of(seed: int, name: str) -> torch.Generator:
    """A generator that depends on nothing but the seed and the name."""
    return torch.Generator().manual_seed(seed_of(seed, name))


def seed_of(seed: int, name: str) -> int:
    """A seed in [0, 2**63) that depends on nothing but another seed and the name."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # torch takes signed 64-bit seeds
