'use strict';
// The main chapters of the AMQP checklist, walked through with amqplib.
// AMQP_URL names the broker. Prints one line; exits 1 when a chapter failed.

const assert = require('node:assert/strict');
const { randomUUID } = require('node:crypto');
const { EventEmitter, once } = require('node:events');
const amqp = require('amqplib');
const { version } = JSON.parse(require('node:fs').readFileSync(`${__dirname}/node_modules/amqplib/package.json`, 'utf8'));

const WAIT = 20000; // ms for anything that must happen
const fresh = (what) => `node.${what}.${randomUUID().slice(0, 12)}`;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

function within(promise, what) {
  let timer;
  const late = new Promise((_, fail) => { timer = setTimeout(() => fail(new Error(`${what} did not happen`)), WAIT); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

class World {
  static async open() {
    const w = new World();
    w.conn = await amqp.connect(process.env.AMQP_URL);
    w.conn.on('error', () => {});
    w.ch = await w.channel();
    return w;
  }

  async channel() {
    const ch = await this.conn.createChannel();
    ch.on('error', () => {});
    return ch;
  }

  async queue(args) {
    const q = fresh('q');
    await this.ch.assertQueue(q, { exclusive: true, arguments: args });
    return q;
  }

  async send(key, bodies, options = {}, exchange = '') {
    const ch = await this.conn.createConfirmChannel();
    for (const body of [].concat(bodies)) ch.publish(exchange, key, Buffer.from(body), options);
    await within(ch.waitForConfirms(), 'confirms');
    await ch.close();
  }

  async get(q, options = { noAck: true }) {
    const deadline = Date.now() + WAIT;
    while (Date.now() < deadline) {
      const m = await this.ch.get(q, options);
      if (m) return m;
      await pause(5);
    }
    throw new Error(`no message in ${q}`);
  }

  async empty(q) { assert.equal(await this.ch.get(q, { noAck: true }), false, `${q} is empty`); }

  // The operation must end its channel with that code.
  async closed(code, operation) {
    const ch = await this.conn.createChannel();
    const ended = new Promise((done) => ch.on('error', done));
    Promise.resolve().then(() => operation(ch)).catch(() => {});
    const error = await within(ended, `channel close ${code}`);
    assert.equal(error.code, code, error.message);
    return error.message;
  }
}

const chapters = {
  async declare(w) {
    const q = await w.queue();
    assert.deepEqual(await w.ch.checkQueue(q), { queue: q, messageCount: 0, consumerCount: 0 });
    const { queue } = await w.ch.assertQueue('', { exclusive: true });
    assert.match(queue, /^amq\.gen-/);
    assert.match(await w.closed(404, (ch) => ch.checkQueue('node.none')), /NOT_FOUND - no queue 'node.none' in vhost '\/'/);
    await w.closed(406, (ch) => ch.assertQueue(q, { exclusive: true, messageTtl: 5 }));
    await w.closed(403, (ch) => ch.assertExchange('amq.mine', 'direct'));
    const other = await World.open();
    await other.closed(405, (ch) => ch.checkQueue(q));
    await other.conn.close();
    await w.ch.deleteQueue('node.none');
  },

  async confirms(w) {
    const q = await w.queue();
    await w.send(q, Array.from({ length: 200 }, (_, i) => String(i)), { persistent: true });
    assert.equal((await w.ch.checkQueue(q)).messageCount, 200);
    const limited = await w.queue({ 'x-max-length': 1, 'x-overflow': 'reject-publish' });
    const ch = await w.conn.createConfirmChannel();
    const verdict = () => new Promise((done) => ch.sendToQueue(limited, Buffer.from('m'), {}, (err) => done(err ? 'nack' : 'ack')));
    assert.equal(await verdict(), 'ack');
    assert.equal(await verdict(), 'nack');
  },

  async returns(w) {
    const ch = await w.conn.createConfirmChannel();
    const order = [];
    ch.on('return', (m) => order.push(['return', m.fields.replyCode, m.content.toString()]));
    ch.publish('amq.direct', fresh('nowhere'), Buffer.from('lost?'), { mandatory: true }, () => order.push(['ack']));
    await within(ch.waitForConfirms(), 'confirm');
    assert.deepEqual(order, [['return', 312, 'lost?'], ['ack']]);
  },

  async consume(w) {
    const q = await w.queue();
    await w.send(q, ['1', '2', '3', '4']);
    await w.ch.prefetch(2);
    const got = [];
    const all = new EventEmitter();
    const { consumerTag } = await w.ch.consume(q, (m) => {
      got.push(`${m.content}${m.fields.redelivered ? ' again' : ''}`);
      if (got.length === 1) w.ch.nack(m, false, true);
      else if (got.length === 3) w.ch.reject(m, false);
      else w.ch.ack(m);
      if (got.length === 5) all.emit('done');
    });
    await within(once(all, 'done'), 'five deliveries');
    await w.ch.cancel(consumerTag);
    assert.deepEqual(got.sort(), ['1', '1 again', '2', '3', '4']);
    await w.empty(q);
    await w.closed(406, (ch) => ch.ack({ fields: { deliveryTag: 99 } }));
  },

  async deadLetters(w) {
    const dead = await w.queue();
    const q = await w.queue({ 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': dead });
    await w.send(q, 'poison');
    w.ch.reject(await w.get(q, {}), false);
    const m = await w.get(dead);
    const death = m.properties.headers['x-death'][0];
    assert.deepEqual([m.content.toString(), death.queue, death.reason, death.count], ['poison', q, 'rejected', 1]);
  },

  async ttl(w) {
    const dead = await w.queue();
    const target = { 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': dead };
    await w.send(await w.queue({ ...target, 'x-message-ttl': 50 }), 'queue ttl');
    assert.equal((await w.get(dead)).content.toString(), 'queue ttl');
    await w.send(await w.queue(target), 'message ttl', { expiration: '50' });
    const m = await w.get(dead);
    assert.deepEqual([m.content.toString(), m.properties.headers['x-death'][0].reason], ['message ttl', 'expired']);
  },

  async priority(w) {
    const q = await w.queue({ 'x-max-priority': 9 });
    for (const p of [1, 5, 9, 5]) await w.send(q, String(p), { priority: p });
    const order = [];
    for (let i = 0; i < 4; i++) order.push((await w.get(q)).content.toString());
    assert.deepEqual(order, ['9', '5', '5', '1']);
  },

  async exchanges(w) {
    const routed = async (kind, bindings, key, headers) => {
      const x = fresh(kind);
      await w.ch.assertExchange(x, kind, { durable: false, autoDelete: true });
      const queues = {};
      for (const [label, [pattern, args]] of Object.entries(bindings)) {
        queues[label] = await w.queue();
        await w.ch.bindQueue(queues[label], x, pattern, args);
      }
      await w.send(key, 'm', { headers }, x);
      const reached = [];
      for (const [label, q] of Object.entries(queues)) if (await w.ch.get(q, { noAck: true })) reached.push(label);
      return reached.sort().join();
    };
    assert.equal(await routed('direct', { a: ['k'], b: ['other'] }, 'k'), 'a');
    assert.equal(await routed('fanout', { a: ['k'], b: ['other'] }, 'k'), 'a,b');
    assert.equal(await routed('topic', { a: ['x.*.z'], b: ['x.#'], c: ['*.z'] }, 'x.y.z'), 'a,b');
    assert.equal(await routed('headers', {
      all: ['', { 'x-match': 'all', n: 1, s: 't' }], any: ['', { 'x-match': 'any', n: 1, s: '?' }], none: ['', { 'x-match': 'all', n: 2 }],
    }, '', { n: 1, s: 't' }), 'all,any');
    const [from, to, q] = [fresh('x'), fresh('x'), await w.queue()];
    await w.ch.assertExchange(from, 'fanout', { durable: false, autoDelete: true });
    await w.ch.assertExchange(to, 'fanout', { durable: false, autoDelete: true });
    await w.ch.bindExchange(to, from, '');
    await w.ch.bindQueue(q, to, '');
    await w.send('', 'through two', {}, from);
    assert.equal((await w.get(q)).content.toString(), 'through two');
  },

  // amqplib has no tx methods; recover takes their place in this client.
  async recover(w) {
    const q = await w.queue();
    await w.send(q, 'm');
    await w.get(q, {});
    await w.ch.recover();
    assert.equal((await w.get(q)).fields.redelivered, true);
  },

  async cancelNotification(w) {
    const q = fresh('q');
    await w.ch.assertQueue(q, { durable: false });
    const cancelled = new Promise((done) => w.ch.consume(q, (m) => { if (m === null) done(); }));
    await w.ch.checkQueue(q);
    const other = await World.open();
    await other.ch.deleteQueue(q);
    await within(cancelled, 'cancel notification');
    await other.conn.close();
  },

  async directReplyTo(w) {
    const q = await w.queue();
    const server = await w.channel();
    await server.consume(q, (m) => server.sendToQueue(m.properties.replyTo, Buffer.from('answer'), { correlationId: m.properties.correlationId }), { noAck: true });
    let answered;
    const reply = new Promise((done) => { answered = done; });
    await w.ch.consume('amq.rabbitmq.reply-to', answered, { noAck: true });
    w.ch.sendToQueue(q, Buffer.from('ask'), { replyTo: 'amq.rabbitmq.reply-to', correlationId: '7' });
    const m = await within(reply, 'reply');
    assert.deepEqual([m.content.toString(), m.properties.correlationId], ['answer', '7']);
  },

  async properties(w) {
    const q = await w.queue();
    const sent = {
      contentType: 'application/json', contentEncoding: 'gzip', deliveryMode: 2, priority: 3, correlationId: 'c', replyTo: 'r',
      expiration: '600000', messageId: 'm', timestamp: 1700000000, type: 't', appId: 'a',
      headers: { int: -1, big: 2 ** 40, float: 1.5, text: 'ü', bool: true, list: [1, 'two', { three: 3 }], none: null },
    };
    await w.send(q, Buffer.alloc(500000, 7), sent);
    const m = await w.get(q);
    assert.equal(m.content.length, 500000);
    for (const [k, v] of Object.entries(sent)) assert.deepEqual(m.properties[k], v, k);
  },
};

async function main() {
  let failed = 0;
  for (const [name, chapter] of Object.entries(chapters)) {
    let w;
    try {
      w = await World.open();
      await chapter(w);
    } catch (error) {
      failed++;
      console.error(`FAIL ${name}:`, error);
    }
    await w?.conn.close().catch(() => {});
  }
  console.log(`amqplib ${version}: ${Object.keys(chapters).length - failed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}

main();
