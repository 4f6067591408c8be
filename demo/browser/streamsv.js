// The JavaScript client of a streamsv server: streams of sound with events in return, and the HTTP
// calls beside them. It needs nothing but a browser.
//
//   const client = new Client();
//   const stream = client.verify(["alice"], { encoding: "s16le", sample_rate: 48000, channels: 1 });
//   stream.onEvent = (event) => console.log(event.type, event.at_s);
//   stream.send(bytes);            // a Uint8Array of whole samples, as often as there are some
//   stream.stop();
//   await stream.done;             // rejects with a StreamsvError if it ended early

const VERSION = 1;
const KEPT_S = 60; // sound that is kept to be sent again; gaps do not count
const LONGEST_GAP_S = 3600; // gaps are joined up to this length: a server takes none of a day
const RESUME_WITHIN_S = 60;
const SILENT_FOR_S = 8; // unacknowledged sound after which a connection is taken to be dead
const FIRST_RETRY_MS = 200;
const LONGEST_RETRY_MS = 5000;
const MOST_BUFFERED = 1 << 16; // bytes in the browser's own queue
const MOST_MESSAGE = 16384;
const DONE = 1000; // said by a client, it ends the session
const ABANDONED = 4000; // said by a client, it leaves the session waiting for another connection
const SAMPLE_BYTES = { s16le: 2, f32le: 4, mulaw: 1, alaw: 1 };

const CLOSED = {
  [DONE]: ["session_closed", "The server ended the session and did not say what became of it. Start again."],
  1003: ["protocol", "The server got sound before the start message."],
  1007: ["protocol", "The server did not understand a message."],
  1008: ["authentication", "The server does not allow this."],
  1009: ["protocol", "A message was too large for the server."],
  1011: ["server", "The server failed. Try again; its log has more about it."],
  1013: ["capacity", "The server has no room for another session right now. Try again in a moment."],
  4408: ["protocol", "The start message came too late for the server."],
  4409: ["session_closed", "The server ended the session because it heard nothing for too long."],
  4410: ["session_closed", "The session was longer than the server allows."],
  4412: ["session_closed", "The connection was away for too long. Start again."],
};
const MAY_RESUME = new Set([1001, 1005, 1006, 1012]);
const NO_ROOM = new Set([429, 503]); // statuses of a refusal that passes

/**
 * What went wrong, as a sentence; `code` is stable, `value` what caused it, if known, and
 * `retryAfterS` the seconds after which the server wants to be asked again, 0 if it has not said.
 */
export class StreamsvError extends Error {
  constructor(code, message, value = null, retryAfterS = 0) {
    super(message);
    this.code = code;
    this.value = value;
    this.retryAfterS = retryAfterS;
  }
}

/** A server. `key()` gives the API key, or null where none is needed. */
export class Client {
  constructor({ base = document.baseURI, key = () => null } = {}) {
    this.base = base;
    this.key = key;
    this.needsKey = false;
  }

  /** What the server says about itself; `needs_key` is whether it wants one. */
  async info() {
    const info = await this.call("GET", "v1/info");
    this.needsKey = Boolean(info.needs_key);
    return info;
  }

  /** All voiceprints, without their numbers. */
  async voiceprints() {
    const found = [];
    let after = null;
    do {
      const query = after === null ? "" : `&after=${encodeURIComponent(after)}`;
      const page = await this.call("GET", `v1/voiceprints?limit=100${query}`);
      found.push(...page.voiceprints);
      after = page.next ?? null;
    } while (after !== null);
    return found;
  }

  async deleteVoiceprint(speaker) {
    await this.call("DELETE", `v1/voiceprints/${encodeURIComponent(speaker)}`);
  }

  session(id) {
    return this.call("GET", `v1/sessions/${encodeURIComponent(id)}`);
  }

  /** A stream that decides each of `speakers` separately. */
  verify(speakers, audio, more = {}) {
    return new Stream(this, { mode: "verify", speakers, audio, ...more });
  }

  /** A stream that decides which of `speakers` it is, or nobody. */
  identify(speakers, audio, more = {}) {
    return new Stream(this, { mode: "identify", speakers, audio, ...more });
  }

