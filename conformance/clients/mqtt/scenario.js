// The main chapters of the MQTT checklist with MQTT.js, over TCP and WebSocket, and
// with Paho's JavaScript client over WebSocket. MQTT_HOST, MQTT_PORT and MQTT_WS_PORT
// name the broker, which admits clients without a user name. Closes with
// "name: N passed, N failed" for each.
'use strict'
const assert = require('node:assert')
const { once } = require('node:events')
const mqtt = require('mqtt')
const WebSocket = require('ws')

const host = process.env.MQTT_HOST || '127.0.0.1'
const urls = { tcp: `mqtt://${host}:${process.env.MQTT_PORT}`, ws: `ws://${host}:${process.env.MQTT_WS_PORT}/mqtt` }
const patience = 20_000
let serial = 0
const unique = (prefix) => `${prefix}-${process.pid}-${++serial}`

const inTime = (promise, what) => Promise.race([promise,
  new Promise((_, reject) => setTimeout(() => reject(new Error(`${what}: not in time`)), patience).unref())])

// Messages keeps what a client receives until it is asked for.
class Messages {
  constructor (client) {
    this.list = []
    this.waiting = []
    client.on('message', (topic, payload, packet) => {
      const m = { topic, text: payload.toString(), payload, packet }
      const w = this.waiting.shift()
      if (w) w(m); else this.list.push(m)
    })
  }

  next () {
    if (this.list.length) return Promise.resolve(this.list.shift())
    return inTime(new Promise((resolve) => this.waiting.push(resolve)), 'message')
  }
}

const open = []
async function connect (url, version, options = {}) {
  const client = mqtt.connect(url, {
    protocolVersion: version, protocolId: version === 3 ? 'MQIsdp' : 'MQTT', clientId: unique('js'), reconnectPeriod: 0, ...options
  })
  client.on('error', () => {})
  open.push(client)
  const inbox = new Messages(client) // what waited for a session comes at once
  const [ack] = await inTime(once(client, 'connect'), 'CONNACK')
  return { client, ack, in: inbox }
}

const chapters = []
const chapter = (name, versions, run) => chapters.push({ name, versions, run })

chapter('QoS 0, 1 and 2 both ways', [3, 4, 5], async (url, v) => {
  const { client, in: inbox } = await connect(url, v)
  for (const qos of [0, 1, 2]) {
    const topic = unique('qos')
    await client.subscribeAsync(topic, { qos })
    for (const pub of [0, 1, 2]) {
      await client.publishAsync(topic, `${pub}`, { qos: pub })
      const m = await inbox.next()
      assert.strictEqual(m.text, `${pub}`)
      assert.strictEqual(m.packet.qos, Math.min(qos, pub))
    }
  }
})

chapter('retained messages and wildcards', [3, 4, 5], async (url, v) => {
  const root = unique('keep')
  const { client } = await connect(url, v)
  for (const t of ['a', 'a/b', 'c']) await client.publishAsync(`${root}/${t}`, t, { qos: 1, retain: true })
  await client.publishAsync(`${root}/c`, '', { qos: 1, retain: true })
  const late = await connect(url, v)
  await late.client.subscribeAsync(`${root}/#`, { qos: 1 })
  const got = [await late.in.next(), await late.in.next()]
  assert.deepStrictEqual(got.map((m) => m.text).sort(), ['a', 'a/b'])
  assert.ok(got.every((m) => m.packet.retain))
})

chapter('a session outlives its connection', [4, 5], async (url, v) => {
  const options = { clientId: unique('session'), clean: false }
  if (v === 5) options.properties = { sessionExpiryInterval: 100 }
  const first = await connect(url, v, options)
  assert.strictEqual(first.ack.sessionPresent, false)
  const topic = unique('session')
  await first.client.subscribeAsync(topic, { qos: 2 })
  await first.client.endAsync()
  const { client: pub } = await connect(url, v)
  for (let i = 0; i < 20; i++) await pub.publishAsync(topic, `${i}`, { qos: i < 10 ? 1 : 2 })
  const again = await connect(url, v, options)
  assert.strictEqual(again.ack.sessionPresent, true)
  for (let i = 0; i < 20; i++) assert.strictEqual((await again.in.next()).text, `${i}`)
})

