"""SQS and STS with boto3, and the AWS CLI where it is installed.

AWS_ENDPOINT names the endpoint. Prints one line; exits 1 when a chapter failed.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import traceback
import uuid

import boto3
import botocore
from botocore.exceptions import ClientError

ENDPOINT = os.environ["AWS_ENDPOINT"]
AUTH = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
QUERY = tuple(int(x) for x in botocore.__version__.split(".")[:2]) < (1, 32)
sqs = boto3.client("sqs", endpoint_url=ENDPOINT, **AUTH)


def check(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def queue(suffix="", **attributes):
    return sqs.create_queue(QueueName="boto-" + uuid.uuid4().hex[:12] + suffix, Attributes=attributes)["QueueUrl"]


def round_trip():
    url = queue()
    sent = sqs.send_message(
        QueueUrl=url, MessageBody='größe 😀 "<&>\r\n',
        MessageAttributes={"s": {"DataType": "String", "StringValue": "v"}, "b": {"DataType": "Binary", "BinaryValue": b"\x00\xff"}, "n": {"DataType": "Number.int", "StringValue": "7"}},
    )
    check(sent["MD5OfMessageBody"], hashlib.md5('größe 😀 "<&>\r\n'.encode()).hexdigest(), "digest")
    m = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5, AttributeNames=["All"], MessageAttributeNames=["All"])["Messages"][0]
    check(m["Body"], 'größe 😀 "<&>\r\n', "body")
    check(m["MessageId"], sent["MessageId"], "id")
    check(m["MD5OfMessageAttributes"], sent["MD5OfMessageAttributes"], "digest of attributes")
    check(m["MessageAttributes"]["b"]["BinaryValue"], b"\x00\xff", "bytes")
    check(m["Attributes"]["ApproximateReceiveCount"], "1", "count")
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"], VisibilityTimeout=0)
    m = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"][0]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])
    check(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])["Attributes"]["ApproximateNumberOfMessages"], "0", "left")
    sqs.delete_queue(QueueUrl=url)


def batches():
    url = queue()
    out = sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": str(i), "MessageBody": f"m{i}"} for i in range(10)])
    check(len(out["Successful"]), 10, "sent")
    check(out.get("Failed", []), [], "failed")
    got = []
    while len(got) < 10:
        list_ = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=5)["Messages"]
        got += [m["Body"] for m in list_]
        out = sqs.delete_message_batch(
            QueueUrl=url, Entries=[{"Id": str(i), "ReceiptHandle": m["ReceiptHandle"]} for i, m in enumerate(list_)] [:9] + [{"Id": "bad", "ReceiptHandle": "x"}])
        check(out["Failed"][0]["Code"], "ReceiptHandleIsInvalid", "the bad entry")
    check(sorted(got), sorted(f"m{i}" for i in range(10)), "received")


def fifo():
    url = queue(".fifo", FifoQueue="true", ContentBasedDeduplication="true")
    a = sqs.send_message(QueueUrl=url, MessageBody="1", MessageGroupId="g")
    check(sqs.send_message(QueueUrl=url, MessageBody="1", MessageGroupId="g")["MessageId"], a["MessageId"], "a duplicate's id")
    sqs.send_message(QueueUrl=url, MessageBody="2", MessageGroupId="g")
    first = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
    check([m["Body"] for m in first], ["1"], "first")
    check(sqs.receive_message(QueueUrl=url).get("Messages"), None, "while the group is locked")
    sqs.delete_message(QueueUrl=url, ReceiptHandle=first[0]["ReceiptHandle"])
    check([m["Body"] for m in sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]], ["2"], "second")


def errors():
    try:
        sqs.send_message(QueueUrl=ENDPOINT + "/000000000000/none", MessageBody="x")
        raise AssertionError("no error")
    except ClientError as e:
        check(e.response["Error"]["Code"], "AWS.SimpleQueueService.NonExistentQueue", "code")
        text = "The specified queue does not exist" + (" for this wsdl version." if QUERY else ".")
        check(e.response["Error"]["Message"], text, "text")
    try:
        sqs.get_queue_url(QueueName="none")
        raise AssertionError("no error")
    except sqs.exceptions.QueueDoesNotExist:
        pass


def long_poll():
    url = queue()
    began = time.monotonic()
    check(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=2).get("Messages"), None, "messages")
    if not 1.9 < time.monotonic() - began < 10:
        raise AssertionError(f"waited {time.monotonic() - began} s, want 2")


def resource():
    q = boto3.resource("sqs", endpoint_url=ENDPOINT, **AUTH).create_queue(QueueName="boto-" + uuid.uuid4().hex[:12])
    q.send_message(MessageBody="x")
    for m in q.receive_messages(WaitTimeSeconds=5):
        check(m.body, "x", "body")
        m.delete()
    q.purge()
    q.delete()


def identity():
    check(boto3.client("sts", endpoint_url=ENDPOINT, **AUTH).get_caller_identity()["Account"], "000000000000", "account")


def command_line():
    aws = shutil.which("aws", path=os.path.dirname(sys.executable))
    if QUERY or not aws:
        return
    env = {**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}

    def run(*args):
        out = subprocess.run([aws, "--endpoint-url", ENDPOINT, "sqs", *args], env=env, capture_output=True, text=True, timeout=60)
        if out.returncode:
            raise AssertionError(out.stderr)
        return json.loads(out.stdout or "{}")

    url = run("create-queue", "--queue-name", "cli-" + uuid.uuid4().hex[:12])["QueueUrl"]
    run("send-message", "--queue-url", url, "--message-body", "hello")
    m = run("receive-message", "--queue-url", url, "--wait-time-seconds", "5")["Messages"][0]
    check(m["Body"], "hello", "body")
    run("delete-message", "--queue-url", url, "--receipt-handle", m["ReceiptHandle"])


CHAPTERS = [round_trip, batches, fifo, errors, long_poll, resource, identity, command_line]


def main():
    failed = 0
    for chapter in CHAPTERS:
        try:
            chapter()
        except Exception:  # a chapter may fail in any way; the others still run
            failed += 1
            print(f"FAIL {chapter.__name__}", file=sys.stderr)
            traceback.print_exc()
    name = "boto3 of the Query protocol" if QUERY else "boto3 and AWS CLI"
    print(f"{name}: {len(CHAPTERS) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
