"""The process: settings are restored after use."""

import pytest
import torch

from tzmmoe.system.runtime import flushed_denormals


def is_flushing() -> bool:
    return (torch.tensor(2.0**-126) / 4).item() == 0


@pytest.mark.parametrize("before", [False, True])
def test_denormals_are_flushed_in_the_block_and_as_before_after_it(before: bool) -> None:
    if not torch.set_flush_denormal(before):
        pytest.skip("this CPU cannot flush denormals")
    try:
        with flushed_denormals():
            assert is_flushing()
        assert is_flushing() == before
    finally:
        torch.set_flush_denormal(False)