chapter('will', [3, 4, 5], async (url, v) => {
  const topic = unique('will')
  const { client, in: inbox } = await connect(url, v)
  await client.subscribeAsync(topic, { qos: 1 })
  const lost = await connect(url, v, { will: { topic, payload: 'gone', qos: 1, retain: false } })
  lost.client.stream.destroy()
  assert.strictEqual((await inbox.next()).text, 'gone')
})

chapter('take-over', [4, 5], async (url, v) => {
  const clientId = unique('same')
  const old = await connect(url, v, { clientId })
  const closed = once(old.client, 'close')
  let reason
  old.client.on('disconnect', (p) => { reason = p.reasonCode })
  await connect(url, v, { clientId })
  await inTime(closed, 'close')
  if (v === 5) assert.strictEqual(reason, 0x8e)
})

chapter('unsubscribe', [3, 4, 5], async (url, v) => {
  const topic = unique('un')
  const { client, in: inbox } = await connect(url, v)
  await client.subscribeAsync(topic, { qos: 1 })
  await client.unsubscribeAsync(topic)
  await client.publishAsync(topic, 'lost', { qos: 1 })
  await client.subscribeAsync(topic, { qos: 1 })
  await client.publishAsync(topic, 'kept', { qos: 1 })
  assert.strictEqual((await inbox.next()).text, 'kept')
})

chapter('payloads: none, binary, a megabyte', [4, 5], async (url, v) => {
  const topic = unique('big')
  const { client, in: inbox } = await connect(url, v)
  await client.subscribeAsync(topic, { qos: 1 })
  for (const body of [Buffer.alloc(0), Buffer.from([0, 255, 1, 254]), Buffer.alloc(1 << 20, 'x')]) {
    await client.publishAsync(topic, body, { qos: 1 })
    assert.ok((await inbox.next()).payload.equals(body))
  }
})

chapter('a refused login', [4, 5], async (url, v) => {
  const client = mqtt.connect(url, { protocolVersion: v, username: 'guest', password: 'wrong', reconnectPeriod: 0 })
  open.push(client)
  const [err] = await inTime(once(client, 'error'), 'error')
  assert.strictEqual(err.code, v === 5 ? 0x86 : 4)
})

chapter('properties travel unchanged', [5], async (url) => {
  const topic = unique('props')
  const { client, in: inbox } = await connect(url, 5)
  await client.subscribeAsync(topic, { qos: 1, properties: { subscriptionIdentifier: 7 } })
  await client.publishAsync(topic, 'm', {
    qos: 1,
    properties: {
      payloadFormatIndicator: true, contentType: 'text/plain', responseTopic: 're/ply', correlationData: Buffer.from([1, 0, 2]),
      messageExpiryInterval: 100, userProperties: { a: ['1', '2'], b: '3' }
    }
  })
  const { properties: p } = (await inbox.next()).packet
  assert.strictEqual(p.contentType, 'text/plain')
  assert.strictEqual(p.responseTopic, 're/ply')
  assert.ok(p.correlationData.equals(Buffer.from([1, 0, 2])))
  assert.ok(p.messageExpiryInterval > 90)
  assert.deepStrictEqual({ ...p.userProperties }, { a: ['1', '2'], b: '3' })
  assert.strictEqual(p.subscriptionIdentifier, 7)
})

chapter('request and response', [5], async (url) => {
  const service = await connect(url, 5)
  const topic = unique('service')
  await service.client.subscribeAsync(topic, { qos: 1 })
  service.client.on('message', (_, payload, packet) => service.client.publish(packet.properties.responseTopic, `re: ${payload}`,
    { qos: 1, properties: { correlationData: packet.properties.correlationData } }))
  const caller = await connect(url, 5, { properties: { requestResponseInformation: true } })
  const reply = `${caller.ack.properties.responseInformation}/1`
  await caller.client.subscribeAsync(reply, { qos: 1 })
  await caller.client.publishAsync(topic, 'hello', { qos: 1, properties: { responseTopic: reply, correlationData: Buffer.from('42') } })
  const m = await caller.in.next()
  assert.strictEqual(m.text, 're: hello')
  assert.strictEqual(m.packet.properties.correlationData.toString(), '42')
})

