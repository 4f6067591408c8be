// The page: enroll yourself, then talk and watch. What a server says becomes words and pictures.

import { Chart, Meter } from "./chart.js";
import { Microphone, Recording, dbfs, s16le } from "./sound.js";
import { Client, StreamsvError } from "./streamsv.js";
import { FEEDBACK, decision, odds, seconds, when } from "./words.js";

const KEY = "streamsv.key";
const PURPOSE = "To try speaker verification on the page of this server.";
const LONGEST_ENROLLMENT_S = 120;
const LONGEST_TRY_S = 90;
const SPEECH_AFTER_VERDICT_S = 2;
const SLOWEST_FILE = 4; // times real time
const LONGEST_FILE_SHOW_S = 12;
const MOST_AHEAD_S = 10;
const MOST_CLAIMS = 4;
const MOST_CANCELLING_MS = 3000;
const SIGNS = { accept: "✓", reject: "✕", undecided: "?", listening: "…" };

const find = (id) => document.getElementById(id);
const client = new Client({ key: () => sessionStorage.getItem(KEY) });
const chart = new Chart(find("chart"));
const meters = { enroll: new Meter(find("enroll-meter")), verify: new Meter(find("verify-meter")) };

let voiceprints = [];
let chosen = null; // names of those to compare with; null: the first
let running = null; // what ends the present recording
let isEnrollOpen = false; // whether another voice is to be learned, though there is one

// -- what went wrong ------------------------------------------------------------------------------

function show(problem) {
  find("problem").hidden = problem === null;
  find("problem-text").textContent = problem ?? "";
}

function fail(error) {
  if (error.code === "cancelled") return;
  if (!(error instanceof StreamsvError)) console.error(error);
  const isKeyWrong = ["authentication", "not_allowed"].includes(error.code) && client.needsKey;
  if (isKeyWrong) askForKey();
  const sentence = error instanceof StreamsvError ? error.message : `This page failed: ${error.message}`;
  show(isKeyWrong && error.value === 401 ? "The server does not know this key. Copy it once more." : sentence);
}

find("problem-close").addEventListener("click", () => show(null));

// -- the key --------------------------------------------------------------------------------------

function askForKey() {
  sessionStorage.removeItem(KEY);
  for (const id of ["enroll-card", "verify-card"]) find(id).hidden = true;
  find("key-card").hidden = false;
  find("key").focus();
}

find("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = find("key").value.trim();
  find("key").value = "";
  if (!/^[\x21-\x7e]+$/.test(key)) {
    show("This is not a key: it holds a character that no key has. Copy it once more.");
    find("key").focus();
    return;
  }
  sessionStorage.setItem(KEY, key);
  begin();
});

// -- voiceprints ----------------------------------------------------------------------------------

async function refresh() {
  voiceprints = await client.voiceprints();
  find("key-card").hidden = true;
  find("enroll-card").hidden = false;
  find("verify-card").hidden = voiceprints.length === 0;
  isEnrollOpen = false;
  const names = voiceprints.map((each) => each.speaker);
  chosen = (chosen ?? names.slice(0, 1)).filter((name) => names.includes(name));
  if (!chosen.length) chosen = names.slice(0, 1);
  find("voiceprint-list").replaceChildren(...voiceprints.map(voiceprintRow));
  nameChanged();
}

function voiceprintRow(voiceprint) {
  const { speaker } = voiceprint;
  const row = document.createElement("li");
  const box = Object.assign(document.createElement("input"), { type: "checkbox" });
  box.checked = chosen.includes(speaker);
  box.addEventListener("change", () => {
    chosen = box.checked ? [...chosen, speaker] : chosen.filter((name) => name !== speaker);
  });
  const about = document.createElement("span");
  const made = `made ${when(voiceprint.created_at)} from ${seconds(voiceprint.net_speech_s)} of speech`;
  about.append(speaker, element("small", made));
  const label = element("label", box, about);
  label.className = "check";
  row.append(label, deleteButton(speaker));
  return row;
}

