"""A training set of a few seconds, made of the bundled clips, and teachers.

One is an ONNX file of two matrices; the others tiny WavLMs with random weights, saved in the
formats in which the real ones are published. Their names are written here a second time, from the
published code of each format, and not taken from what the project reads them with.
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch
import yaml
from onnx import TensorProto, helper, numpy_helper

from streamsv.config import to_mapping
from streamsv.evaluation.sets import STREAM_COLUMNS, TRIAL_COLUMNS
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


@pytest.fixture
def by_two_processes(tmp_path):
    """Train a configuration by two processes over gloo; returns the finished launcher."""

    def train_by_two(config: TrainConfig) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "two.yaml"
        file.write_text(yaml.safe_dump(to_mapping(config)))
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        return subprocess.run(
            [sys.executable, *launcher, "-m", "training", "train", str(file)],
            cwd=Path(__file__).resolve().parents[2],
            check=True,
            timeout=300,
            capture_output=True,
            text=True,
        )

    return train_by_two


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


CONV = [(12, 10, 5)] + [(12, 3, 2)] * 4 + [(12, 2, 2)] * 2
DIM, LAYERS, HEADS, HIDDEN, BUCKETS, DISTANCE = 32, 3, 4, 40, 16, 32


def random_wavlm(large: bool):
    """torchaudio's network, every weight random, norms and biases too."""
    try:
        from torchaudio.models import wavlm_model
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"torchaudio does not go with this torch: {error}")
    network = wavlm_model(
        "layer_norm" if large else "group_norm",
        CONV,
        large,
        DIM,
        0.1,
        16,
        4,
        LAYERS,
        HEADS,
        BUCKETS,
        DISTANCE,
        0.1,
        HIDDEN,
        0.0,
        0.1,
        large,
        0.05,
        None,
    )
    generator = torch.Generator().manual_seed(int(large))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return network.eval()


def fairseq_names(network, large: bool):
    """The weights in Microsoft's names, with the mask embedding that pre-training leaves."""
    state = network.state_dict()
    saved = {"mask_emb": torch.zeros(DIM)}
    for i in range(len(CONV)):
        ours = f"feature_extractor.conv_layers.{i}"
        saved[f"{ours}.0.weight"] = state[f"{ours}.conv.weight"]
        if large:
            saved[f"{ours}.0.bias"] = state[f"{ours}.conv.bias"]
        for kind in ("weight", "bias") if large or i == 0 else ():
            inner = "2.1" if large else "2"
            saved[f"{ours}.{inner}.{kind}"] = state[f"{ours}.layer_norm.{kind}"]
    for kind in ("weight", "bias"):
        projection = "encoder.feature_projection"
        saved[f"layer_norm.{kind}"] = state[f"{projection}.layer_norm.{kind}"]
        saved[f"post_extract_proj.{kind}"] = state[f"{projection}.projection.{kind}"]
        saved[f"encoder.layer_norm.{kind}"] = state[f"encoder.transformer.layer_norm.{kind}"]
    position = "encoder.transformer.pos_conv_embed.conv"
    saved["encoder.pos_conv.0.bias"] = state[f"{position}.bias"]
    saved["encoder.pos_conv.0.weight_g"] = state[f"{position}.parametrizations.weight.original0"]
    saved["encoder.pos_conv.0.weight_v"] = state[f"{position}.parametrizations.weight.original1"]
    for i in range(LAYERS):
        ours, theirs = f"encoder.transformer.layers.{i}", f"encoder.layers.{i}"
        attention = f"{ours}.attention"
        saved[f"{theirs}.self_attn.grep_a"] = state[f"{attention}.gru_rel_pos_const"]
        if i == 0:
            bias = state[f"{attention}.rel_attn_embed.weight"]
            saved[f"{theirs}.self_attn.relative_attention_bias.weight"] = bias
        for kind in ("weight", "bias"):
            q, k, v = state[f"{attention}.attention.in_proj_{kind}"].chunk(3)
            saved[f"{theirs}.self_attn.q_proj.{kind}"] = q.clone()
            saved[f"{theirs}.self_attn.k_proj.{kind}"] = k.clone()
            saved[f"{theirs}.self_attn.v_proj.{kind}"] = v.clone()
            out = state[f"{attention}.attention.out_proj.{kind}"]
            saved[f"{theirs}.self_attn.out_proj.{kind}"] = out
            gate = state[f"{attention}.gru_rel_pos_linear.{kind}"]
            saved[f"{theirs}.self_attn.grep_linear.{kind}"] = gate
            saved[f"{theirs}.self_attn_layer_norm.{kind}"] = state[f"{ours}.layer_norm.{kind}"]
            saved[f"{theirs}.final_layer_norm.{kind}"] = state[f"{ours}.final_layer_norm.{kind}"]
            inward = state[f"{ours}.feed_forward.intermediate_dense.{kind}"]
            saved[f"{theirs}.fc1.{kind}"] = inward
            saved[f"{theirs}.fc2.{kind}"] = state[f"{ours}.feed_forward.output_dense.{kind}"]
    return saved


