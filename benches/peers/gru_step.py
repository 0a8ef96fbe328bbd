"""A training step of GRU(32 -> 64), sequence 32, batch 64, in PyTorch on one thread: what learner/examples/gru_step.rs
does, from the same weights on the same inputs. Started by compare_gru.sh.

A step is: the recurrence over the whole batch from states of zero, the mean square of (states - targets) over the states
after rows 1 to 31, its gradient along every weight, and one step of Adam. Making the inputs is not part of it.

    gru_step.py STEPS            for each line on standard input: STEPS steps, and the median of a step in ms
    gru_step.py --losses STEPS   the loss of each step, with the second biases of reset and update held at zero, which the
                                 other side does not have; then the sum of the squares of the first gradient
"""

import statistics
import sys
import time

import torch

INPUTS, WIDTH, TIMES, CHUNKS = 32, 64, 32, 64
RATE = 3e-3


def values(count, seed, bound):
    """Numbers between -bound and bound, the same as on the other side."""
    at = torch.arange(count, dtype=torch.int64)
    return (((at * 7_919 + seed * 104_729) % 100_003).double() / 100_003 * 2 - 1).mul(bound).float()


def network():
    gru = torch.nn.GRU(INPUTS, WIDTH)
    with torch.no_grad():
        gru.weight_ih_l0.copy_(values(INPUTS * 3 * WIDTH, 1, 0.125).view(INPUTS, 3 * WIDTH).T)
        gru.weight_hh_l0.copy_(values(WIDTH * 3 * WIDTH, 2, 0.125).view(WIDTH, 3 * WIDTH).T)
        gru.bias_ih_l0.copy_(values(3 * WIDTH, 3, 0.125))
        gru.bias_hh_l0.zero_()
        gru.bias_hh_l0[2 * WIDTH :] = values(WIDTH, 4, 0.125)
    return gru


def step(gru, adam, inputs, targets, held=None):
    adam.zero_grad(set_to_none=True)
    states, _ = gru(inputs)
    loss = torch.nn.functional.mse_loss(states[:-1], targets)
    loss.backward()
    if held is not None:
        gru.bias_hh_l0.grad[:held] = 0
    adam.step()
    return loss


def main():
    torch.set_num_threads(1)
    is_check = sys.argv[1] == "--losses"
    steps = int(sys.argv[-1])
    gru = network()
    # Of its three forms none is quicker than the others by more than processes differ from each other.
    adam = torch.optim.Adam(gru.parameters(), lr=RATE, fused=True)
    inputs = values(TIMES * CHUNKS * INPUTS, 5, 1.0).view(TIMES, CHUNKS, INPUTS)
    targets = values(TIMES * CHUNKS * WIDTH, 6, 0.5).view(TIMES, CHUNKS, WIDTH)[1:]
    if is_check:
        for number in range(steps):
            loss = step(gru, adam, inputs, targets, held=2 * WIDTH)
            print(f"loss: {loss.item():.7f}")
            if number == 0:
                squares = sum(weights.grad.double().square().sum() for weights in gru.parameters())
                print(f"squares: {squares.item():.6e}")
        return
    for _ in range(10):
        step(gru, adam, inputs, targets)
    print(f"ready: PyTorch {torch.__version__}", flush=True)
    for _ in sys.stdin:
        times_ms = []
        for _ in range(steps):
            start = time.perf_counter()
            step(gru, adam, inputs, targets)
            times_ms.append((time.perf_counter() - start) * 1_000)
        print(f"turn: {statistics.median(times_ms):.4f}", flush=True)


main()