/** A button that asks once more before it deletes. */
function deleteButton(speaker) {
  const button = element("button", "Delete");
  button.type = "button";
  button.className = "quiet";
  button.setAttribute("aria-label", `Delete the voiceprint of ${speaker}`);
  const relax = () => {
    button.textContent = "Delete";
    button.setAttribute("aria-label", `Delete the voiceprint of ${speaker}`);
  };
  button.addEventListener("blur", relax);
  button.addEventListener("click", () => {
    if (button.textContent === "Delete") {
      button.textContent = "Really delete";
      button.setAttribute("aria-label", `Really delete the voiceprint of ${speaker}`);
      return;
    }
    exclusively(async () => {
      await client.deleteVoiceprint(speaker);
      await refresh();
      busy(false);
      find(voiceprints.length ? "verify-title" : "name").focus();
    });
  });
  return button;
}

function nameChanged() {
  const name = find("name").value.trim();
  const isKnown = voiceprints.some((each) => each.speaker === name);
  const text = isKnown ? ` Record ${name} again` : " Record my voice";
  find("enroll-start").lastChild.textContent = text;
  find("enroll-start").toggleAttribute("data-replaces", isKnown);
  const heading = voiceprints.length ? "Let it learn a voice" : "Let it learn your voice";
  find("enroll-title").lastChild.textContent = heading;
  find("enroll-card").classList.toggle("is-done", voiceprints.length > 0);
  foldEnrollment();
}

/** Once a voice is known, the first step makes room for the second. */
function foldEnrollment() {
  const isFolded = voiceprints.length > 0 && !isEnrollOpen;
  const known = voiceprints.length === 1 ? `${voiceprints[0].speaker} is` : `${voiceprints.length} voices are`;
  find("enroll-known").textContent = `${known} known. Go on below.`;
  find("enroll-done").hidden = !isFolded;
  find("enroll-form").hidden = isFolded;
}

find("enroll-more").addEventListener("click", () => {
  isEnrollOpen = true;
  foldEnrollment();
  find("name").focus();
});

find("name").addEventListener("input", nameChanged);

// -- sound into a stream --------------------------------------------------------------------------

/** Play `sound` into the stream that `open(audio)` gives, until it ends. */
async function play(sound, kind, open, longestS) {
  const audio = { encoding: "s16le", sample_rate: sound.sampleRate, channels: 1 };
  const stream = open(audio);
  stream.isLive = sound instanceof Microphone;
  running = {
    stop() {
      sound.close?.();
      stream.stop();
    },
    cancel() {
      sound.close?.();
      stream.cancel();
    },
  };
  stream.done.catch(() => {}).then(() => sound.close?.());
  try {
    if (sound instanceof Microphone) await record(sound, stream, kind, longestS);
    else await playFile(sound, stream, kind);
    await stream.done;
  } finally {
    sound.close?.();
    meters[kind].clear();
    running = null;
  }
}

function record(microphone, stream, kind, longestS) {
  return new Promise((resolve, reject) => {
    const ends = setTimeout(() => running?.stop(), 1000 * longestS);
    const settle = (done) => (value) => {
      clearTimeout(ends);
      done(value);
    };
    microphone.onBlock = (block) => {
      meters[kind].show(dbfs(block));
      stream.send(s16le(block));
    };
    microphone.onLost = (error) => {
      stream.cancel();
      settle(reject)(error);
    };
    stream.done.then(settle(resolve), settle(reject));
  });
}

