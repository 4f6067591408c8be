// Where sound comes from: a microphone at its own rate, or a file. Blocks are Float32Array, mono,
// in [-1, 1].

import { StreamsvError } from "./streamsv.js";

const HIGHEST_RATE = 48000; // what a server takes
const FILE_RATE = 16000; // what the network works at
const FILE_BLOCK_S = 0.1;

const NO_MICROPHONE = {
  NotAllowedError:
    "The browser does not let this page use the microphone. Allow it beside the address above (or in the system's privacy settings), then try again.",
  NotFoundError: "No microphone was found. Plug one in, or use a recording.",
  NotReadableError:
    "The microphone cannot be opened, perhaps because another program uses it. Close that program and try again.",
};

/** A microphone that records until `close`. */
export class Microphone {
  /** Ask for permission and open the default microphone. Raises StreamsvError. */
  static async open() {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new StreamsvError(
        "audio_device",
        "Browsers give the microphone only to pages that come over https or from this very computer. Open this page so, or use a recording.",
      );
    }
    let media;
    try {
      // As it was said: what makes calls pleasant to hear also changes the voice.
      media = await navigator.mediaDevices.getUserMedia({
        audio: {
          channelCount: 1,
          echoCancellation: false,
          noiseSuppression: false,
          autoGainControl: false,
        },
      });
    } catch (error) {
      const sentence = NO_MICROPHONE[error.name] ?? `The microphone cannot be used: ${error.message}`;
      throw new StreamsvError("audio_device", sentence, error.name);
    }
    let context = null;
    try {
      context = new AudioContext();
      if (context.sampleRate > HIGHEST_RATE) {
        await context.close();
        context = new AudioContext({ sampleRate: HIGHEST_RATE });
      }
      await context.audioWorklet.addModule(new URL("capture.js", import.meta.url));
      await context.resume();
      return new Microphone(media, context);
    } catch (error) {
      for (const track of media.getTracks()) track.stop();
      if (context !== null && context.state !== "closed") await context.close();
      if (error.name === "AbortError") {
        // The file that records comes from the server, too.
        throw new StreamsvError(
          "connection_lost",
          "The server does not answer. Check that it runs and that you are connected, then try again.",
        );
      }
      throw new StreamsvError(
        "audio_device",
        `The browser cannot record sound here: ${error.message}. Try a recent Firefox, Chrome, Edge or Safari.`,
      );
    }
  }

  constructor(media, context) {
    this.sampleRate = context.sampleRate;
    this.duration = null;
    this.onBlock = () => {};
    this.onLost = () => {};
    this.media = media;
    this.context = context;
    this.node = new AudioWorkletNode(context, "streamsv-capture", { numberOfOutputs: 0 });
    this.node.port.onmessage = (message) => this.onBlock(message.data);
    context.createMediaStreamSource(media).connect(this.node);
    media.getAudioTracks()[0].onended = () => this.lost("The microphone was unplugged or switched off. Plug it in and try again.");
    context.onstatechange = () => {
      if (context.state === "interrupted") this.lost("Another app took the microphone. Try again.");
    };
  }

  lost(sentence) {
    if (this.media) this.onLost(new StreamsvError("audio_device", sentence));
  }

  /** Stop recording; closing twice is fine. */
  close() {
    if (!this.media) return;
    this.node.port.onmessage = null;
    for (const track of this.media.getTracks()) track.stop();
    this.media = null;
    this.context.onstatechange = null;
    this.context.close();
  }
}

/** A file that the browser can decode, as 16 kHz mono. */
export class Recording {
  /** Decode `file`. Raises StreamsvError. */
  static async open(file) {
    const context = new OfflineAudioContext(1, 1, FILE_RATE);
    try {
      return new Recording(file.name, await context.decodeAudioData(await file.arrayBuffer()));
    } catch {
      throw new StreamsvError(
        "unsupported_audio",
        `${file.name} is not a sound file that this browser can read. Use WAV, MP3, FLAC or Opus.`,
      );
    }
  }

  constructor(name, decoded) {
    this.name = name;
    this.sampleRate = decoded.sampleRate;
    this.duration = decoded.duration;
    this.mono = new Float32Array(decoded.length);
    for (let c = 0; c < decoded.numberOfChannels; c += 1) {
      const channel = decoded.getChannelData(c);
      for (let i = 0; i < channel.length; i += 1) this.mono[i] += channel[i] / decoded.numberOfChannels;
    }
  }

  /** The blocks, 0.1 s each. */
  *blocks() {
    const size = Math.round(FILE_BLOCK_S * this.sampleRate);
    for (let at = 0; at < this.mono.length; at += size) yield this.mono.subarray(at, at + size);
  }
}

/** Samples in [-1, 1] as 16-bit integers, little-endian. */
export function s16le(block) {
  const view = new DataView(new ArrayBuffer(2 * block.length));
  for (let i = 0; i < block.length; i += 1) {
    view.setInt16(2 * i, Math.max(-32768, Math.min(32767, Math.round(32768 * block[i]))), true);
  }
  return new Uint8Array(view.buffer);
}

/** The level of a block in dB below full scale, -Infinity for silence. */
export function dbfs(block) {
  let sum = 0;
  for (const sample of block) sum += sample * sample;
  return 10 * Math.log10(sum / block.length);
}
