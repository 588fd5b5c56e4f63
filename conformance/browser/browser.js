'use strict';
// A page in headless Chromium talks to the broker with MQTT.js and stompjs over
// WebSocket, plain and secure. Prints one line; exits 1 when a test failed.
// HERMOD_BIN is the binary, CHROMIUM the browser, WORK a folder with
// server.pem and server.key.

const assert = require('node:assert/strict');
const { execFileSync, spawn } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { chromium } = require('playwright-core');

const WORK = process.env.WORK;
const WAIT = 30000; // ms for anything that must happen

// serve answers every request with a page that has both clients.
async function serve() {
  const files = {
    '/mqtt.js': 'node_modules/mqtt/dist/mqtt.min.js',
    '/stomp.js': 'node_modules/@stomp/stompjs/bundles/stomp.umd.min.js',
  };
  const server = http.createServer((req, res) => {
    if (files[req.url]) {
      res.setHeader('content-type', 'text/javascript');
      res.end(fs.readFileSync(path.join(WORK, files[req.url])));
      return;
    }
    res.setHeader('content-type', 'text/html');
    res.end('<!doctype html><title>hermod</title><script src="/mqtt.js"></script><script src="/stomp.js"></script>');
  });
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  return { origin: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

// startBroker resolves to the broker's listeners by name once it is ready.
async function startBroker(origin) {
  const keys = execFileSync(process.env.HERMOD_BIN, ['serve', '--print-config'], { encoding: 'utf8' });
  const set = {
    ...Object.fromEntries([...keys.matchAll(/^(listeners\..*address)=/gm)].map(([, key]) => [key, 'off'])), 'limits.disk_free': '1MiB',
    'tls.cert_file': path.join(WORK, 'server.pem'), 'tls.key_file': path.join(WORK, 'server.key'),
  };
  for (const p of ['mqtt', 'stomp']) {
    set[`listeners.${p}.websocket_address`] = '127.0.0.1:0';
    set[`listeners.${p}.websocket_tls_address`] = '127.0.0.1:0';
    set[`listeners.${p}.websocket_origins`] = origin;
  }
  const args = ['serve', '--data-dir', path.join(WORK, 'data')];
  for (const [k, v] of Object.entries(set)) args.push('--set', `${k}=${v}`);
  const child = spawn(process.env.HERMOD_BIN, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const listeners = {};
  await new Promise((ready, fail) => {
    let text = '';
    child.stdout.on('data', (d) => {
      text += d;
      if (!text.includes('ready')) return;
      for (const [, name, addr] of text.matchAll(/^listener (\S+) (\S+)$/gm)) listeners[name] = addr;
      ready();
    });
    child.on('exit', (code) => fail(new Error(`broker ended with ${code}`)));
    setTimeout(() => fail(new Error('broker was not ready')), WAIT).unref();
  });
  return { listeners, stop: () => child.kill('SIGKILL') };
}

// What runs in the page. Functions are sent as text: they see nothing of ours.

// inMQTT connects, subscribes, sends bodies at every QoS and returns what came.
async function inMQTT({ url, version, topic, wait }) {
  const bodies = [new TextEncoder().encode('größe 😀'), new Uint8Array([0, 255, 1, 128]), new Uint8Array(1 << 20).fill(7)];
  const client = mqtt.connect(url, { username: 'guest', password: 'guest', protocolVersion: version, reconnectPeriod: 0, connectTimeout: wait });
  await new Promise((ok, fail) => {
    client.on('connect', ok);
    client.on('error', fail);
    client.on('close', () => fail(new Error('closed')));
  });
  const got = [];
  const all = new Promise((ok) => client.on('message', (t, payload) => {
    got.push({ topic: t, sum: payload.reduce((a, b) => (a * 31 + b) % 1000003, 0), length: payload.length });
    if (got.length === bodies.length * 3) ok();
  }));
  await client.subscribeAsync(topic, { qos: 2 });
  for (const qos of [0, 1, 2]) for (const body of bodies) await client.publishAsync(topic, body, { qos });
  await all;
  await client.endAsync();
  const want = [0, 1, 2].flatMap(() => bodies.map((b) => ({
    topic, sum: b.reduce((a, x) => (a * 31 + x) % 1000003, 0), length: b.length,
  })));
  return { got, want };
}

// inSTOMP sends and receives, acknowledges, and commits a transaction.
async function inSTOMP({ url, version, binary, queue, wait }) {
  const client = new StompJs.Client({
    brokerURL: url, connectHeaders: { login: 'guest', passcode: 'guest', host: '/' }, reconnectDelay: 0, connectionTimeout: wait,
    stompVersions: new StompJs.Versions([version]), forceBinaryWSFrames: binary, splitLargeFrames: false,
    heartbeatIncoming: 4000, heartbeatOutgoing: 4000,
  });
  await new Promise((ok, fail) => {
    client.onConnect = ok;
    client.onStompError = (f) => fail(new Error(f.headers.message));
    client.onWebSocketClose = () => fail(new Error('closed'));
    client.activate();
  });
  const receipts = new Set();
  const receipt = (id, send) => new Promise((ok) => { client.watchForReceipt(id, ok); send(); receipts.add(id); });
  const inbox = [];
  let arrived = () => {};
  const next = async () => {
    while (inbox.length === 0) await new Promise((ok) => { arrived = ok; });
    return inbox.shift();
  };
  const subscription = client.subscribe(queue, (m) => { inbox.push(m); arrived(); }, { ack: 'client-individual' });
  const text = 'größe 😀\n'.repeat(20000);
  const header = version === '1.2' ? 'a:b\n' : 'ab'; // the client writes no escapes in 1.1
  await receipt('r1', () => client.publish({ destination: queue, body: text, headers: { receipt: 'r1', persistent: 'true', k: header } }));
  const first = await next();
  first.ack();
  const bytes = new Uint8Array(1 << 16).map((_, i) => i);
  if (binary) {
    client.publish({ destination: queue, binaryBody: bytes });
    const m = await next();
    if (m.binaryBody.length !== bytes.length || m.binaryBody.some((b, i) => b !== bytes[i])) throw new Error('bytes differ');
    m.ack();
  }
  const tx = client.begin();
  client.publish({ destination: queue, body: 'in', headers: { transaction: tx.id } });
  tx.commit();
  const second = await next();
  second.nack();
  const again = await next();
  again.ack();
  subscription.unsubscribe();
  const connected = client.connectedVersion;
  await client.deactivate();
  return {
    text: first.body === text, header: first.headers.k === header, second: second.body, again: again.body, redelivered: again.headers.redelivered,
    version: connected,
  };
}

// meet has both clients in one page: what one sends the other gets.
async function meet({ mqttURL, stompURL, name }) {
  const m = mqtt.connect(mqttURL, { username: 'guest', password: 'guest', protocolVersion: 5, reconnectPeriod: 0 });
  const s = new StompJs.Client({ brokerURL: stompURL, connectHeaders: { login: 'guest', passcode: 'guest', host: '/' }, reconnectDelay: 0 });
  await Promise.all([new Promise((ok) => m.on('connect', ok)), new Promise((ok) => { s.onConnect = ok; s.activate(); })]);
  await m.subscribeAsync(`${name}/from/stomp`);
  const toMQTT = new Promise((ok) => m.on('message', (t, p) => ok(`${t} ${p}`)));
  const toSTOMP = new Promise((ok) => s.subscribe(`/topic/${name}.from.mqtt`, (f) => ok(`${f.headers.destination} ${f.body}`)));
  // STOMP carries frames out in order: when this receipt is here, so is the subscription.
  await new Promise((ok) => { s.watchForReceipt('sub', ok); s.publish({ destination: `/topic/${name}.from.stomp`, body: '1', headers: { receipt: 'sub' } }); });
  await m.publishAsync(`${name}/from/mqtt`, '2', { qos: 1 });
  const out = [await toMQTT, await toSTOMP];
  await m.endAsync();
  await s.deactivate();
  return out;
}

// opens reports whether a WebSocket comes about, and with which protocol.
async function opens({ url, protocols }) {
  return new Promise((ok) => {
    const ws = new WebSocket(url, protocols);
    ws.onopen = () => { ok(`open ${ws.protocol}`); ws.close(); };
    ws.onerror = () => ok('refused');
  });
}

async function main() {
  const own = await serve();
  const foreign = await serve();
  const broker = await startBroker(own.origin);
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM, headless: true, args: ['--no-sandbox', '--ignore-certificate-errors', '--disable-dev-shm-usage'],
  });
  const visit = async (origin) => {
    const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
    await page.goto(origin);
    return page;
  };
  const run = (page, f, arg) => page.evaluate(`(${f})(${JSON.stringify(arg)})`);
  const address = (name) => broker.listeners[name] ?? assert.fail(`no listener ${name}`);
  const urls = {
    ws: { mqtt: `ws://${address('mqtt-websocket')}/mqtt`, stomp: `ws://${address('stomp-websocket')}/ws` },
    wss: { mqtt: `wss://${address('mqtt-websocket-tls')}/ws`, stomp: `wss://${address('stomp-websocket-tls')}/stomp` },
  };
  const tests = {};
  let serial = 0;
  for (const scheme of ['ws', 'wss']) {
    for (const version of [4, 5]) {
      tests[`MQTT.js, MQTT ${version}, ${scheme}`] = async (page) => {
        const { got, want } = await run(page, inMQTT, { url: urls[scheme].mqtt, version, topic: `browser/${++serial}`, wait: WAIT });
        assert.deepEqual(got, want);
      };
    }
    for (const version of ['1.1', '1.2']) {
      for (const binary of [false, true]) {
        tests[`stompjs, STOMP ${version}, ${binary ? 'binary' : 'text'}, ${scheme}`] = async (page) => {
          const got = await run(page, inSTOMP, { url: urls[scheme].stomp, version, binary, queue: `/queue/browser.${++serial}`, wait: WAIT });
          assert.deepEqual(got, {
            text: true, header: true, second: 'in', again: 'in', redelivered: 'true', version,
          });
        };
      }
    }
    tests[`MQTT.js and stompjs in one page, ${scheme}`] = async (page) => {
      const name = `meet${++serial}`;
      assert.deepEqual(await run(page, meet, { mqttURL: urls[scheme].mqtt, stompURL: urls[scheme].stomp, name }),
        [`${name}/from/stomp 1`, `/topic/${name}.from.mqtt 2`]);
    };
    tests[`subprotocols, ${scheme}`] = async (page) => {
      for (const [p, protocols, want] of [
        ['mqtt', ['mqtt'], 'open mqtt'], ['mqtt', ['nonsense'], 'refused'],
        ['stomp', ['v12.stomp', 'v11.stomp'], 'open v12.stomp'], ['stomp', ['v10.stomp'], 'open v10.stomp'],
      ]) {
        assert.equal(await run(page, opens, { url: urls[scheme][p], protocols }), want, `${p} ${protocols}`);
      }
    };
    for (const [p, protocol] of [['mqtt', 'mqtt'], ['stomp', 'v12.stomp']]) {
      tests[`a page of another origin is refused, ${p}, ${scheme}`] = async () => {
        const page = await visit(foreign.origin);
        assert.equal(await run(page, opens, { url: urls[scheme][p], protocols: [protocol] }), 'refused');
      };
    }
  }
  let passed = 0;
  let failed = 0;
  for (const [name, test] of Object.entries(tests)) {
    const page = await visit(own.origin);
    let timer;
    const late = new Promise((_, fail) => { timer = setTimeout(() => fail(new Error('took too long')), WAIT); });
    try {
      await Promise.race([test(page), late]);
      passed++;
    } catch (error) {
      failed++;
      console.error(`FAIL ${name}: ${error.stack ?? error}`);
    } finally {
      clearTimeout(timer);
      await page.context().close();
    }
  }
  await browser.close();
  broker.stop();
  own.close();
  foreign.close();
  console.log(`browser: ${passed} passed, ${failed} failed`);
  process.exit(failed === 0 && passed > 0 ? 0 : 1);
}

main().catch((error) => { console.error(error); process.exit(1); });
