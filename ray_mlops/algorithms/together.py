"""What the workers of a torch fit tell one another; on one worker each of these gives back what it is given."""

import torch
import torch.distributed as group
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ray_mlops.contract import Worker


def added(values: Tensor, worker: Worker) -> Tensor:
    """The element-wise sum over all workers, the same on each of them; it takes the place of `values`."""
    if worker.size > 1:
        group.all_reduce(values)
    return values


def total(values: Tensor, worker: Worker) -> list[float]:
    """The same as numbers, which waits for the device."""
    return added(values, worker).tolist()


def most(number: float, worker: Worker) -> float:
    """The largest of the workers' numbers."""
    if worker.size == 1:
        return number
    values = torch.tensor([number], dtype=torch.float64, device=worker.device)
    group.all_reduce(values, op=group.ReduceOp.MAX)
    return values.item()


def joined(network: nn.Module, worker: Worker) -> nn.Module:
    """The network as one that starts alike on all workers and averages its gradients over them."""
    if worker.size == 1:
        return network
    # Running statistics stay with their worker while it trains, which does not use them: see `share_buffers`.
    return DistributedDataParallel(network, broadcast_buffers=False, gradient_as_bucket_view=True)


def share_buffers(network: nn.Module, worker: Worker, *, rows: int) -> None:
    """Give every worker the running statistics of the one that has learnt from the most rows; `rows` are one's own."""
    if worker.size > 1:
        leading = rows == most(rows, worker)
        source = int(most(worker.rank if leading else -1, worker))
        for buffer in network.buffers():
            group.broadcast(buffer, src=source)