  /** A stream that makes a voiceprint. `consent` has `given_at`, `by` and `purpose`. */
  enroll(speaker, audio, consent, more = {}) {
    return new Stream(this, { mode: "enroll", speakers: [speaker], audio, consent, ...more });
  }

  /** One HTTP call. Raises StreamsvError. */
  async call(method, path, body = null) {
    const headers = { Accept: "application/json" };
    if (this.key()) headers.Authorization = `Bearer ${this.key()}`;
    if (body !== null) headers["Content-Type"] = "application/json";
    const request = { method, headers, body: body && JSON.stringify(body), cache: "no-store" };
    let response;
    try {
      response = await fetch(new URL(path, this.base), request);
    } catch {
      throw new StreamsvError(
        "connection_lost",
        "The server does not answer. Check that it runs and that you are connected, then try again.",
      );
    }
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return answer;
    const error = answer.error ?? answer;
    const code = error.code ?? { 401: "authentication", 429: "capacity", 503: "capacity" }[response.status];
    const sentence = error.message ?? `The server answered with the status ${response.status}.`;
    const retryAfterS = Number(response.headers.get("Retry-After")) || 0;
    throw new StreamsvError(code ?? "server", sentence, response.status, retryAfterS);
  }

  /** The subprotocols of a WebSocket, with a fresh ticket where the server wants to know who asks. */
  async subprotocols(scope) {
    if (!this.needsKey) return ["streamsv.v1"];
    const { ticket } = await this.call("POST", "v1/tickets", { scope });
    return ["streamsv.v1", `streamsv.ticket.${ticket}`];
  }
}

/**
 * Sound to the server and events from it, over as many connections as it takes.
 *
 * `onEvent` gets each event once and in order; the first is session_started. `onState` gets
 * "connecting", "open", "reconnecting" and "closed". `done` resolves when everything has been
 * said, and rejects with a StreamsvError if that is not to be.
 */
export class Stream {
  constructor(client, wish) {
    this.onEvent = () => {};
    this.onState = () => {};
    this.reconnections = 0;
    this.isLive = false; // set it for a source in real time: a dead network is then noticed sooner
    this.client = client;
    this.wish = wish;
    this.outbox = new Outbox(wish.audio, () => this.isLive);
    this.heardAt = 0; // when the server last had more than before, or the connection began
    this.socket = null;
    this.token = null;
    this.lastSeq = 0;
    this.isOpen = false;
    this.isStopped = false;
    this.isStopSent = false;
    this.hasEnded = false; // whether session_ended has come: nothing is missing
    this.isOver = false;
    this.error = null;
    this.lostAt = null;
    this.retryMs = FIRST_RETRY_MS;
    this.done = new Promise((resolve, reject) => {
      this.settle = { resolve, reject };
    });
    this.done.catch(() => {});
    this.watch = setInterval(() => this.checkAlive(), 1000);
    this.connect();
  }

  /** Send whole samples. */
  send(bytes) {
    if (this.isStopped || this.isOver) return;
    this.outbox.put(bytes);
    this.flush();
  }

  /** The source lost `ms` milliseconds. */
  gap(ms) {
    if (this.isStopped || this.isOver) return;
    this.outbox.putGap(Math.round((ms * this.wish.audio.sample_rate) / 1000));
    this.flush();
  }

  /** No more sound comes; `done` resolves when the rest has been said. */
  stop() {
    this.isStopped = true;
    this.flush();
  }

  /** Give up: nothing more is sent or said. */
  cancel() {
    if (this.isOver) return;
    this.abandonSocket(DONE);
    this.end(new StreamsvError("cancelled", "Cancelled."));
  }

  /** Seconds of sound that the server is not known to have. */
  get waitingS() {
    return this.outbox.waiting / this.wish.audio.sample_rate;
  }

  async connect() {
    this.onState(this.token === null ? "connecting" : "reconnecting");
    try {
      const scope = this.wish.mode === "enroll" ? "enroll" : "verify";
      const subprotocols = await this.client.subprotocols(scope);
      if (this.isOver) return;
      const url = new URL("v1/stream", this.client.base);
      url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
      this.open(new WebSocket(url, subprotocols));
    } catch (error) {
      if (this.isOver) return;
      const mayPass = error.code === "connection_lost" || NO_ROOM.has(error.value);
      if (this.token !== null && mayPass) this.retry(error);
      else this.end(error);
    }
  }