chapter('subscription options', [5], async (url) => {
  const topic = unique('options')
  const { client, in: inbox } = await connect(url, 5)
  await client.publishAsync(topic, 'kept', { qos: 1, retain: true })
  await client.subscribeAsync(topic, { qos: 1, nl: true, rap: true, rh: 2 })
  await client.publishAsync(topic, 'own', { qos: 1 })
  const other = await connect(url, 5)
  await other.client.publishAsync(topic, 'other', { qos: 1, retain: true })
  const m = await inbox.next()
  assert.strictEqual(m.text, 'other')
  assert.strictEqual(m.packet.retain, true)
})

chapter('shared subscriptions', [4, 5], async (url, v) => {
  const topic = unique('shared')
  const members = [await connect(url, v), await connect(url, v)]
  for (const m of members) await m.client.subscribeAsync(`$share/g/${topic}`, { qos: 1 })
  const seen = []
  const all = new Promise((resolve) => members.forEach((m) => m.client.on('message', (_, payload) => {
    seen.push(payload.toString())
    if (seen.length === 40) resolve()
  })))
  const { client: pub } = await connect(url, v)
  for (let i = 0; i < 40; i++) await pub.publishAsync(topic, `${i}`, { qos: 1 })
  await inTime(all, 'all messages')
  assert.strictEqual(new Set(seen).size, 40)
})

chapter('topic aliases both ways', [5], async (url) => {
  const topic = unique('alias')
  const { client, in: inbox } = await connect(url, 5, { autoUseTopicAlias: true, autoAssignTopicAlias: true, properties: { topicAliasMaximum: 5 } })
  await client.subscribeAsync(topic, { qos: 1 })
  for (let i = 0; i < 5; i++) await client.publishAsync(topic, `${i}`, { qos: 1 })
  for (let i = 0; i < 5; i++) {
    const m = await inbox.next()
    assert.strictEqual(m.topic, topic)
    assert.strictEqual(m.text, `${i}`)
  }
})

chapter('receive maximum', [5], async (url) => {
  const topic = unique('quota')
  const { client, in: inbox } = await connect(url, 5, { properties: { receiveMaximum: 2 } })
  await client.subscribeAsync(topic, { qos: 2 })
  const { client: pub } = await connect(url, 5)
  await Promise.all([...Array(50).keys()].map((i) => pub.publishAsync(topic, `${i}`, { qos: 2 })))
  for (let i = 0; i < 50; i++) assert.strictEqual((await inbox.next()).text, `${i}`)
})

chapter('message expiry', [5], async (url) => {
  const options = { clientId: unique('expiry'), clean: false, properties: { sessionExpiryInterval: 100 } }
  const first = await connect(url, 5, options)
  const topic = unique('expiry')
  await first.client.subscribeAsync(topic, { qos: 1 })
  await first.client.endAsync()
  const { client: pub } = await connect(url, 5)
  await pub.publishAsync(topic, 'short', { qos: 1, properties: { messageExpiryInterval: 1 } })
  await pub.publishAsync(topic, 'long', { qos: 1, properties: { messageExpiryInterval: 100 } })
  await new Promise((resolve) => setTimeout(resolve, 1500))
  const again = await connect(url, 5, options)
  const m = await again.in.next()
  assert.strictEqual(m.text, 'long')
  assert.ok(m.packet.properties.messageExpiryInterval < 100)
})

chapter('reason codes', [5], async (url) => {
  const { client } = await connect(url, 5)
  const acked = new Promise((resolve) => client.on('packetreceive', (p) => p.cmd === 'puback' && resolve(p)))
  await client.publishAsync(unique('nobody'), 'm', { qos: 1 })
  assert.strictEqual((await inTime(acked, 'PUBACK')).reasonCode, 0x10)
  await assert.rejects(client.publishAsync('$SYS/broker/x', 'm', { qos: 1 }), (e) => e.code === 0x87)
})

async function walk () {
  for (const [transport, url] of Object.entries(urls)) {
    let passed = 0; let failed = 0
    for (const { name, versions, run } of chapters) {
      for (const v of versions) {
        try {
          await inTime(run(url, v), name)
          passed++
        } catch (e) {
          failed++
          console.error(`MQTT.js ${transport}, version ${v}, ${name}: ${e.stack}`)
        }
        for (const c of open.splice(0)) c.end(true)
      }
    }
    console.log(`MQTT.js over ${transport}: ${passed} passed, ${failed} failed`)
    if (failed) process.exitCode = 1
  }
}

