"""How a prior says several tokens of one place: its blocks look around once, a small net speaks the codes in turn.

Three codes a patch, laid side by side, make a sequence three times as long, and attention looks at each of them as if
it stood alone. Here the blocks read the codes of a place as one sum and are asked once for the next place; what they
answer is enough for its first code, and each code that is said joins the answer before the next is asked for.

Source: D. Lee et al., "Autoregressive image generation using residual quantization" (2022, arXiv 2203.01941), which has
a second transformer where this has a perceptron.
"""

import torch
import torch.nn.functional as F
from torch import nn


class Speaker(nn.Module):
    """From what the blocks say of a place, `(..., width)`, to what the head reads for each of its codes."""

    def __init__(self, vocabulary: int, width: int, codebooks: int):
        super().__init__()
        self.vocabulary, self.codebooks = vocabulary, codebooks
        self.said = nn.Embedding(vocabulary * (codebooks - 1), width)
        self.mlp_norm = nn.RMSNorm(width, eps=1e-5)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """All codes at once, teacher-forced: `(B, P, width)` and tokens `(B, P, c)` to `(B, P, c, width)`.

        Code b of a place is asked for with the codes before it; what it is itself changes nothing.
        """
        said = self.said(numbered(tokens[..., :-1], self.vocabulary)).cumsum(dim=2)
        heard = hidden[:, :, None] + F.pad(said, (0, 0, 1, 0))
        return self.speak(heard)

    def speak(self, heard: torch.Tensor) -> torch.Tensor:
        """The perceptron on what the blocks said plus the codes that were said: `(..., width)` to the same."""
        return heard + self.down(F.gelu(self.up(self.mlp_norm(heard))))


def numbered(tokens: torch.Tensor, vocabulary: int, first: int = 0) -> torch.Tensor:
    """Codes `(..., n)` of codebooks `first`, `first + 1`, … as rows of one table: code k of codebook b is b · V + k."""
    books = torch.arange(first, first + tokens.shape[-1], device=tokens.device)
    return tokens + books * vocabulary
