"""Factorization machine."""

from collections.abc import Sequence

from torch import Tensor, nn

from tzmmoe.nn.shapes import check_count, check_equal, stacked


def factorization_machine(weights_BNT: Tensor, latents_BNK: Tensor) -> Tensor:
    """Logits (B, T): sum_i w_i + (|sum_i v_i|^2 - sum_i |v_i|^2) / 2, over N fields.

    The weight and latent vector of a field are those of its category, or, for a number, learned
    ones times the number.
    Rendle, "Factorization Machines", ICDM 2010, eq. 1 without the global bias, by lemma 3.1.
    """
    pairs_B = _pairs_twice(latents_BNK).sum(dim=1) / 2
    return weights_BNT.sum(dim=1) + pairs_B.unsqueeze(1)


class FM(nn.Module):
    """The pairs of a factorization machine alone: sum_{i < j} <e_i, e_j>, over F fields.

    ``use_variant``: sum_{i < j} e_i * e_j, which keeps the width of a field.
    """

    def __init__(self, widths: Sequence[int], *, use_variant: bool) -> None:
        super().__init__()
        check_count(widths, 1, "a list of fields of one width")
        width = check_equal(widths, "FM needs fields of one width")
        self.use_variant = use_variant
        self.out_features = width if use_variant else 1

    def forward(self, fields: Tensor | Sequence[Tensor]) -> Tensor:
        """F fields (B, d) or their stack (B, F, d) -> (B, 1), or (B, d)."""
        pairs_Bd = _pairs_twice(stacked(fields)) / 2
        return pairs_Bd if self.use_variant else pairs_Bd.sum(dim=1, keepdim=True)


def _pairs_twice(latents_BNK: Tensor) -> Tensor:
    """(B, K): twice the sum of v_i * v_j over all pairs."""
    return latents_BNK.sum(dim=1).square() - latents_BNK.square().sum(dim=1)