// Paho's client is made for browsers: it wants their WebSocket and storage.
async function paho () {
  globalThis.WebSocket = WebSocket
  const kept = new Map()
  globalThis.localStorage = {
    getItem: (k) => kept.has(k) ? kept.get(k) : null,
    setItem: (k, v) => { kept.set(k, String(v)) },
    removeItem: (k) => { kept.delete(k) },
    key: (i) => [...kept.keys()][i],
    get length () { return kept.size }
  }
  const { Client, Message } = require('paho-mqtt')
  const dial = (options = {}, id = unique('paho')) => inTime(new Promise((resolve, reject) => {
    const c = new Client(host, Number(process.env.MQTT_WS_PORT), '/mqtt', id)
    c.inbox = []
    c.onMessageArrived = (m) => { c.inbox.push(m); c.wake && c.wake() }
    c.next = () => inTime((async () => {
      while (!c.inbox.length) await new Promise((resolve) => { c.wake = resolve })
      return c.inbox.shift()
    })(), 'message')
    c.connect({ mqttVersion: 4, ...options, onSuccess: () => resolve(c), onFailure: (e) => reject(new Error(e.errorMessage)) })
  }), 'connect')
  const subscribe = (c, filter, qos) => inTime(new Promise((resolve, reject) => c.subscribe(filter, { qos, onSuccess: resolve, onFailure: reject })), 'SUBACK')
  const send = (c, topic, body, qos, retained) => {
    const m = new Message(body)
    Object.assign(m, { destinationName: topic, qos, retained: !!retained })
    c.send(m)
  }
  const tests = {
    'QoS 0, 1 and 2': async () => {
      for (const mqttVersion of [3, 4]) {
        const c = await dial({ mqttVersion })
        const topic = unique('t')
        await subscribe(c, topic, 2)
        for (const qos of [0, 1, 2]) {
          send(c, topic, `${qos}`, qos)
          const m = await c.next()
          assert.strictEqual(m.payloadString, `${qos}`)
          assert.strictEqual(m.qos, qos)
        }
        c.disconnect()
      }
    },
    'retained messages': async () => {
      const c = await dial()
      const topic = unique('t')
      send(c, topic, 'kept', 1, true)
      const d = await dial()
      await subscribe(d, `${topic}/#`, 1)
      const m = await d.next()
      assert.ok(m.retained && m.payloadString === 'kept')
      c.disconnect(); d.disconnect()
    },
    'a session outlives its connection': async () => {
      const id = unique('s'); const topic = unique('t')
      const c = await dial({ cleanSession: false }, id)
      await subscribe(c, topic, 1)
      c.disconnect()
      const p = await dial()
      await subscribe(p, topic, 1)
      send(p, topic, 'waits', 1)
      await p.next()
      const d = await dial({ cleanSession: false }, id)
      assert.strictEqual((await d.next()).payloadString, 'waits')
      p.disconnect(); d.disconnect()
    },
    will: async () => {
      const topic = unique('will')
      const watch = await dial()
      await subscribe(watch, topic, 1)
      const id = unique('same')
      const willMessage = new Message('gone')
      willMessage.destinationName = topic
      const lost = await dial({ willMessage }, id)
      lost.onConnectionLost = () => {}
      const winner = await dial({}, id) // the take-over ends the first one
      assert.strictEqual((await watch.next()).payloadString, 'gone')
      watch.disconnect(); winner.disconnect()
    },
    'a refused login': async () => {
      await assert.rejects(dial({ userName: 'guest', password: 'wrong' }), /bad user name or password/i)
    }
  }
  let passed = 0; let failed = 0
  for (const [name, run] of Object.entries(tests)) {
    try {
      await run()
      passed++
    } catch (e) {
      failed++
      console.error(`paho-mqtt, ${name}: ${e.stack}`)
    }
  }
  console.log(`paho-mqtt over ws: ${passed} passed, ${failed} failed`)
  if (failed) process.exitCode = 1
}

walk().then(paho).then(() => process.exit(), (e) => { console.error(e); process.exit(1) })