def save_microsoft(network, path, large: bool) -> None:
    cfg = {
        "extractor_mode": "layer_norm" if large else "default",
        "encoder_layers": LAYERS,
        "encoder_embed_dim": DIM,
        "encoder_ffn_embed_dim": HIDDEN,
        "encoder_attention_heads": HEADS,
        "activation_fn": "gelu",
        "layer_norm_first": large,
        "conv_feature_layers": "[(12,10,5)] + [(12,3,2)] * 4 + [(12,2,2)] * 2",
        "conv_bias": large,
        "normalize": large,
        "dropout": 0.1,
        "conv_pos": 16,
        "conv_pos_groups": 4,
        "relative_position_embedding": True,
        "num_buckets": BUCKETS,
        "max_distance": DISTANCE,
        "gru_rel_pos": True,
    }
    torch.save({"cfg": cfg, "model": fairseq_names(network, large)}, path)


def save_hugging_face(network, folder, large: bool, form: str) -> None:
    """``form`` is the file of weights; the older names of weight norm go with the older file."""
    folder.mkdir()
    config = {
        "model_type": "wavlm",
        "feat_extract_norm": "layer" if large else "group",
        "conv_dim": [c for c, _, _ in CONV],
        "conv_kernel": [k for _, k, _ in CONV],
        "conv_stride": [s for _, _, s in CONV],
        "conv_bias": large,
        "hidden_size": DIM,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": HIDDEN,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "num_buckets": BUCKETS,
        "max_bucket_distance": DISTANCE,
        "do_stable_layer_norm": large,
    }
    (folder / "config.json").write_text(json.dumps(config))
    saved = {"masked_spec_embed": torch.zeros(DIM)}
    for name, tensor in network.state_dict().items():
        theirs = name.replace("encoder.transformer.", "encoder.")
        theirs = theirs.replace("encoder.feature_projection.", "feature_projection.")
        if "in_proj_" in theirs:
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                target = re.sub(
                    r"attention\.attention\.in_proj_", f"attention.{part}_proj.", theirs
                )
                saved[target] = piece.clone()
            continue
        theirs = theirs.replace("attention.attention.out_proj", "attention.out_proj")
        if form == "pytorch_model.bin":
            theirs = theirs.replace("parametrizations.weight.original0", "weight_g")
            theirs = theirs.replace("parametrizations.weight.original1", "weight_v")
        saved[theirs] = tensor.clone()
    if form == "model.safetensors":
        from safetensors.torch import save_file

        save_file(saved, folder / form)
    else:
        headed = {f"wavlm.{name}": tensor for name, tensor in saved.items()}
        torch.save(headed | {"projector.weight": torch.zeros(2, 2)}, folder / form)


@pytest.fixture
def save_wavlm(tmp_path):
    """``save_wavlm(form, large)`` -> the network and where it was saved in this form."""

    def save(form: str, large: bool):
        network = random_wavlm(large)
        if form == "microsoft":
            path = tmp_path / "any name"
            save_microsoft(network, path, large)
        else:
            path = tmp_path / "folder"
            save_hugging_face(network, path, large, form)
        return network, path

    return save


@pytest.fixture(scope="session")
def bundled_set(tmp_path_factory) -> Path:
    """An evaluation set of the bundled clips: each of three people, enrolled and tested."""
    folder = tmp_path_factory.mktemp("sets") / "bundled"
    folder.mkdir()
    clips = files("streamsv") / "clips"
    streams = ["\t".join(STREAM_COLUMNS)]
    for voice, clip in (("a", "voice_a_call"), ("b", "voice_b_call"), ("c", "voice_c_call")):
        pcm, rate = soundfile.read(str(clips / f"{clip}.opus"), dtype="float32")
        for part, start in (("e", 0), ("t", 4)):
            cut = pcm[start * rate : (start + 4) * rate]
            soundfile.write(folder / f"{voice}{part}.wav", cut, rate)
            row = [voice + part, f"{voice}{part}.wav", voice, part, str(rate), "4", "", "wideband"]
            streams.append("\t".join(row))
    trials = ["\t".join(TRIAL_COLUMNS)] + [
        f"{enrolled}e\t{tested}t\t{int(enrolled == tested)}"
        for enrolled in "abc"
        for tested in "abc"
    ]
    (folder / "streams.tsv").write_text("\n".join(streams) + "\n")
    (folder / "trials.tsv").write_text("\n".join(trials) + "\n")
    return folder
