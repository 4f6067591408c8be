"""``streamsv calibrate``: a refit in one command."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamsv.cli.calibrate import print_use
from streamsv.evaluation.sets import STREAM_COLUMNS, TRIAL_COLUMNS
from streamsv.scoring.calibration import Calibration, Line
from streamsv.scoring.policy import DecisionConfig, TargetFar
from streamsv.scoring.rules import Boundary, StoppingRule


@pytest.fixture(scope="module")
def voices_set(clips, tmp_path_factory):
    """Six voices made of three by playing them faster; each enrolled and tested on 3 s."""
    folder = tmp_path_factory.mktemp("sets") / "voices"
    folder.mkdir()
    streams, speakers = ["\t".join(STREAM_COLUMNS)], []
    for clip in ("voice_a_call", "voice_b_call", "voice_c_call"):
        for speed in (1.0, 1.3):
            pcm = clips.pcm(clip)[: int(9 * 16_000 * speed)]
            pcm = np.interp(np.arange(0, len(pcm) - 1, speed), np.arange(len(pcm)), pcm)
            speaker = f"{clip[6]}{speed:g}".replace(".", "")
            speakers.append(speaker)
            for name, part in ((f"{speaker}e", pcm[:64_000]), (f"{speaker}t", pcm[64_000:])):
                soundfile.write(folder / f"{name}.wav", part, 16_000)
                streams.append(
                    "\t".join([name, f"{name}.wav", speaker, "s", "16000", "4", "", "wideband"])
                )
    trials = ["\t".join(TRIAL_COLUMNS)]
    trials += [f"{e}e\t{t}t\t{int(e == t)}" for e in speakers for t in speakers]
    (folder / "streams.tsv").write_text("\n".join(streams) + "\n")
    (folder / "trials.tsv").write_text("\n".join(trials) + "\n")
    return folder


def test_a_refit_is_written_and_says_what_it_supports(call, voices_set, tmp_path):
    out = tmp_path / "mine.json"
    said = call("calibrate", voices_set, "--as-recorded", "--output", out)
    assert said.code == 0, said.err
    calibration = Calibration.load(out)
    assert list(calibration.channels) == ["wideband"]
    assert calibration.rules == {}
    assert "Evidence before and after" in said.out
    assert "calls of 99 different strangers" in said.out
    assert "300 in a row" in said.out
    plain = said.out.replace("\n", " ")
    assert "Not ready for wideband calls: The calibration holds no decision rule" in plain
    assert f"Wrote {out}" in plain
    assert "once wideband calls are seen to as said above" in plain
    config = tmp_path / "engine.yaml"
    config.write_text(f"calibration: {out}\n")
    refused = call("verify", "nobody", voices_set / "a1e.wav", "--config", config)
    assert refused.code == 4


def boundary(target_far):
    return Boundary(target_far, (4.0,), (-4.0,))


def test_what_to_set_is_said_of_each_channel_that_would_be_refused(capsys):
    line = Line((10.0,), (-2.0,))
    rules = {
        "wideband": StoppingRule(0.24, (1.0,), 20.0, 30, (boundary(0.05), boundary(0.1))),
        "telephone": StoppingRule(0.24, (1.0,), 20.0, 30, (boundary(0.05),)),
    }
    calibration = Calibration("f", (1.0,), dict.fromkeys(rules, line), rules=rules)
    print_use(Path("mine.json"), calibration, DecisionConfig())
    said = capsys.readouterr().out.replace("\n", " ")
    assert "Not ready for wideband calls: decision.target_far.wideband is 0.02" in said
    assert "supports no rate below 0.05: ask for that or more" in said
    assert "at least 49 people" in said
    assert "telephone calls" not in said
    print_use(Path("mine.json"), calibration, DecisionConfig(target_far=TargetFar(wideband=0.05)))
    said = capsys.readouterr().out
    assert said == "Wrote mine.json; use it with `calibration: mine.json` in the configuration.\n"


def test_each_set_can_be_left_out_in_turn(call, voices_set, tmp_path):
    twin = tmp_path / "twin"
    shutil.copytree(voices_set, twin)
    out, cache = tmp_path / "mine.json", tmp_path / "tracks"
    options = ("--as-recorded", "--leave-out", "--cache", cache, "--output", out)
    said = call("calibrate", voices_set, twin, *options)
    assert said.code == 0, said.err
    assert "Each set by a fit of the others" in said.out
    assert "pooled" in said.out
    left_out = Calibration.load(out).fitted_on["left_out"]
    assert {row["set"] for row in left_out["evidence"]} == {"voices", "twin", "pooled"}


def test_recordings_are_joined_by_the_rates_of_their_files(call, voices_set, tmp_path):
    """One person's tests are of two rates, and the table says that all are of 16 kHz."""
    careless = tmp_path / "careless"
    shutil.copytree(voices_set, careless)
    pcm, _ = soundfile.read(careless / "a1t.wav")
    soundfile.write(careless / "a1narrow.wav", pcm[::2], 8_000)
    with (careless / "streams.tsv").open("a") as table:
        table.write("a1narrow\ta1narrow.wav\ta1\ts\t16000\t4\t\twideband\n")
    with (careless / "trials.tsv").open("a") as table:
        table.write("a1e\ta1narrow\t1\nb1e\ta1narrow\t0\n")
    said = call("calibrate", careless, "--talk-on", "--output", tmp_path / "mine.json")
    assert said.code == 0, said.err


def test_two_sets_of_one_name_are_refused_before_the_work(call, voices_set, tmp_path):
    twin = tmp_path / voices_set.name
    shutil.copytree(voices_set, twin)
    said = call("calibrate", voices_set, twin, "--output", tmp_path / "mine.json")
    assert said.code == 4
    assert "Two sets are named voices; rename the folder of one." in said.err.replace("\n", " ")
    assert not (tmp_path / "mine.json").exists()


def test_a_folder_that_is_not_there_is_found_out_before_the_work(call, voices_set, tmp_path):
    said = call("calibrate", voices_set, "--output", tmp_path / "no" / "mine.json")
    assert said.code == 4
    assert "give a file in a folder that exists" in said.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_what_was_found_is_said_even_if_there_is_no_room_for_the_file(call, voices_set, tmp_path):
    out = tmp_path / "mine.json"
    out.symlink_to("/dev/full")
    said = call("calibrate", voices_set, "--as-recorded", "--output", out)
    assert said.code == 4
    assert "mine.json cannot be written: No space left on device" in said.err.replace("\n", " ")
    assert "Evidence before and after" in said.out
    assert "Wrote" not in said.out


def test_too_few_people_are_a_sentence(call, voices_set, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for name in ("streams", "trials"):
        lines = (voices_set / f"{name}.tsv").read_text().splitlines()
        (few / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    rows = (few / "trials.tsv").read_text().splitlines()
    kept = [row for row in rows if row[0] in "ea" or row.startswith("enroll")]
    (few / "trials.tsv").write_text("\n".join(kept) + "\n")
    for wav in voices_set.glob("*.wav"):
        (few / wav.name).symlink_to(wav)
    said = call("calibrate", few, "--as-recorded", "--output", tmp_path / "mine.json")
    assert said.code == 4
    assert "Calibrate on more people" in said.err.replace("\n", " ")
