"""Batch norm over the images of all processes."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .. import distributed


def synchronise_batch_norm(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with every BatchNorm2d replaced by one that sees the batches of all processes; weights are shared.

    On GPUs that is PyTorch's own, which knows no CPU; there it is `GatheredBatchNorm2d`.
    """
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, GatheredBatchNorm2d.of(child))
    return model


class GatheredBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d that in training sums over all processes, on any device; state dict and eval mode are the same."""

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> "GatheredBatchNorm2d":
        """One with the parameters, buffers and mode of `norm`."""
        gathered = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        gathered._parameters, gathered._buffers = norm._parameters, norm._buffers
        return gathered.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and distributed.is_distributed()):
            return super().forward(x)
        values = x.to(torch.promote_types(x.dtype, torch.float32))  # half precision cannot hold the sums
        mean, variance, count = moments_over_processes(values)
        self._follow(mean.detach(), variance.detach() * count / (count - 1))
        scale = (variance + self.eps).rsqrt()
        scale = scale * self.weight if self.affine else scale
        shift = (self.bias if self.affine else 0) - mean * scale
        return (values * scale[:, None, None] + shift[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Let the running statistics follow, as BatchNorm2d does."""
        if not self.track_running_stats:
            return
        self.num_batches_tracked += 1
        momentum = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)


def moments_over_processes(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [C] and biased variance [C] of [B, C, H, W] over all processes, and how many values each is of.

    In two rounds, so that the variance is that of small differences; gradients pass through both.
    """
    dimensions = (0, 2, 3)
    local = x.new_tensor([x.numel() / x.shape[1]])
    total, count = SumOverProcesses.apply(torch.cat((x.sum(dimensions), local))).split((x.shape[1], 1))
    mean = total / count
    variance = SumOverProcesses.apply((x - mean[:, None, None]).square().sum(dimensions)) / count
    return mean, variance, count


class SumOverProcesses(torch.autograd.Function):
    """A tensor summed over all processes; as each of them uses the sum, its gradients are summed as well."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return _summed(x)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return _summed(gradient)


def _summed(x: Tensor) -> Tensor:
    total = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total
