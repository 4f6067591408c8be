// What events mean, in sentences for people.

export const FEEDBACK = {
  ok: "Good, go on.",
  too_quiet: "Too quiet: come closer to the microphone.",
  clipped: "Too loud: move back a little, or lower the input level.",
  no_voice: "No voice heard yet.",
  noisy: "There is a lot of noise: come closer, or find a quieter place.",
  too_short: "Too little speech so far.",
};

/** "1 s", "2.4 s". */
export function seconds(value) {
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} s`;
}

/** A likelihood ratio in plain words: `llr` is its natural logarithm. */
export function odds(llr, speaker) {
  const ratio = Math.exp(Math.abs(llr));
  if (ratio < 1.5) return `What was heard fits ${speaker} and a stranger about equally well.`;
  const [likelier, other] = llr > 0 ? [speaker, "somebody else"] : ["somebody else", speaker];
  return `What was heard is about ${times(ratio)} times as likely from ${likelier} as from ${other}.`;
}

function times(ratio) {
  if (ratio >= 1e6) return "more than a million";
  if (ratio < 9.5) return ratio.toFixed(ratio < 3 ? 1 : 0);
  const step = 10 ** Math.floor(Math.log10(ratio));
  return (Math.round(ratio / step) * step).toLocaleString("en");
}

/** A decision: `title` says it in a few words, `evidence` why. */
export function decision(event) {
  const whose = event.speaker ? `${event.speaker}’s voice` : "a voice that is enrolled";
  const after = `after ${seconds(event.net_speech_s)} of speech`;
  const evidence = event.score ? odds(event.score.llr, event.score.speaker) : "";
  if (event.verdict === "accept") return { title: `Yes, this is ${whose}`, after, evidence };
  if (event.verdict === "reject") return { title: `No, this is not ${whose}`, after, evidence };
  if (event.reason === "not_enough_speech") {
    return {
      title: `Too little speech to tell whether this is ${whose}`,
      after: `only ${seconds(event.net_speech_s)} of speech`,
      evidence: "Talk a little longer, and nearer to the microphone.",
    };
  }
  if (event.reason === "not_speech") {
    return {
      title: `Nothing that was heard tells whether this is ${whose}`,
      after,
      evidence: "It was not like speech, but like music, tones or noise.",
    };
  }
  if (event.reason === "too_quiet") {
    return {
      title: `Too quiet to tell whether this is ${whose}`,
      after,
      evidence: "Come nearer to the microphone, or raise its level.",
    };
  }
  return { title: `Undecided whether this is ${whose}`, after, evidence: `${evidence} That is not enough to say yes or no.` };
}

/** A day and a time of day, as the browser's language has them. */
export function when(iso) {
  return new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}
