'use strict';
// STOMP-39: the main chapters of the STOMP checklist, walked through with stompjs, each
// over TCP (STOMP_ADDR, host:port) and over WebSocket (STOMP_WS, a URL). Prints
// one line; exits 1 when a chapter failed.

const assert = require('node:assert/strict');
const { randomUUID } = require('node:crypto');
const net = require('node:net');
const { WebSocket } = require('ws');
const { Client, Versions } = require('@stomp/stompjs');
const { version } = JSON.parse(require('node:fs').readFileSync(`${__dirname}/node_modules/@stomp/stompjs/package.json`, 'utf8'));

const WAIT = 20000; // ms for anything that must happen
const fresh = (kind = 'queue') => `/${kind}/stompjs.${randomUUID().slice(0, 12)}`;

// within gives a promise WAIT ms to come true.
function within(promise, what) {
  let timer;
  const late = new Promise((_, fail) => { timer = setTimeout(() => fail(new Error(`${what} did not happen`)), WAIT); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// TCPSocket is a socket as stompjs wants to see one.
class TCPSocket {
  constructor() {
    const [, host, port] = process.env.STOMP_ADDR.match(/^(.*):(\d+)$/);
    this.binaryType = 'arraybuffer';
    this.readyState = 0;
    this.socket = net.connect(Number(port), host, () => { this.readyState = 1; this.onopen?.(); });
    this.socket.on('data', (data) => this.onmessage?.({ data }));
    this.socket.on('error', (error) => this.onerror?.(error));
    this.socket.on('close', () => { this.readyState = 3; this.onclose?.({ code: 1000, wasClean: true }); });
  }

  send(data) { this.socket.write(typeof data === 'string' ? data : Buffer.from(data)); }

  close() { this.socket.end(); }
}

const transports = {
  TCP: (versions) => new TCPSocket(versions),
  WebSocket: (versions) => new WebSocket(process.env.STOMP_WS, versions.protocolVersions()),
};

// queueOf is a list that can be waited for.
class Inbox {
  list = [];

  waiting = [];

  put(x) { (this.waiting.shift() ?? ((y) => this.list.push(y)))(x); }

  next(what) { return within(this.list.length ? Promise.resolve(this.list.shift()) : new Promise((ok) => this.waiting.push(ok)), what); }
}

class World {
  static async open(transport, options = {}) {
    const w = new World();
    w.errors = new Inbox();
    w.closed = new Inbox();
    const versions = new Versions([options.version ?? '1.2']);
    w.client = new Client({
      webSocketFactory: () => transports[transport](versions), stompVersions: versions, reconnectDelay: 0,
      heartbeatIncoming: 0, heartbeatOutgoing: 0, ...options.client,
      connectHeaders: { login: 'guest', passcode: 'guest', host: '/', ...options.headers },
      onStompError: (f) => w.errors.put(f), onWebSocketClose: () => w.closed.put(true),
    });
    await within(new Promise((ok, fail) => {
      w.client.onConnect = ok;
      w.client.onWebSocketError = fail;
      w.errors.next('error').then((f) => fail(new Error(f.headers.message)), () => {});
      w.client.activate();
    }), 'CONNECTED');
    w.errors.waiting = [];
    return w;
  }

  // done sends with a receipt and waits for it.
  done(send) {
    const receipt = randomUUID();
    return within(new Promise((ok) => { this.client.watchForReceipt(receipt, ok); send({ receipt }); }), 'receipt');
  }

  send(destination, body, headers = {}) { return this.done((r) => this.client.publish({ destination, body, headers: { ...headers, ...r } })); }

  async subscribe(destination, headers = {}) {
    const inbox = new Inbox();
    await this.done((r) => { inbox.subscription = this.client.subscribe(destination, (m) => inbox.put(m), { ...headers, ...r }); });
    return inbox;
  }

  // barrier makes sure that what was on its way is here.
  barrier() { return this.send('/exchange/amq.fanout', ''); }

  close() { return this.client.deactivate(); }
}

const chapters = {
  async versions(open) {
    for (const v of ['1.0', '1.1', '1.2']) {
      const w = await open({ version: v });
      const q = fresh();
      const inbox = await w.subscribe(q);
      await w.send(q, 'größe 😀\nline');
      const m = await inbox.next('message');
      assert.deepEqual([m.body, m.headers.destination, w.client.connectedVersion], ['größe 😀\nline', q, v]);
    }
  },

  async logins(open) { await assert.rejects(open({ headers: { passcode: 'wrong' } }), /Bad CONNECT/); },

  async headers(open) {
    const w = await open();
    const q = fresh();
    const inbox = await w.subscribe(q);
    const sent = { colon: 'a:b:c', line: 'one\ntwo', back: 'a\\x', empty: '', 'correlation-id': '7', 'ü😀': 'x' };
    await w.send(q, 'x', sent);
    const m = await inbox.next('message');
    for (const [k, v] of Object.entries(sent)) assert.equal(m.headers[k], v, k);
  },

  async bodies(open) {
    const w = await open();
    const q = fresh();
    const inbox = await w.subscribe(q);
    for (const body of [new Uint8Array(0), new Uint8Array([0]), new Uint8Array(1 << 20).map((_, i) => i)]) {
      w.client.publish({ destination: q, binaryBody: body });
      assert.deepEqual(Buffer.from((await inbox.next('message')).binaryBody), Buffer.from(body));
    }
  },

  async acknowledgements(open) {
    const w = await open();
    const q = fresh();
    const inbox = await w.subscribe(q, { ack: 'client' });
    for (const i of [0, 1, 2]) await w.send(q, `${i}`);
    await inbox.next('message');
    (await inbox.next('message')).ack(); // and the first
    await inbox.next('message');
    await w.close();
    const again = await open();
    const rest = await again.subscribe(q, { ack: 'client-individual' });
    const m = await rest.next('message');
    assert.deepEqual([m.body, m.headers.redelivered], ['2', 'true']);
    m.nack();
    (await rest.next('message after NACK')).ack();
    await again.barrier();
    assert.equal(rest.list.length, 0);
  },

  async transactions(open) {
    const w = await open();
    const q = fresh();
    const inbox = await w.subscribe(q, { ack: 'client-individual' });
    for (const end of ['abort', 'commit']) {
      const tx = w.client.begin();
      await w.send(q, end, { transaction: tx.id });
      assert.equal(inbox.list.length, 0);
      tx[end]();
    }
    const m = await inbox.next('message');
    assert.equal(m.body, 'commit');
    const tx = w.client.begin();
    m.ack({ transaction: tx.id });
    tx.commit();
    await w.barrier();
  },

  async durable(open) {
    const topic = fresh('topic');
    const subscription = { id: randomUUID(), durable: 'true', 'auto-delete': 'false' };
    let w = await open();
    await w.subscribe(topic, subscription);
    await w.close();
    w = await open();
    await w.send(topic, 'kept', { persistent: 'true' });
    const inbox = await w.subscribe(topic, subscription);
    assert.equal((await inbox.next('message')).body, 'kept');
    await w.done((r) => inbox.subscription.unsubscribe({ durable: 'true', destination: topic, ...r }));
  },

  async selectors(open) {
    const w = await open();
    const q = fresh();
    const inbox = await w.subscribe(q, { selector: 'n > 3' });
    for (const n of ['1', '4', '10']) await w.send(q, n, { n });
    assert.deepEqual([(await inbox.next('message')).body, (await inbox.next('message')).body], ['4', '10']);
  },

  async replies(open) {
    const [asker, answerer] = [await open(), await open()];
    const q = fresh();
    const questions = await answerer.subscribe(q);
    const answers = new Inbox();
    asker.client.onUnhandledMessage = (m) => answers.put(m);
    await asker.send(q, 'ask', { 'reply-to': '/temp-queue/r', 'correlation-id': '1' });
    const m = await questions.next('question');
    await answerer.send(m.headers['reply-to'], 'answer', { 'correlation-id': m.headers['correlation-id'] });
    const got = await answers.next('answer');
    assert.deepEqual([got.body, got.headers['correlation-id'], got.headers.subscription], ['answer', '1', '/temp-queue/r']);
  },

  async lists(open) {
    const w = await open();
    const [a, b] = [fresh(), fresh('topic')];
    const inbox = await w.subscribe(`${a},${b}`);
    await w.send(`${a},${b}`, 'x');
    const seen = new Set([(await inbox.next('message')).headers.destination, (await inbox.next('message')).headers.destination]);
    assert.deepEqual(seen, new Set([a, b]));
    const topic = `VirtualTopic.${randomUUID()}`;
    const group = await w.subscribe(`/queue/Consumer.g.${topic}`);
    await w.send(`/topic/${topic}`, 'virtual');
    assert.equal((await group.next('message')).body, 'virtual');
  },

  async errors(open) {
    const w = await open();
    w.client.publish({ destination: '/nosuch/x', body: 'x' });
    assert.equal((await w.errors.next('ERROR')).headers.message, 'Unknown destination');
    await w.barrier();
  },

  async heartbeats(open) {
    const w = await open({ client: { heartbeatIncoming: 500, heartbeatOutgoing: 500 } });
    await new Promise((ok) => { setTimeout(ok, 2500); });
    assert.equal(w.closed.list.length, 0);
    await w.barrier();
  },
};

async function main() {
  let passed = 0;
  let failed = 0;
  for (const transport of Object.keys(transports)) {
    for (const [name, chapter] of Object.entries(chapters)) {
      const worlds = [];
      try {
        await chapter(async (options) => {
          const w = await World.open(transport, options);
          worlds.push(w);
          return w;
        });
        passed++;
      } catch (error) {
        failed++;
        console.error(`FAIL ${name} over ${transport}:`, error);
      }
      for (const w of worlds) await w.close().catch(() => {});
    }
  }
  console.log(`stompjs ${version}: ${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}

main();
