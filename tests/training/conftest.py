"""A training set of a few seconds, made of the bundled clips, and a teacher of two matrices."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch
from onnx import TensorProto, helper, numpy_helper

from streamsv.nn.config import ModelConfig
from training.config import DataConfig, OptimizerConfig, TeacherConfig, TrainConfig
from training.prepare import prepare
from training.teachers import OnnxTeacher

FEATURES, DIMENSION = 24, 16


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_teacher(path: Path) -> None:
    """Pairs of frames through one matrix are ``frames``, their mean through another the rest."""
    generator = np.random.default_rng(0)

    def weights(name, *shape):
        return numpy_helper.from_array(generator.normal(0, 0.1, shape).astype(np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["feats", "w"], ["projected"]),
            helper.make_node("Transpose", ["projected"], ["channels"], perm=[0, 2, 1]),
            helper.make_node(
                "AveragePool", ["channels"], ["halved"], kernel_shape=[2], strides=[2]
            ),
            helper.make_node("Transpose", ["halved"], ["frames"], perm=[0, 2, 1]),
            helper.make_node("Abs", ["feats"], ["loud"]),
            helper.make_node("ReduceMean", ["loud"], ["mean"], axes=[1], keepdims=0),
            helper.make_node("MatMul", ["mean", "v"], ["embedding"]),
        ],
        "teacher",
        [helper.make_tensor_value_info("feats", TensorProto.FLOAT, ["b", "t", 80])],
        [
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["b", DIMENSION]),
            helper.make_tensor_value_info("frames", TensorProto.FLOAT, ["b", "h", FEATURES]),
        ],
        [weights("w", 80, FEATURES), weights("v", 80, DIMENSION)],
    )
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory) -> TrainConfig:
    """A configuration whose data lie in a temporary folder, the cache already filled."""
    folder = tmp_path_factory.mktemp("training")
    package = Path(__file__).resolve().parents[2] / "streamsv"
    rows = ["path\tsource\tspeaker\tsession\tsample_rate_origin\tseconds"]
    for voice in "abc":
        pcm, rate = soundfile.read(package / "clips" / f"voice_{voice}_call.opus", dtype="float32")
        for part in range(2):
            cut = pcm[part * 4 * rate : (part + 1) * 4 * rate]
            soundfile.write(folder / f"{voice}{part}.wav", cut, rate)
            origin = 8000 if voice == "c" else 16000
            rows.append(f"{voice}{part}.wav\tbooks\t{voice}\ts{part}\t{origin}\t4.0")
    (folder / "train.tsv").write_text("\n".join(rows) + "\n")
    generator = np.random.default_rng(1)
    soundfile.write(folder / "noise.wav", generator.normal(0, 0.1, 16000), 16000)
    room = np.exp(-np.arange(4000) / 600) * generator.normal(0, 1, 4000)
    soundfile.write(folder / "room.wav", room / np.abs(room).max(), 16000)
    (folder / "noise.tsv").write_text("path\tkind\nnoise.wav\tnoise\nroom.wav\troom\n")
    write_teacher(folder / "teacher.onnx")
    config = TrainConfig(
        name="tiny",
        run_dir=str(folder / "runs"),
        threads=1,
        compile=False,
        checkpoint_every=100,
        log_every=2,
        model=ModelConfig(
            dim=32,
            depth=2,
            summary_dim=8,
            channel_hidden=16,
            half_rate_hidden=8,
            group_groups=32,
            pooling_dim=FEATURES,
            attention_dim=8,
            embedding=DIMENSION,
        ),
        data=DataConfig(
            clips=str(folder / "train.tsv"),
            sounds=str(folder / "noise.tsv"),
            cache=str(folder / "cache"),
            speeds=(1.0, 0.9),
        ),
        teacher=TeacherConfig(path=str(folder / "teacher.onnx")),
        optimizer=OptimizerConfig(
            steps=6, warmup=2, shapes=((4, 12), (2, 20)), shape_shares=(0.5, 0.5)
        ),
    )
    teacher = OnnxTeacher(Path(config.teacher.path))
    prepare(Path(config.data.clips), teacher, Path(config.data.cache), config.data.speeds)
    return config


@pytest.fixture
def run_config(tiny_config, tmp_path) -> TrainConfig:
    """The tiny configuration with a run folder of its own."""
    return dataclasses.replace(tiny_config, run_dir=str(tmp_path))
