// SNS with the SDK for JavaScript, version 3. AWS_ENDPOINT names the endpoint. Prints one line; exits 1 when a chapter failed.
"use strict";
const assert = require("node:assert");
const { randomUUID } = require("node:crypto");
const SNS = require("@aws-sdk/client-sns");
const SQS = require("@aws-sdk/client-sqs");

const options = { endpoint: process.env.AWS_ENDPOINT, region: "us-east-1", credentials: { accessKeyId: "test", secretAccessKey: "test" }, maxAttempts: 1 };
const topics = new SNS.SNSClient(options);
const queues = new SQS.SQSClient(options);
const sns = (action, input) => topics.send(new SNS[action + "Command"](input));
const sqs = (action, input) => queues.send(new SQS[action + "Command"](input));

let serial = 0;
const name = (suffix = "") => `js-${process.pid}-${Date.now()}-${serial++}${suffix}`;

async function topic(suffix, Attributes) {
  return (await sns("CreateTopic", { Name: name(suffix), Attributes })).TopicArn;
}

async function queue(suffix, Attributes) {
  const { QueueUrl } = await sqs("CreateQueue", { QueueName: name(suffix), Attributes });
  const got = await sqs("GetQueueAttributes", { QueueUrl, AttributeNames: ["QueueArn"] });
  return { url: QueueUrl, arn: got.Attributes.QueueArn };
}

async function subscribe(TopicArn, Endpoint, Attributes) {
  return (await sns("Subscribe", { TopicArn, Protocol: "sqs", Endpoint, Attributes, ReturnSubscriptionArn: true })).SubscriptionArn;
}

// receive takes count messages and deletes them.
async function receive({ url: QueueUrl }, count = 1) {
  const got = [];
  while (got.length < count) {
    const { Messages } = await sqs("ReceiveMessage", {
      QueueUrl, WaitTimeSeconds: 10, MaxNumberOfMessages: Math.min(10, count - got.length), MessageAttributeNames: ["All"], MessageSystemAttributeNames: ["All"],
    });
    assert.ok(Messages, `${got.length} of ${count} messages arrived`);
    for (const { ReceiptHandle } of Messages) await sqs("DeleteMessage", { QueueUrl, ReceiptHandle });
    got.push(...Messages);
  }
  return got;
}

// empty checks that a queue is: a publish is in its queues when it is answered.
async function empty({ url: QueueUrl }) {
  assert.strictEqual((await sqs("ReceiveMessage", { QueueUrl })).Messages, undefined);
}

const raw = { RawMessageDelivery: "true" };
const bodies = (messages) => messages.map((m) => m.Body);
const refused = (promise, type, text) => assert.rejects(promise, (e) => e instanceof SNS[type] && (!text || e.message === text));

async function enveloped() {
  const [arn, q] = [await topic(), await queue()];
  const SubscriptionArn = await subscribe(arn, q.arn);
  const Message = 'größe 😀 "<&>\r\n';
  const MessageAttributes = { s: { DataType: "String", StringValue: "v" }, b: { DataType: "Binary", BinaryValue: Buffer.from([0, 255]) } };
  const sent = await sns("Publish", { TopicArn: arn, Message, Subject: "a subject", MessageAttributes });
  const e = JSON.parse((await receive(q))[0].Body);
  assert.deepStrictEqual([e.Type, e.MessageId, e.TopicArn, e.Subject, e.Message], ["Notification", sent.MessageId, arn, "a subject", Message]);
  assert.deepStrictEqual(e.MessageAttributes, { s: { Type: "String", Value: "v" }, b: { Type: "Binary", Value: "AP8=" } });
  await sns("Unsubscribe", { SubscriptionArn });
  await sns("Publish", { TopicArn: arn, Message: "x" });
  await empty(q);
}

async function rawDelivery() {
  const [arn, q] = [await topic(), await queue()];
  await subscribe(arn, q.arn, raw);
  await sns("Publish", { TopicArn: arn, Message: "größe", MessageAttributes: { b: { DataType: "Binary", BinaryValue: Buffer.from([0, 255]) } } });
  const [m] = await receive(q);
  assert.strictEqual(m.Body, "größe");
  assert.deepStrictEqual([...m.MessageAttributes.b.BinaryValue], [0, 255]);
}

async function filterAttributes() {
  const [TopicArn, q] = [await topic(), await queue()];
  const FilterPolicy = JSON.stringify({ region: [{ prefix: "eu" }], price: [{ numeric: [">", 10, "<=", 20] }] });
  const SubscriptionArn = await subscribe(TopicArn, q.arn, { ...raw, FilterPolicy });
  const publish = (region, price) => sns("Publish", {
    TopicArn, Message: `${region} ${price}`, MessageAttributes: { region: { DataType: "String", StringValue: region }, price: { DataType: "Number", StringValue: price } },
  });
  for (const [region, price] of [["us-east", "15"], ["eu-north", "10"], ["eu-north", "20"], ["eu-west", "20.5"], ["eu-west", "10.5"]]) await publish(region, price);
  await sns("Publish", { TopicArn, Message: "without attributes" });
  assert.deepStrictEqual(bodies(await receive(q, 2)).sort(), ["eu-north 20", "eu-west 10.5"]);
  await empty(q);
  await sns("SetSubscriptionAttributes", { SubscriptionArn, AttributeName: "FilterPolicy", AttributeValue: "{}" });
  await publish("us-east", "1");
  assert.deepStrictEqual(bodies(await receive(q)), ["us-east 1"]);
}

