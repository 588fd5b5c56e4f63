"""SNS with boto3, with SQS queues as subscribers.

AWS_ENDPOINT names the endpoint. Prints one line; exits 1 when a chapter failed.
"""

import json
import os
import sys
import traceback
import uuid

import boto3
from botocore.exceptions import ClientError

ENDPOINT = os.environ["AWS_ENDPOINT"]
AUTH = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
sns = boto3.client("sns", endpoint_url=ENDPOINT, **AUTH)
sqs = boto3.client("sqs", endpoint_url=ENDPOINT, **AUTH)


def check(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def name(suffix=""):
    return "boto-" + uuid.uuid4().hex[:12] + suffix


def topic(suffix="", **attributes):
    return sns.create_topic(Name=name(suffix), Attributes=attributes)["TopicArn"]


def queue(suffix="", **attributes):
    url = sqs.create_queue(QueueName=name(suffix), Attributes=attributes)["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def subscribe(topic_arn, queue_arn, **attributes):
    return sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=queue_arn, Attributes=attributes, ReturnSubscriptionArn=True)["SubscriptionArn"]


def receive(url, count=1):
    """Takes count messages and deletes them."""
    got = []
    while len(got) < count:
        some = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=10, MaxNumberOfMessages=min(10, count - len(got)),
                                   AttributeNames=["All"], MessageAttributeNames=["All"]).get("Messages")
        if not some:
            raise AssertionError(f"{len(got)} of {count} messages arrived")
        for m in some:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])
        got += some
    return got


def empty(url, what):
    # A publish is in its queues when it is answered.
    check(sqs.receive_message(QueueUrl=url).get("Messages"), None, what)


def refused(code, call, **parameters):
    try:
        call(**parameters)
    except ClientError as e:
        check(e.response["Error"]["Code"], code, "code")
        return e
    raise AssertionError(f"no {code}")


def topics():
    arn = topic()
    check(sns.create_topic(Name=arn.rsplit(":", 1)[1])["TopicArn"], arn, "the same topic")
    if arn not in [t["TopicArn"] for page in sns.get_paginator("list_topics").paginate() for t in page["Topics"]]:
        raise AssertionError("topic not listed")
    sns.set_topic_attributes(TopicArn=arn, AttributeName="DisplayName", AttributeValue="prices")
    check(sns.get_topic_attributes(TopicArn=arn)["Attributes"]["DisplayName"], "prices", "DisplayName")
    sns.tag_resource(ResourceArn=arn, Tags=[{"Key": "k", "Value": "v"}])
    check(sns.list_tags_for_resource(ResourceArn=arn)["Tags"], [{"Key": "k", "Value": "v"}], "tags")
    sns.delete_topic(TopicArn=arn)
    refused("NotFound", sns.get_topic_attributes, TopicArn=arn)


def enveloped():
    arn, (url, queue_arn) = topic(), queue()
    sub = subscribe(arn, queue_arn)
    text = 'größe 😀 "<&>\r\n'
    sent = sns.publish(TopicArn=arn, Message=text, Subject="a subject", MessageAttributes={
        "s": {"DataType": "String", "StringValue": "v"}, "b": {"DataType": "Binary", "BinaryValue": b"\x00\xff"}})
    e = json.loads(receive(url)[0]["Body"])
    for key, want in {"Type": "Notification", "MessageId": sent["MessageId"], "TopicArn": arn, "Subject": "a subject", "Message": text}.items():
        check(e[key], want, key)
    check(e["MessageAttributes"], {"s": {"Type": "String", "Value": "v"}, "b": {"Type": "Binary", "Value": "AP8="}}, "attributes")
    sns.unsubscribe(SubscriptionArn=sub)
    sns.publish(TopicArn=arn, Message="x")
    empty(url, "after the subscription ended")


def raw():
    arn, (url, queue_arn) = topic(), queue()
    subscribe(arn, queue_arn, RawMessageDelivery="true")
    sns.publish(TopicArn=arn, Message="größe", MessageAttributes={"n": {"DataType": "Number", "StringValue": "7"}})
    m = receive(url)[0]
    check(m["Body"], "größe", "body")
    check(m["MessageAttributes"], {"n": {"DataType": "Number", "StringValue": "7"}}, "attributes")


def filter_attributes():
    arn, (url, queue_arn) = topic(), queue()
    sub = subscribe(arn, queue_arn, RawMessageDelivery="true",
                    FilterPolicy=json.dumps({"region": [{"prefix": "eu"}], "price": [{"numeric": [">", 10, "<=", 20]}]}))

    def publish(region, price):
        sns.publish(TopicArn=arn, Message=f"{region} {price}", MessageAttributes={
            "region": {"DataType": "String", "StringValue": region}, "price": {"DataType": "Number", "StringValue": price}})

    for region, price in [("us-east", "15"), ("eu-north", "10"), ("eu-north", "20"), ("eu-west", "20.5"), ("eu-west", "10.5")]:
        publish(region, price)
    sns.publish(TopicArn=arn, Message="without attributes")
    check(sorted(m["Body"] for m in receive(url, 2)), ["eu-north 20", "eu-west 10.5"], "taken")
    empty(url, "filtered")
    sns.set_subscription_attributes(SubscriptionArn=sub, AttributeName="FilterPolicy", AttributeValue="{}")
    publish("us-east", "1")
    check(receive(url)[0]["Body"], "us-east 1", "without a policy")
    e = refused("InvalidParameter", sns.set_subscription_attributes, SubscriptionArn=sub, AttributeName="FilterPolicy", AttributeValue='{"a":[{"unknown":1}]}')
    if "FilterPolicy" not in e.response["Error"]["Message"]:
        raise AssertionError(e)


