"""Factorization machine."""

from torch import Tensor


def factorization_machine(weights_BNT: Tensor, latents_BNK: Tensor) -> Tensor:
    """Logits (B, T): sum_i w_i + (|sum_i v_i|^2 - sum_i |v_i|^2) / 2, over N fields.

    The weight and latent vector of a field are those of its category, or, for a number, learned
    ones times the number.
    Rendle, "Factorization Machines", ICDM 2010, eq. 1 without the global bias, by lemma 3.1.
    """
    whole_BK = latents_BNK.sum(dim=1)
    pairs_B = (whole_BK.square() - latents_BNK.square().sum(dim=1)).sum(dim=1) / 2
    return weights_BNT.sum(dim=1) + pairs_B.unsqueeze(1)