  open(socket) {
    this.socket = socket;
    this.isOpen = false;
    this.isStopSent = false;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(this.startMessage());
    socket.onmessage = (message) => this.receive(message.data);
    socket.onclose = (closed) => this.closed(closed.code, closed.reason);
  }

  startMessage() {
    const { audio, ...wish } = this.wish;
    const resume = this.token === null ? null : { token: this.token, last_seq: this.lastSeq };
    return JSON.stringify({ type: "start", version: VERSION, ...wish, audio, resume });
  }

  receive(text) {
    const message = JSON.parse(text);
    if (message.type === "error") {
      this.error = new StreamsvError(message.code, message.message, message.value);
    } else if (message.type === "session_started") {
      this.begin(message);
    } else if (message.type === "received") {
      if (this.outbox.acknowledge(message.received_samples)) this.heardAt = performance.now();
    } else if (Number.isInteger(message.seq) && message.seq > this.lastSeq) {
      this.lastSeq = message.seq;
      this.onEvent(message);
      if (message.type === "session_ended") this.hasEnded = true;
    }
    this.flush();
  }

  begin(message) {
    const isFirst = this.token === null;
    this.token = message.resume_token;
    this.outbox.resume(message.received_samples ?? 0);
    this.isOpen = true;
    this.heardAt = performance.now();
    this.lostAt = null;
    this.retryMs = FIRST_RETRY_MS;
    this.onState("open");
    if (isFirst) {
      this.lastSeq = message.seq ?? 0;
      this.onEvent(message);
    } else {
      this.reconnections += 1;
    }
  }

  flush() {
    if (!this.isOpen || this.isStopSent) return;
    while (this.socket.bufferedAmount < MOST_BUFFERED) {
      const next = this.outbox.take(MOST_MESSAGE);
      if (next === null) {
        if (this.isStopped) {
          this.isStopSent = true;
          this.socket.send('{"type": "stop"}');
        }
        return;
      }
      if (next instanceof Uint8Array) this.socket.send(next);
      else this.socket.send(JSON.stringify({ type: "gap", ms: next.ms }));
    }
    clearTimeout(this.flushing);
    this.flushing = setTimeout(() => this.flush(), 20);
  }

  closed(code, reason) {
    this.socket = null;
    this.isOpen = false;
    if (this.hasEnded) this.end(null);
    else if (this.error) this.end(this.error);
    else if (MAY_RESUME.has(code) || (code === 1013 && this.token !== null)) this.broke();
    else this.end(errorOfClose(code, reason));
  }

  async broke() {
    const error = new StreamsvError(
      "connection_lost",
      "The connection to the server broke and could not be made again. Check the network and start again.",
    );
    if (this.token !== null) {
      this.retry(error);
      return;
    }
    // A browser does not tell a page why a WebSocket was refused; an HTTP call may.
    try {
      await this.client.call("GET", "v1/info");
      const scope = this.wish.mode === "enroll" ? "enroll" : "verify";
      await this.client.call("POST", "v1/tickets", { scope });
      this.end(new StreamsvError("connection_lost", "The server refused the connection. It may be full or restarting: try again in a moment."));
    } catch (known) {
      this.end(known);
    }
  }

  retry(error) {
    const now = performance.now();
    this.lostAt ??= now;
    if (now - this.lostAt > 1000 * RESUME_WITHIN_S) {
      this.end(error);
      return;
    }
    this.onState("reconnecting");
    const askedMs = Math.min(1000 * error.retryAfterS, LONGEST_RETRY_MS);
    const chance = Math.random(); // clients that were refused together come back one by one
    const waitMs = Math.max(this.retryMs * (0.7 + 0.6 * chance), askedMs * (1 + 0.3 * chance));
    this.retrying = setTimeout(() => this.connect(), waitMs);
    this.retryMs = Math.min(2 * this.retryMs, LONGEST_RETRY_MS);
  }

