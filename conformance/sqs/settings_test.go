package sqs

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// SQS-50, SQS-53: redrive policies are shown in one spelling, however they
// were written, and compared by what they mean.
func TestSQS50_RedrivePolicySpelling(t *testing.T) {
	w := open(t)
	deadURL, url := w.queue(), w.queue()
	dead := w.arnOf(deadURL)
	want := `{"deadLetterTargetArn":"` + dead + `","maxReceiveCount":4}`
	for _, written := range []string{
		want,
		"{\n  \"maxReceiveCount\": 4,\n  \"deadLetterTargetArn\": \"" + dead + "\"\n}\n",
		`{"maxReceiveCount":"4", "deadLetterTargetArn":"` + dead + `"}`,
	} {
		if err := w.set(url, "RedrivePolicy", written); err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if got := w.attributes(url, "All")["RedrivePolicy"]; got != want {
			t.Errorf("%s: shown as %s", written, got)
		}
		name := unique()
		var urls [2]string
		for i, text := range []string{written, want} {
			out, err := w.CreateQueue(ctx(), &sqs.CreateQueueInput{QueueName: &name, Attributes: map[string]string{"RedrivePolicy": text}})
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			urls[i] = *out.QueueUrl
		}
		if urls[0] != urls[1] {
			t.Errorf("%v", urls)
		}
	}
	allow := `{"redrivePermission":"byQueue","sourceQueueArns":["` + w.arnOf(url) + `"]}`
	for written, want := range map[string]string{
		"{ \"sourceQueueArns\": [ \"" + w.arnOf(url) + "\" ],\n \"redrivePermission\": \"byQueue\" }\n": allow,
		allow:                                 allow,
		`{ "redrivePermission" : "denyAll" }`: `{"redrivePermission":"denyAll"}`,
	} {
		if err := w.set(deadURL, "RedriveAllowPolicy", written); err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if got := w.attributes(deadURL, "All")["RedriveAllowPolicy"]; got != want {
			t.Errorf("%s: shown as %s", written, got)
		}
	}
}

// SQS-9: SSE-SQS takes the place of a key of KMS, and of what was set for it.
func TestSQS9_ManagedEncryptionAfterKMS(t *testing.T) {
	w := open(t)
	url := w.queue("KmsMasterKeyId", "k", "KmsDataKeyReusePeriodSeconds", "6000")
	if got := w.attributes(url, "All"); got["KmsMasterKeyId"] != "k" || got["KmsDataKeyReusePeriodSeconds"] != "6000" || got["SqsManagedSseEnabled"] != "false" {
		t.Errorf("%v", got)
	}
	if err := w.set(url, "SqsManagedSseEnabled", "true"); err != nil {
		t.Fatal(err)
	}
	got := w.attributes(url, "All")
	_, key := got["KmsMasterKeyId"]
	_, reuse := got["KmsDataKeyReusePeriodSeconds"]
	if key || reuse || got["SqsManagedSseEnabled"] != "true" {
		t.Errorf("%v", got)
	}
}