def filter_body():
    arn, (url, queue_arn) = topic(), queue()
    subscribe(arn, queue_arn, RawMessageDelivery="true", FilterPolicyScope="MessageBody",
              FilterPolicy=json.dumps({"order": {"state": ["paid"], "total": [{"numeric": [">=", 100]}]}}))
    bodies = [{"order": {"state": "paid", "total": 100}}, {"order": {"state": "paid", "total": 99}}, {"order": {"state": "open", "total": 100}}, {"state": "paid"}]
    for body in bodies:
        sns.publish(TopicArn=arn, Message=json.dumps(body))
    sns.publish(TopicArn=arn, Message="no JSON")
    check(json.loads(receive(url)[0]["Body"]), bodies[0], "taken")
    empty(url, "filtered")


def batch():
    arn, (url, queue_arn) = topic(), queue()
    subscribe(arn, queue_arn, RawMessageDelivery="true")
    entries = [{"Id": f"e{i}", "Message": f"m{i}"} for i in range(9)]
    refused("InvalidParameter", sns.publish_batch, TopicArn=arn, PublishBatchRequestEntries=entries + [{"Id": "bad", "Message": ""}])
    out = sns.publish_batch(TopicArn=arn, PublishBatchRequestEntries=entries)
    check([e["Id"] for e in out["Successful"]], [f"e{i}" for i in range(9)], "sent")
    check(out["Failed"], [], "failed")
    check(sorted(m["Body"] for m in receive(url, 9)), [f"m{i}" for i in range(9)], "received")
    empty(url, "the batch that was refused")
    refused("TooManyEntriesInBatchRequest", sns.publish_batch, TopicArn=arn,
            PublishBatchRequestEntries=[{"Id": f"e{i}", "Message": "x"} for i in range(11)])
    refused("BatchEntryIdsNotDistinct", sns.publish_batch, TopicArn=arn,
            PublishBatchRequestEntries=[{"Id": "same", "Message": "x"}, {"Id": "same", "Message": "y"}])


def fifo():
    arn, (url, queue_arn) = topic(".fifo", FifoTopic="true"), queue(".fifo", FifoQueue="true")
    subscribe(arn, queue_arn, RawMessageDelivery="true")
    sent = [sns.publish(TopicArn=arn, Message=f"m{i}", MessageGroupId="g", MessageDeduplicationId=f"d{i}") for i in range(10)]
    numbers = [s["SequenceNumber"] for s in sent]
    check(numbers, sorted(set(numbers)), "sequence numbers")
    again = sns.publish(TopicArn=arn, Message="other", MessageGroupId="g", MessageDeduplicationId="d3")
    check(again["MessageId"], sent[3]["MessageId"], "id of a duplicate")
    got = [receive(url)[0] for _ in range(10)]
    check([m["Body"] for m in got], [f"m{i}" for i in range(10)], "order")
    check({m["Attributes"]["MessageGroupId"] for m in got}, {"g"}, "group")
    check([m["Attributes"]["MessageDeduplicationId"] for m in got], [f"d{i}" for i in range(10)], "deduplication ids")
    empty(url, "the duplicate")
    refused("InvalidParameter", sns.publish, TopicArn=arn, Message="no group")
    refused("InvalidParameter", sns.subscribe, TopicArn=topic(), Protocol="sqs", Endpoint=queue_arn)


def structure():
    arn, (url, queue_arn) = topic(), queue()
    subscribe(arn, queue_arn, RawMessageDelivery="true")
    sns.publish(TopicArn=arn, MessageStructure="json", Message=json.dumps({"default": "for all", "sqs": "for queues"}))
    check(receive(url)[0]["Body"], "for queues", "text")
    refused("InvalidParameter", sns.publish, TopicArn=arn, MessageStructure="json", Message='{"sqs":"x"}')


def errors():
    none = "arn:aws:sns:us-east-1:000000000000:" + name()
    e = refused("NotFound", sns.publish, TopicArn=none, Message="x")
    check(e.response["Error"]["Message"], "Topic does not exist", "text")
    check(isinstance(e, sns.exceptions.NotFoundException), True, "class of the error")
    check(e.response["ResponseMetadata"]["HTTPStatusCode"], 404, "status")
    arn = topic()
    refused("InvalidParameter", sns.create_topic, Name="a name")
    refused("InvalidParameter", sns.publish, TopicArn=arn, Message="")
    refused("InvalidParameter", sns.publish, TopicArn=arn, Message="x" * 262145)
    refused("InvalidParameter", sns.subscribe, TopicArn=arn, Protocol="pigeon", Endpoint="x")
    refused("NotFound", sns.get_subscription_attributes, SubscriptionArn=arn + ":" + str(uuid.uuid4()))


def resource():
    t = boto3.resource("sns", endpoint_url=ENDPOINT, **AUTH).create_topic(Name=name())
    url, queue_arn = queue()
    t.subscribe(Protocol="sqs", Endpoint=queue_arn, Attributes={"RawMessageDelivery": "true"})
    check([s.attributes["Endpoint"] for s in t.subscriptions.all()], [queue_arn], "subscriptions")
    t.publish(Message="x")
    check(receive(url)[0]["Body"], "x", "body")
    t.delete()


CHAPTERS = [topics, enveloped, raw, filter_attributes, filter_body, batch, fifo, structure, errors, resource]


def main():
    failed = 0
    for chapter in CHAPTERS:
        try:
            chapter()
        except Exception:  # a chapter may fail in any way; the others still run
            failed += 1
            print(f"FAIL {chapter.__name__}", file=sys.stderr)
            traceback.print_exc()
    print(f"boto3 sns: {len(CHAPTERS) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
