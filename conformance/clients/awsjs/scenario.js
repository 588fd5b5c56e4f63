// SQS with both SDKs for JavaScript. AWS_ENDPOINT names the endpoint. Prints one line; exits 1 when a chapter failed.
"use strict";
const assert = require("node:assert");
const v3 = require("@aws-sdk/client-sqs");
process.env.AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE = "1";
const v2 = require("aws-sdk");

const endpoint = process.env.AWS_ENDPOINT;
const credentials = { accessKeyId: "test", secretAccessKey: "test" };
const modern = new v3.SQSClient({ endpoint, region: "us-east-1", credentials });
const old = new v2.SQS({ endpoint, region: "us-east-1", ...credentials });
const call = {
  v3: (action, input) => modern.send(new v3[action + "Command"](input)),
  v2: (action, input) => old[action[0].toLowerCase() + action.slice(1)](input).promise(),
};

let serial = 0;
const name = () => `js-${process.pid}-${Date.now()}-${serial++}`;

async function roundTrip(sdk) {
  const { QueueUrl } = await sdk("CreateQueue", { QueueName: name() });
  const MessageBody = 'größe 😀 "<&>';
  const MessageAttributes = { s: { DataType: "String", StringValue: "v" }, b: { DataType: "Binary", BinaryValue: Buffer.from([0, 255]) } };
  const sent = await sdk("SendMessage", { QueueUrl, MessageBody, MessageAttributes });
  const { Messages } = await sdk("ReceiveMessage", { QueueUrl, WaitTimeSeconds: 5, MessageAttributeNames: ["All"] });
  assert.strictEqual(Messages[0].Body, MessageBody);
  assert.strictEqual(Messages[0].MessageId, sent.MessageId);
  assert.deepStrictEqual([...Messages[0].MessageAttributes.b.BinaryValue], [0, 255]);
  await sdk("DeleteMessage", { QueueUrl, ReceiptHandle: Messages[0].ReceiptHandle });
  await sdk("DeleteQueue", { QueueUrl });
}

async function batch(sdk) {
  const { QueueUrl } = await sdk("CreateQueue", { QueueName: name() });
  const Entries = [...Array(10).keys()].map((i) => ({ Id: `e${i}`, MessageBody: `m${i}` }));
  const out = await sdk("SendMessageBatch", { QueueUrl, Entries });
  assert.strictEqual(out.Successful.length, 10);
  const { Messages } = await sdk("ReceiveMessage", { QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 5 });
  const gone = await sdk("DeleteMessageBatch", { QueueUrl, Entries: Messages.map((m, i) => ({ Id: `d${i}`, ReceiptHandle: m.ReceiptHandle })) });
  assert.strictEqual(gone.Successful.length, Messages.length);
}

async function errors(sdk) {
  await assert.rejects(sdk("GetQueueUrl", { QueueName: "none" }), (e) => /NonExistentQueue|QueueDoesNotExist/.test(e.name + e.code));
}

async function longPoll(sdk) {
  const { QueueUrl } = await sdk("CreateQueue", { QueueName: name() });
  const waiting = sdk("ReceiveMessage", { QueueUrl, WaitTimeSeconds: 20 });
  await new Promise((r) => setTimeout(r, 200));
  const began = Date.now();
  await sdk("SendMessage", { QueueUrl, MessageBody: "x" });
  assert.strictEqual((await waiting).Messages[0].Body, "x");
  assert.ok(Date.now() - began < 5000);
}

// consumer has sqs-consumer take messages in batches: what its handler throws at comes again, the rest is deleted.
async function consumer() {
  const { Consumer } = await import("sqs-consumer");
  const { QueueUrl } = await call.v3("CreateQueue", { QueueName: name(), Attributes: { VisibilityTimeout: "30" } });
  const seen = new Map();
  await new Promise((done, fail) => {
    const app = Consumer.create({
      queueUrl: QueueUrl, sqs: modern, batchSize: 10, waitTimeSeconds: 5, terminateVisibilityTimeout: true, suppressFifoWarning: true,
      messageSystemAttributeNames: ["ApproximateReceiveCount"],
      handleMessage: async (m) => {
        seen.set(m.Body, Number(m.Attributes.ApproximateReceiveCount));
        if (m.Body === "m7" && m.Attributes.ApproximateReceiveCount === "1") throw new Error("once more");
        return m;
      },
    });
    const finished = () => seen.size === 25 && seen.get("m7") === 2;
    app.on("message_processed", () => finished() && app.stop());
    app.on("stopped", done);
    app.on("error", fail);
    setTimeout(() => fail(new Error(`${seen.size} of 25, m7 came ${seen.get("m7")} times`)), 20000).unref();
    app.start();
    (async () => {
      for (let i = 0; i < 25; i++) await call.v3("SendMessage", { QueueUrl, MessageBody: `m${i}` });
    })().catch(fail);
  });
  for (let i = 0; ; i++) {
    const { Attributes: a } = await call.v3("GetQueueAttributes", { QueueUrl, AttributeNames: ["All"] });
    if (a.ApproximateNumberOfMessages === "0" && a.ApproximateNumberOfMessagesNotVisible === "0") break;
    assert.ok(i < 100, `messages are left: ${JSON.stringify(a)}`);
    await new Promise((r) => setTimeout(r, 50));
  }
}

(async () => {
  let passed = 0, failed = 0;
  for (const [version, sdk] of Object.entries(call)) {
    for (const chapter of [roundTrip, batch, errors, longPoll, ...(version === "v3" ? [consumer] : [])]) {
      try {
        await chapter(sdk);
        passed++;
      } catch (e) {
        failed++;
        console.error(`FAIL ${version} ${chapter.name}`, e);
      }
    }
  }
  console.log(`AWS SDK for JavaScript: ${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
})();