async function filterBody() {
  const [TopicArn, q] = [await topic(), await queue()];
  const FilterPolicy = JSON.stringify({ order: { state: ["paid"], total: [{ numeric: [">=", 100] }] } });
  await subscribe(TopicArn, q.arn, { ...raw, FilterPolicyScope: "MessageBody", FilterPolicy });
  const texts = ['{"order":{"state":"paid","total":100}}', '{"order":{"state":"paid","total":99}}', '{"order":{"state":"open","total":100}}', '{"state":"paid"}', "no JSON"];
  for (const Message of texts) await sns("Publish", { TopicArn, Message });
  assert.deepStrictEqual(bodies(await receive(q)), [texts[0]]);
  await empty(q);
}

async function batch() {
  const [TopicArn, q] = [await topic(), await queue()];
  await subscribe(TopicArn, q.arn, raw);
  const entries = [...Array(9).keys()].map((i) => ({ Id: `e${i}`, Message: `m${i}` }));
  await refused(sns("PublishBatch", { TopicArn, PublishBatchRequestEntries: [...entries, { Id: "bad", Message: "" }] }), "InvalidParameterException");
  const out = await sns("PublishBatch", { TopicArn, PublishBatchRequestEntries: entries });
  assert.deepStrictEqual(out.Successful.map((e) => e.Id), entries.map((e) => e.Id));
  assert.strictEqual((out.Failed ?? []).length, 0);
  assert.deepStrictEqual(bodies(await receive(q, 9)).sort(), entries.map((e) => e.Message));
  await empty(q);
  const many = [...Array(11).keys()].map((i) => ({ Id: `e${i}`, Message: "x" }));
  await refused(sns("PublishBatch", { TopicArn, PublishBatchRequestEntries: many }), "TooManyEntriesInBatchRequestException");
  await refused(sns("PublishBatch", { TopicArn, PublishBatchRequestEntries: [many[0], many[0]] }), "BatchEntryIdsNotDistinctException");
}

async function fifo() {
  const [TopicArn, q] = [await topic(".fifo", { FifoTopic: "true" }), await queue(".fifo", { FifoQueue: "true" })];
  await subscribe(TopicArn, q.arn, raw);
  const publish = (Message, MessageDeduplicationId) => sns("Publish", { TopicArn, Message, MessageGroupId: "g", MessageDeduplicationId });
  const sent = [];
  for (let i = 0; i < 10; i++) sent.push(await publish(`m${i}`, `d${i}`));
  const numbers = sent.map((s) => s.SequenceNumber);
  assert.deepStrictEqual(numbers, [...new Set(numbers)].sort());
  assert.strictEqual((await publish("other", "d3")).MessageId, sent[3].MessageId);
  for (let i = 0; i < 10; i++) {
    const [m] = await receive(q);
    assert.deepStrictEqual([m.Body, m.Attributes.MessageGroupId, m.Attributes.MessageDeduplicationId], [`m${i}`, "g", `d${i}`]);
  }
  await empty(q);
  await refused(sns("Publish", { TopicArn, Message: "no group" }), "InvalidParameterException");
  await refused(sns("Subscribe", { TopicArn: await topic(), Protocol: "sqs", Endpoint: q.arn }), "InvalidParameterException");
}

async function errors() {
  const arn = await topic();
  await refused(sns("Publish", { TopicArn: arn + "-none", Message: "x" }), "NotFoundException", "Topic does not exist");
  await refused(sns("CreateTopic", { Name: "a name" }), "InvalidParameterException");
  await refused(sns("Publish", { TopicArn: arn, Message: "x".repeat(262145) }), "InvalidParameterException");
  await refused(sns("Subscribe", { TopicArn: arn, Protocol: "pigeon", Endpoint: "x" }), "InvalidParameterException");
  await refused(sns("GetSubscriptionAttributes", { SubscriptionArn: `${arn}:${randomUUID()}` }), "NotFoundException");
  await refused(sns("SetTopicAttributes", { TopicArn: arn, AttributeName: "Unknown", AttributeValue: "x" }), "InvalidParameterException");
}

async function listing() {
  const [TopicArn, q] = [await topic(), await queue()];
  const SubscriptionArn = await subscribe(TopicArn, q.arn);
  const { Subscriptions } = await sns("ListSubscriptionsByTopic", { TopicArn });
  assert.deepStrictEqual(Subscriptions.map((s) => [s.SubscriptionArn, s.Protocol, s.Endpoint]), [[SubscriptionArn, "sqs", q.arn]]);
  const all = [];
  for await (const page of SNS.paginateListTopics({ client: topics }, {})) all.push(...page.Topics.map((t) => t.TopicArn));
  assert.ok(all.includes(TopicArn));
  await sns("DeleteTopic", { TopicArn });
  await refused(sns("GetTopicAttributes", { TopicArn }), "NotFoundException");
}

(async () => {
  let passed = 0, failed = 0;
  for (const chapter of [enveloped, rawDelivery, filterAttributes, filterBody, batch, fifo, errors, listing]) {
    try {
      await chapter();
      passed++;
    } catch (e) {
      failed++;
      console.error(`FAIL ${chapter.name}`, e);
    }
  }
  console.log(`AWS SDK for JavaScript sns: ${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
})();
