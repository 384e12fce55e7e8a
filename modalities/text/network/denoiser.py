"""The denoiser of tokens: a posterior over the vocabulary at each place, whose mean is x_hat."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from modalities.text.data.grammar import Grammar
from modalities.text.data.tokens import EOS, PAD, SEP
from modalities.text.network.transformer import NOISE_FEATURES, TokenNet
from toolkit.diffusion.denoiser import LOG_SNR_CLIP, Cond, Denoiser
from toolkit.diffusion.schedule import Schedule, beside, expand

GATE_GAIN = 100.0
"""Factor of the gate, so that it opens within some hundred steps of the optimiser."""
HALF_RESOLVED = 0.2
"""Noise level, in norms, at which a token is half resolved: 64 equally likely ones leave 0.1 nats; at 0.35, 1.4."""
RESOLVED_WEIGHT = 0.015
"""Loss weight of a token that the noise already resolves; an open one has 1."""
MIDDLE = 0.45
"""Noise level, in norms, at which context is taken to decide most until training has measured it."""
MIN_LOG_LIKELIHOOD = -30.0
"""Least log-likelihood of a token given x_t at its place alone, relative to the likeliest token."""


class TokenDenoiser(Denoiser):
    """x = E[tokens], (B, d, L): rows of a learned table, all of norm sqrt(d) (Dieleman et al. 2022, section 3).

    logits = net + gate z.E alpha / sigma^2, x_hat = softmax(logits) E, and the loss is the cross-entropy of the
    tokens, so that embeddings cannot fall together. z.E alpha / sigma^2 is the log-likelihood of each token given x_t
    at its place alone (Gulrajani and Hashimoto 2023, "Plaid", output prior); the gate is learned and, like the
    network's head, starts at 0, so the first loss is log(V - 1): padding is never predicted.

    Data: (B, L) int64, 0 where there is padding. cond, all optional:
    mask      (B, 1, L) float, 0 at padding: x_hat is 0 there, and nothing counts
    given     (B, 1, L) float, 1 at given tokens: x_hat is exactly the token's embedding, and nothing counts
    tokens    (B, 1, L) int64: the given tokens; in training, the data itself
    estimate  (B, d, L): an earlier x_hat (Chen et al. 2023, "Analog Bits", self-conditioning)
    scale     (B, 1, L) float: factors of the embeddings, x = scale E[tokens], 1 by default; a token's own noise level
              is that of the example divided by its scale (modalities/text/network/token_noise.py)
    temperature (B,): of the posterior, 1 in training
    endless   (B,), values unused: no end of an item is predicted
    position  (B,) int64 on the CPU: positions in the global batch, in training; 0, 1, ... by default
    """

    net: TokenNet
    self_conditioning = True

    def __init__(
        self,
        net: TokenNet,
        schedule: Schedule,
        recall: float = 0.25,
        lowest: float = 0.1,
        highest: float = 10.0,
        spread: float = 0.0,
        grammar: Grammar | None = None,
    ) -> None:
        """`recall`: share of a batch conditioned on an own estimate in training; 0: no self-conditioning.

        `lowest`, `highest`: range of the network's noise inputs, in norms of an embedding; given tokens have the
        lowest. `spread`: log of the largest `scale`. `grammar`: which rows of tokens are text. Raises ValueError.
        """
        super().__init__()
        if not 0 <= recall <= 1:
            raise ValueError(f"recall is a share in [0, 1], got {recall}")
        if not 0 < lowest < highest:
            raise ValueError(f"noise levels are positive and rise, got {lowest:g} to {highest:g}")
        self.net, self.schedule, self.recall = net, schedule, recall
        self.lowest, self.highest, self.spread, self.grammar = lowest, highest, spread, grammar
        self.self_conditioning = recall > 0

    @property
    def noise_range(self) -> tuple[float, float, float]:
        """(lowest, middle, highest) sigma / alpha: an embedding has norm sqrt(dims), times a scale if there are."""
        norm, widest = math.sqrt(self.net.dims), math.exp(self.spread)
        return self.lowest * norm / widest, MIDDLE * norm, self.highest * norm * widest

    @property
    def table(self) -> Tensor:
        """Embeddings, (V, d), each of norm sqrt(d), so that x has unit variance."""
        return functional.normalize(self.net.embedding.weight.float(), dim=1) * math.sqrt(self.net.dims)

    def space(self, shape: Sequence[int]) -> tuple[int, ...]:
        return (self.net.dims, shape[-1])

    def embed(self, data: Tensor, cond: Cond | None = None) -> Tensor:
        x = functional.embedding(data, self.table).transpose(1, 2) * (data != 0)[:, None]
        return x * cond["scale"] if cond and "scale" in cond else x

    @torch.no_grad()
    def unembed(self, x: Tensor, cond: Cond | None = None) -> Tensor:
        """Return the tokens whose embeddings are nearest, (B, L) int64; 0, padding, where x is exactly 0.

        Given tokens are as given. Where the nearest tokens are no text by `grammar`, the nearest ones that are.
        """
        cond, there = cond or {}, (x != 0).any(1)
        scores = (x / cond["scale"] if "scale" in cond else x).float().transpose(1, 2) @ self.table.T
        scores[..., [PAD, EOS, SEP] if "endless" in cond else [PAD]] = -math.inf
        tokens, told = scores.argmax(-1) * there, ~there
        if "given" in cond:
            given = cond["given"][:, 0] > 0
            tokens, told = torch.where(given, cond["tokens"][:, 0], tokens), told | given
        if self.grammar is None:
            return tokens
        wrong = torch.from_numpy(~self.grammar.valid(tokens.cpu().numpy(), told.cpu().numpy()))
        for row in wrong.nonzero()[:, 0].tolist():
            one = [part[row : row + 1].cpu().numpy() for part in (scores, tokens, told)]
            tokens[row] = torch.from_numpy(self.grammar.nearest(*one)[0]).to(tokens)
        return tokens

    def conditions(self, data: Tensor, cond: Cond) -> dict[str, Tensor]:
        """Return `cond` with the tokens of texts that are known, of which `given` says which the network sees."""
        return {**cond, "tokens": data[:, None]}

    def logits(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        """Return the log of the posterior over the vocabulary, up to a constant: (B, L, V) float32."""
        cond = cond or {}
        t = beside(t, x_t).expand(len(x_t))
        table = self.table
        scale = cond["scale"].float() if "scale" in cond else torch.ones_like(x_t[:, :1], dtype=torch.float32)
        alpha, sigma = (expand(value, x_t).float() for value in self.schedule(t))
        x_t, alpha, sigma, given = self._with_given(x_t / scale, alpha, sigma / scale, cond, table)
        log_likelihood = x_t.float().transpose(1, 2) @ table.T * (alpha / sigma**2).transpose(1, 2)
        log_likelihood = (log_likelihood - log_likelihood.amax(-1, keepdim=True)).clamp(min=MIN_LOG_LIKELIHOOD)
        estimate = cond.get("estimate")
        features = torch.cat(
            [
                (alpha**2 + sigma**2).rsqrt().to(x_t) * x_t,
                self._bumps(sigma / alpha).to(x_t),
                self.net.dims**0.5 * log_likelihood.softmax(-1).transpose(1, 2),
                torch.zeros_like(x_t) if estimate is None else estimate.to(x_t) / scale.to(x_t),
                given,
            ],
            dim=1,
        )
        if "mask" in cond:
            features = features * cond["mask"]
        c_noise = -self.schedule.log_snr(t).clamp(-LOG_SNR_CLIP, LOG_SNR_CLIP) / 8
        # its gradient is not multiplied: it would be most of the norm by which all gradients are clipped
        gate = self.net.gate + (GATE_GAIN - 1) * self.net.gate.detach()
        logits = self.net(features, c_noise.to(x_t), cond).float() + gate * log_likelihood
        # the temperature does not weaken this
        never = torch.tensor([PAD, EOS] if "endless" in cond else [PAD], device=logits.device)
        logits = logits.index_fill(-1, never, -1e4)
        return logits / cond["temperature"].to(logits)[:, None, None] if "temperature" in cond else logits

    def forward(self, x_t: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        cond = cond or {}
        table = self.table
        x_hat = (self.logits(x_t, t, cond).softmax(-1) @ table).transpose(1, 2).to(x_t)
        if "given" in cond:
            x_hat = torch.where(
                cond["given"] > 0, functional.embedding(cond["tokens"][:, 0], table).transpose(1, 2), x_hat
            )
        if "scale" in cond:
            x_hat = x_hat * cond["scale"].to(x_hat)
        return x_hat * cond["mask"] if "mask" in cond else x_hat

    def loss(self, x: Tensor, t: Tensor, eps: Tensor, cond: Cond | None = None) -> Tensor:
        """Return the mean cross-entropy, in nats, of the tokens x (B, L) that are neither padding nor given: (B,).

        Where tokens have noise levels of their own, the mean is over those that their noise leaves open. So the last
        few open tokens of a text count as much as the first few, as in the bound (for masks: Sahoo et al. 2024, eq.
        10, where a text of which a share t is masked counts 1 / t).
        """
        cond = self.conditions(x, cond or {})
        embedded = self.embed(x, cond)
        alpha, sigma = self.schedule(t)
        x_t = expand(alpha, embedded) * embedded + expand(sigma, embedded) * eps
        if self.self_conditioning and self.training:
            cond["estimate"] = self._estimates(x_t.detach(), t, cond)
        nats = functional.cross_entropy(self.logits(x_t, t, cond).transpose(1, 2), x, reduction="none")
        weight = self.target_mask(x, cond) * self._open(t, cond)
        return (nats * weight).sum(1) / weight.sum(1).clamp(min=RESOLVED_WEIGHT)

    def uncertainty(self, loss: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        """Return the mean cross-entropy of all tokens that are not given, (B,): those that are resolved add nothing."""
        cond = cond or {}
        weight = self._open(t, cond)
        targets = self.target_mask(cond["mask"][:, 0] if "mask" in cond else torch.ones_like(weight), cond)
        share = (weight * targets).sum(1) / targets.sum(1).clamp(min=1)
        return loss * (share / weight.amax(1)).to(loss)

    def target_mask(self, tokens: Tensor, cond: Cond) -> Tensor:
        """Return 1 where a token is to be predicted, else 0: (B, L) float32."""
        targets = (tokens != 0).float()
        return targets * (1 - cond["given"].flatten(1).float()) if "given" in cond else targets

    def _open(self, t: Tensor, cond: Cond) -> Tensor:
        """Return the loss weight of each token, RESOLVED_WEIGHT to 1, (B, L); (B, 1) where all have one noise level."""
        level = (-self.schedule.log_snr(t) / 2 - math.log(HALF_RESOLVED * math.sqrt(self.net.dims)))[:, None]
        if "scale" in cond:
            level = level - cond["scale"][:, 0].to(level).log()
        return RESOLVED_WEIGHT + (1 - RESOLVED_WEIGHT) * (4 * level.float()).sigmoid()

    def _estimates(self, x_t: Tensor, t: Tensor, cond: Cond) -> Tensor:
        """Return own estimates (B, d, L) for a share `recall` of the global batch, evenly spaced, 0 for the others.

        Times are spread evenly over a batch, and so over these examples too.
        """
        places = cond["position"].tolist() if "position" in cond else range(len(x_t))
        rows = [i for i, p in enumerate(places) if math.floor(p * self.recall) > math.floor((p - 1) * self.recall)]
        if not rows:
            return torch.zeros_like(x_t)
        row_cond = {name: value[rows] for name, value in cond.items()}
        whole = torch.zeros_like(x_t)
        with torch.no_grad():
            whole[rows] = self(x_t[rows], t[rows], row_cond).to(whole)
        return whole

    def _bumps(self, ratio: Tensor) -> Tensor:
        """Return how near noise ratios (B, 1, L) are, in log, to levels at equal distances: (B, NOISE_FEATURES, L)."""
        place = torch.linspace(-1, 1, NOISE_FEATURES, device=ratio.device)[:, None]
        least = self.lowest * math.sqrt(self.net.dims)
        level = 2 * (ratio / least).log() / math.log(self.highest / self.lowest) - 1
        return (-((level - place) * NOISE_FEATURES / 2).square()).exp()

    def _with_given(
        self, x_t: Tensor, alpha: Tensor, sigma: Tensor, cond: Cond, table: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return x_t, alpha and sigma with given tokens in place at the lowest noise, and where these are, (B, 1, L).

        Their noise is the same at all times: the more there is elsewhere, the more the given tokens decide.
        """
        if "given" not in cond:
            return x_t, alpha, sigma, torch.zeros_like(x_t[:, :1])
        embedded = functional.embedding(cond["tokens"][:, 0], table).transpose(1, 2).to(x_t)
        given = cond["given"] > 0
        lowest = self.lowest * math.sqrt(self.net.dims)
        return (
            torch.where(given, embedded, x_t),
            torch.where(given, 1.0, alpha),
            torch.where(given, lowest, sigma),
            cond["given"].to(x_t),
        )