  checkAlive() {
    // A backlog alone is no sign: after an outage there is one, and it is being worked off.
    const isSilent = performance.now() - this.heardAt > 1000 * SILENT_FOR_S;
    if (!this.isOpen || !isSilent || this.waitingS < SILENT_FOR_S || !this.isLive) return;
    this.abandonSocket(ABANDONED);
    this.broke();
  }

  abandonSocket(code) {
    this.isOpen = false;
    if (!this.socket) return;
    this.socket.onopen = null;
    this.socket.onmessage = null;
    this.socket.onclose = null;
    this.socket.close(code);
    this.socket = null;
  }

  end(error) {
    if (this.isOver) return;
    this.isOver = true;
    clearInterval(this.watch);
    clearTimeout(this.flushing);
    clearTimeout(this.retrying);
    this.onState("closed");
    if (error) this.settle.reject(error);
    else this.settle.resolve();
  }
}

/** Sound on its way, by its position on the source's time line in samples; gaps take positions. */
class Outbox {
  constructor(audio, isLive) {
    this.isLive = isLive; // who can wait loses nothing: what has not arrived is kept
    this.rate = audio.sample_rate;
    this.frame = SAMPLE_BYTES[audio.encoding] * (audio.channels ?? 1);
    this.pieces = [];
    this.kept = 0; // samples of sound in the pieces
    this.end = 0;
    this.sent = 0;
    this.acknowledged = 0;
  }

  get waiting() {
    return this.end - this.acknowledged;
  }

  put(bytes) {
    if (bytes.length % this.frame) throw new StreamsvError("unsupported_audio", "Send whole samples.");
    if (bytes.length) this.add(bytes.length / this.frame, bytes);
  }

  putGap(samples) {
    if (samples <= 0) return;
    const last = this.pieces.at(-1);
    // Gaps are not counted as kept, so a source that is away must not heap them up.
    if (last?.bytes === null && this.end + samples - last.start <= LONGEST_GAP_S * this.rate) {
      last.end += samples;
      this.end = last.end;
    } else {
      this.add(samples, null);
    }
  }

  add(samples, bytes) {
    this.pieces.push({ start: this.end, end: this.end + samples, bytes });
    this.end += samples;
    const soundOf = (piece) => (piece.bytes === null ? 0 : piece.end - piece.start);
    this.kept += soundOf(this.pieces.at(-1));
    let forgotten = 0;
    while (this.kept - soundOf(this.pieces[forgotten]) >= KEPT_S * this.rate) {
      if (this.pieces[forgotten].end > this.acknowledged && !this.isLive()) break;
      this.kept -= soundOf(this.pieces[forgotten]);
      forgotten += 1;
    }
    this.pieces.splice(0, forgotten);
  }

  /** What to send next: bytes, `{ ms }` for a gap or what is no longer kept, or null. */
  take(mostBytes) {
    const piece = this.pieces.find((each) => each.end > this.sent);
    if (!piece) return null;
    if (piece.start > this.sent || piece.bytes === null) {
      const upTo = piece.start > this.sent ? piece.start : piece.end;
      const ms = Math.round((1e6 * (upTo - this.sent)) / this.rate) / 1000;
      this.sent = upTo;
      return { ms };
    }
    const first = (this.sent - piece.start) * this.frame;
    const most = Math.floor(mostBytes / this.frame) * this.frame;
    const bytes = piece.bytes.subarray(first, first + most);
    this.sent += bytes.length / this.frame;
    return bytes;
  }

  acknowledge(position) {
    const before = this.acknowledged;
    this.acknowledged = Math.max(before, Math.min(position, this.sent));
    return this.acknowledged > before;
  }

  resume(received) {
    this.sent = Math.min(received, this.end);
    this.acknowledged = this.sent;
  }
}

function errorOfClose(code, reason) {
  const [kind, sentence] = CLOSED[code] ?? ["server", `The server closed the connection (${code}).`];
  if (reason.startsWith("taken_over: ")) {
    return new StreamsvError("session_closed", "Another connection has resumed this session.", code);
  }
  const named = /^([a-z_]+): (.*)$/.exec(reason);
  return named ? new StreamsvError(named[1], named[2], code) : new StreamsvError(kind, sentence, code);
}
