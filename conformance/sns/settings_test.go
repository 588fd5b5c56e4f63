package sns

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sns"
)

// A scope is kept, but shown only beside a policy.
func TestSNS14_ScopeWithoutPolicy(t *testing.T) {
	w := open(t)
	sub := w.subscribe(w.topic(), "sqs", w.queue().arn)
	w.must(w.set(sub, "FilterPolicyScope", "MessageBody"))
	if have, ok := w.subscription(sub)["FilterPolicyScope"]; ok {
		t.Errorf("scope %q without a policy", have)
	}
	w.must(w.set(sub, "FilterPolicy", `{"a":{"b":["x"]}}`))
	if have := w.subscription(sub)["FilterPolicyScope"]; have != "MessageBody" {
		t.Errorf("scope %q", have)
	}
	w.must(w.set(sub, "FilterPolicy", "{}"))
	if have := w.subscription(sub); have["FilterPolicyScope"] != "" || have["FilterPolicy"] != "" {
		t.Errorf("%v", have)
	}
}

// Subscriptions of any protocol keep a delivery policy.
func TestSNS14_DeliveryPolicyOfAnyProtocol(t *testing.T) {
	w := open(t)
	policy := `{"healthyRetryPolicy":{"minDelayTarget":5,"maxDelayTarget":20,"numRetries":5}}`
	arn, q := w.topic(), w.queue()
	sub := w.subscribe(arn, "sqs", q.arn, "DeliveryPolicy", policy)
	if have := w.subscription(sub)["DeliveryPolicy"]; !strings.Contains(have, `"numRetries":5`) {
		t.Errorf("%s", have)
	}
	w.publish(arn, "hello")
	if e := w.envelope(q); e.Message != "hello" {
		t.Errorf("%+v", e)
	}
	w.must(w.set(sub, "DeliveryPolicy", ""))
	if have, ok := w.subscription(sub)["DeliveryPolicy"]; ok {
		t.Errorf("still %s", have)
	}
}

// Empty values put the settings of text messages back to what they were.
func TestSNS49_SMSAttributesReset(t *testing.T) {
	w := open(t)
	set := func(attributes ...string) error {
		_, err := w.SetSMSAttributes(ctx, &sns.SetSMSAttributesInput{Attributes: pairs(attributes)})
		return err
	}
	get := func(names ...string) map[string]string {
		r, err := w.GetSMSAttributes(ctx, &sns.GetSMSAttributesInput{Attributes: names})
		w.must(err)
		return r.Attributes
	}
	names := []string{"DefaultSMSType", "DefaultSenderID", "DeliveryStatusIAMRole", "DeliveryStatusSuccessSamplingRate", "MonthlySpendLimit", "UsageReportS3Bucket"}
	w.must(set("DefaultSMSType", "Transactional", "DefaultSenderID", "Hermod1", "MonthlySpendLimit", "2", "UsageReportS3Bucket", "bucket"))
	if have := get(); have["DefaultSMSType"] != "Transactional" || have["DefaultSenderID"] != "Hermod1" || have["MonthlySpendLimit"] != "2" || have["UsageReportS3Bucket"] != "bucket" {
		t.Errorf("%v", have)
	}
	var reset []string
	for _, name := range names {
		reset = append(reset, name, "")
	}
	w.must(set(reset...))
	for _, have := range []map[string]string{get(), get("MonthlySpendLimit", "DefaultSMSType")} {
		if len(have) != 1 || have["MonthlySpendLimit"] != "1" {
			t.Errorf("after the reset: %v", have)
		}
	}
	for _, bad := range []string{"123456", "twelveletter", "a b", "ümlaut"} {
		w.refused(set("DefaultSenderID", bad), "InvalidParameter", "DefaultSendID is not a valid attribute")
	}
	w.refused(set("Nonsense", ""), "InvalidParameter", "Nonsense is not a valid attribute")
	_, err := w.SetSMSAttributes(ctx, &sns.SetSMSAttributesInput{Attributes: map[string]string{"DefaultSMSType": "nonsense"}})
	w.refused(err, "InvalidParameter", "DefaultSMSType is invalid")
}
