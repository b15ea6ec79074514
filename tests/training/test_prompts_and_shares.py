"""Gradients through a share of a model, and through the tokens of a prompt, against differences."""

import torch

from mergebarrier.training import examples_loss, loss_at_share, prompt_losses, prompt_slopes
from mergebarrier.training.lora import Example
from tiny_models import build

ROW = Example((3, 5, 7), (9, 11))


def test_a_share_scales_the_gradient_and_a_share_of_one_is_the_model() -> None:
    module = build("llama-gqa-untied")
    base = {name: one.detach() + 0.01 for name, one in module.named_parameters()}
    name, weight = next((n, p) for n, p in module.named_parameters() if "gate" in n)

    def loss(share: float) -> torch.Tensor:
        return loss_at_share(module, base, share, lambda inner: examples_loss(inner, [ROW]))

    (slope,) = torch.autograd.grad(loss(0.3), weight)
    place = slope.abs().argmax()
    with torch.no_grad():
        before = loss(0.3)
        weight.view(-1)[place] += 1e-2
        difference = (loss(0.3) - before) / 1e-2
    assert torch.isclose(difference, slope.view(-1)[place], rtol=0.1)
    assert torch.equal(loss(1.0), examples_loss(module, [ROW]))
    with torch.no_grad():
        for other, one in module.named_parameters():
            one.copy_(base[other].lerp(one, 0.3))
        assert torch.isclose(examples_loss(module, [ROW]), loss(1.0)), name


def test_a_prompt_loss_is_that_of_its_examples_and_slopes_find_what_lowers_it() -> None:
    module = build("llama-gqa-untied")
    prompts, answers = torch.tensor([[3, 5, 7], [2, 4, 6]]), torch.tensor([[9, 11], [8, 1]])
    losses = prompt_losses(module, prompts, answers)
    each = [
        examples_loss(module, [Example(tuple(p.tolist()), tuple(a.tolist()))])
        for p, a in zip(prompts, answers, strict=True)
    ]
    assert torch.allclose(losses, torch.stack(each), atol=1e-5)
    words = torch.arange(20, 60)
    slopes = prompt_slopes(module, prompts, answers, words)
    assert slopes.shape == (2, 3, 40)
    tried = prompts[:1, None].repeat(1, 40, 1)
    tried[0, :, 1] = words
    real = prompt_losses(module, tried[0], answers[:1].expand(40, -1))
    assert torch.corrcoef(torch.stack([real, slopes[0, 1]]))[0, 1] > 0.3