async function playFile(recording, stream, kind) {
  const speed = kind === "enroll" ? Infinity : Math.max(SLOWEST_FILE, recording.duration / LONGEST_FILE_SHOW_S);
  const began = performance.now();
  let at = 0;
  for (const block of recording.blocks()) {
    if (stream.isOver || stream.isStopped) return;
    stream.send(s16le(block));
    meters[kind].show(dbfs(block));
    at += block.length / recording.sampleRate;
    const due = began + (1000 * at) / speed;
    while (performance.now() < due || (stream.waitingS > MOST_AHEAD_S && !stream.isOver)) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  stream.stop();
}

function busy(isBusy) {
  for (const id of ["enroll-start", "enroll-more", "verify-start", "enroll-file", "verify-file", "name", "consent"]) {
    find(id).disabled = isBusy;
  }
  // With the last voiceprint would go the card, and on it the button that stops the microphone.
  for (const button of find("voiceprint-list").querySelectorAll("button")) button.disabled = isBusy;
}

/** Run `work` while nothing else runs, and say what went wrong with it. */
async function exclusively(work) {
  if (running !== null || find("enroll-start").disabled) return;
  show(null);
  find("enroll-said").textContent = "";
  busy(true);
  try {
    await work();
  } catch (error) {
    fail(error);
  } finally {
    busy(false);
  }
}

function connectionWords(state) {
  if (state !== "reconnecting") return "";
  return "The connection broke; trying to connect again. What you say meanwhile is kept.";
}

// -- enroll ---------------------------------------------------------------------------------------

async function enroll(open) {
  const speaker = find("name").value.trim();
  const isReplacing = find("enroll-start").hasAttribute("data-replaces");
  const before = kept(speaker);
  const sound = await open();
  const bar = find("enroll-progress");
  let least = 0;
  let outcome = null;
  let session = null;
  let isCancelled = false;
  bar.value = 0;
  find("enroll-seconds").textContent = "";
  find("enroll-feedback").textContent = "Connecting.";
  find("enroll-read").hidden = !(sound instanceof Microphone);
  find("enroll-form").hidden = true;
  find("enroll-done").hidden = true;
  find("enroll-live").hidden = false;
  find("enroll-finish").disabled = true;
  find("enroll-cancel").focus();
  const heard = (event) => {
    if (event.type === "session_started") {
      session = event.session_id;
      bar.max = event.enrollment?.wanted_net_speech_s ?? 12;
      least = event.enrollment?.min_net_speech_s ?? 4;
      find("enroll-seconds").textContent = `0 of ${seconds(bar.max)} of speech`;
      find("enroll-feedback").textContent = "Listening: talk now.";
    } else if (event.type === "enrollment_progress") {
      bar.value = Math.max(0, bar.max - event.remaining_s);
      find("enroll-seconds").textContent = `${bar.value.toFixed(1)} of ${seconds(bar.max)} of speech`;
      find("enroll-feedback").textContent = FEEDBACK[event.feedback] ?? "";
      find("enroll-finish").disabled = bar.value < least;
      if (event.remaining_s === 0) running?.stop();
    } else if (event.type.startsWith("enrollment_")) {
      outcome = event;
    }
  };
  try {
    await play(
      sound,
      "enroll",
      (audio) => {
        const consent = { given_at: new Date().toISOString(), by: speaker, purpose: PURPOSE };
        const more = isReplacing ? { replace: true } : {};
        const stream = client.enroll(speaker, audio, consent, more);
        stream.onEvent = heard;
        stream.onState = (state) => {
          if (state === "reconnecting") find("enroll-feedback").textContent = connectionWords(state);
        };
        return stream;
      },
      LONGEST_ENROLLMENT_S,
    );
  } catch (error) {
    if (error.code !== "cancelled") throw error;
    isCancelled = true;
  } finally {
    find("enroll-live").hidden = true;
    foldEnrollment();
  }
  if (isCancelled) {
    await sayCancelled(speaker, before, session);
    return;
  }
  if (outcome?.type !== "enrollment_completed") {
    throw new StreamsvError("not_enough_speech", outcome?.detail ?? "No voiceprint was made. Try again.");
  }
  chosen = [speaker];
  await refresh();
  find("verify-card").scrollIntoView({ block: "start" });
  busy(false);
  find("verify-start").focus();
}

/** All that the server tells of a speaker's voiceprint, as text: it changes with the voiceprint. */
function kept(speaker) {
  return JSON.stringify(voiceprints.find((each) => each.speaker === speaker) ?? null);
}

/** Say what became of an enrollment that was cancelled; `session` is null if none had begun. */
async function sayCancelled(speaker, before, session) {
  if (session !== null) await ended(session);
  await refresh();
  find("enroll-said").textContent =
    kept(speaker) === before
      ? "Cancelled. Nothing was stored."
      : `It was too late to cancel: the voiceprint of ${speaker} is stored. You can delete it below.`;
  busy(false);
  find(find("enroll-done").hidden ? "enroll-start" : "enroll-more").focus();
}

/** Wait until the server has done with a session that was left; it may be storing its voiceprint. */
async function ended(session) {
  const until = performance.now() + MOST_CANCELLING_MS;
  while (performance.now() < until) {
    if ((await client.session(session)).status === "ended") return;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

find("enroll-form").addEventListener("submit", (event) => {
  event.preventDefault();
  exclusively(() => enroll(() => Microphone.open()));
});
find("enroll-file").addEventListener("change", () => {
  const [file] = find("enroll-file").files;
  if (file && find("enroll-form").reportValidity()) {
    exclusively(() => enroll(() => Recording.open(file)));
  }
  find("enroll-file").value = "";
});
find("enroll-finish").addEventListener("click", () => running?.stop());
find("enroll-cancel").addEventListener("click", () => running?.cancel());

// -- verify ---------------------------------------------------------------------------------------

class Trial {
  constructor(speakers, sound) {
    this.speakers = speakers;
    this.duration = sound.duration;
    this.leastS = 0;
    this.decided = new Map();
    this.decidedAfterS = null;
    this.rows = new Map(speakers.map((speaker, index) => [speaker, this.row(speaker, index)]));
    find("verdicts").replaceChildren(...[...this.rows.values()].map((row) => row.item));
    find("speech").textContent = "silence";
    find("speech").classList.remove("is-speech");
    find("clock").textContent = "";
    chart.reset(speakers, { accept_llr: 2, reject_llr: -2 });
  }

  row(speaker, index) {
    const sign = element("span", SIGNS.listening);
    sign.className = "sign";
    sign.setAttribute("aria-hidden", "true");
    const title = element("strong");
    if (this.speakers.length > 1) {
      const swatch = element("span");
      swatch.className = `swatch line-${(index % 4) + 1}`;
      title.append(swatch);
    }
    title.append(`Listening for ${speaker}`);
    const why = element("p", "Talk as you would to a friend.");
    why.className = "why";
    why.setAttribute("aria-hidden", "true"); // it changes many times a second
    const item = element("li", sign, title, why);
    item.className = "verdict";
    return { item, sign, title, why };
  }

  hear(event) {
    const take = this[`on_${event.type}`];
    if (take) take.call(this, event);
    if (event.at_s) find("clock").textContent = this.clock(event);
  }

  clock(event) {
    this.netS = event.net_speech_s ?? this.netS ?? 0;
    this.atS = Math.max(this.atS ?? 0, event.at_s);
    const of = this.duration === null ? "" : ` of ${seconds(this.duration)}`;
    return `${this.atS.toFixed(1)}${of || " s"} · ${this.netS.toFixed(1)} s of speech`;
  }

  on_session_started(event) {
    this.leastS = event.decision?.min_net_speech_s ?? 0;
    this.steps = event.decision?.steps ?? [];
    if (event.decision) chart.reset(this.speakers, event.decision);
  }

  on_speech_started(event) {
    chart.startSpeech(event.at_s);
    find("speech").textContent = "speech";
    find("speech").classList.add("is-speech");
  }

  on_speech_ended(event) {
    chart.endSpeech(event.at_s);
    find("speech").textContent = "silence";
    find("speech").classList.remove("is-speech");
  }

  on_score_updated(event) {
    const step = this.steps.findLast(([from]) => from <= event.net_speech_s + 1e-6);
    // The lines stay where they were when the last verdict was made: it is those that it crossed.
    if (step && this.decidedAfterS === null) {
      chart.thresholds = { accept_llr: step[1], reject_llr: step[2] };
    }
    chart.addScore(event);
    for (const score of event.scores) {
      const row = this.rows.get(score.speaker);
      if (!row || this.decided.has(score.speaker)) continue;
      row.why.textContent =
        event.net_speech_s < this.leastS
          ? `Nothing is decided before ${seconds(this.leastS)} of speech; ${seconds(event.net_speech_s)} so far.`
          : `${odds(score.llr, score.speaker)} Not yet enough.`;
    }
    const isShown = event.net_speech_s >= this.decidedAfterS + SPEECH_AFTER_VERDICT_S;
    if (this.decidedAfterS !== null && isShown && this.duration === null) running?.stop();
  }

  on_decision_made(event) {
    chart.addDecision(event);
    this.decided.set(event.speaker, event);
    if (this.decided.size === this.speakers.length) this.decidedAfterS = event.net_speech_s;
    const row = this.rows.get(event.speaker);
    if (!row) return;
    const { title, after, evidence } = decision(event);
    row.item.classList.add(event.verdict);
    row.sign.textContent = SIGNS[event.verdict];
    row.title.lastChild.textContent = title;
    row.why.textContent = `Decided ${after}. ${evidence}`;
    if (event.verdict === "undecided") row.why.textContent = `${evidence} (${after})`;
    row.why.removeAttribute("aria-hidden");
    find("chart").setAttribute("aria-label", `Evidence against time. ${title}, ${after}.`);
  }

  on_speaker_changed(event) {
    const row = this.rows.get(event.speaker);
    const since = `Since ${seconds(event.changed_at_s)} another voice than ${event.speaker}’s is speaking.`;
    if (row) row.why.textContent += ` ${since}`;
    find("connection").textContent = since;
  }

  on_quality_warning(event) {
    find("connection").textContent = event.detail;
  }

  on_audio_gap(event) {
    chart.endSpeech(event.at_s - event.gap_s);
    find("connection").textContent = `${seconds(event.gap_s)} of sound were lost on the way.`;
  }

  on_session_ended(event) {
    chart.endSpeech(event.at_s);
    find("speech").textContent = "";
    find("speech").classList.remove("is-speech");
  }
}

async function verify(open) {
  if (!chosen.length) throw new StreamsvError("usage", "Choose a voiceprint to compare with first.");
  if (chosen.length > MOST_CLAIMS) {
    throw new StreamsvError("usage", `Choose at most ${MOST_CLAIMS} voiceprints at a time.`);
  }
  const sound = await open();
  find("verify-live").hidden = false;
  find("verify-stop").hidden = false;
  find("verify-meter").hidden = false;
  find("verify-buttons").hidden = true;
  find("verify-hint").hidden = true;
  find("next").hidden = true;
  find("connection").textContent = "";
  find("verify-stop").focus();
  const trial = new Trial([...chosen], sound);
  find("verdicts").scrollIntoView({ block: "center" });
  try {
    await play(
      sound,
      "verify",
      (audio) => {
        const stream = client.verify([...chosen], audio);
        stream.onEvent = (event) => trial.hear(event);
        stream.onState = (state) => {
          find("connection").textContent = connectionWords(state);
        };
        return stream;
      },
      LONGEST_TRY_S,
    );
  } finally {
    find("verify-stop").hidden = true;
    find("verify-meter").hidden = true;
    find("verify-buttons").hidden = false;
    find("next").textContent = next(trial);
    find("next").hidden = find("next").textContent === "";
    find("verify-start").lastChild.textContent = " Talk again";
    for (const row of trial.rows.values()) {
      if (row.item.className === "verdict") row.item.remove();
    }
    noteTries(trial, sound.name ?? "microphone");
    busy(false);
    find("verify-start").focus({ preventScroll: true });
  }
}

/** What a visitor may try after this. */
function next(trial) {
  const verdicts = [...trial.decided.values()].map((event) => event.verdict);
  if (!verdicts.length || trial.duration !== null) return "";
  if (verdicts.includes("accept")) {
    return "Now let somebody else talk, or play a voice from another device, and see whether it says no.";
  }
  return "Was it you? Talk again, a little longer and as near to the microphone as when it learned your voice.";
}

function noteTries(trial, source) {
  for (const event of trial.decided.values()) {
    const { title, after } = decision(event);
    const sign = element("span", SIGNS[event.verdict]);
    sign.className = event.verdict;
    sign.setAttribute("aria-hidden", "true");
    const time = new Date().toLocaleTimeString(undefined, { timeStyle: "short" });
    const item = element("li", sign, element("span", `${title}, ${after}`), element("small", `${source}, ${time}`));
    find("tries").prepend(item);
    find("tries-card").hidden = false;
  }
}

find("verify-start").addEventListener("click", () => exclusively(() => verify(() => Microphone.open())));
find("verify-file").addEventListener("change", () => {
  const [file] = find("verify-file").files;
  if (file) exclusively(() => verify(() => Recording.open(file)));
  find("verify-file").value = "";
});
find("verify-stop").addEventListener("click", () => running?.stop());

// -- begin ----------------------------------------------------------------------------------------

function element(name, ...children) {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}

async function begin() {
  show(null);
  try {
    await client.info();
    find("where").textContent = location.host;
    if (client.needsKey && !sessionStorage.getItem(KEY)) askForKey();
    else await refresh();
  } catch (error) {
    fail(error);
  }
}

window.addEventListener("pagehide", () => running?.cancel());
begin();
