package sns

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/hermodmq/hermod/bridge/aws"
)

// deliverWebhook posts to the URL that is configured for a protocol whose
// endpoints are not to be had on one's own machines: functions, streams, SMS
// and push. docs/sns.md describes the bodies.
func (s *Service) deliverWebhook(t *topic, sub *subscription, n *notice) *failure {
	hook := s.opt.Webhooks[sub.Protocol]
	if hook == "" {
		return temporary("NoWebhook", "aws.sns.webhooks."+sub.Protocol+" is not configured")
	}
	kind := sub.Protocol
	if kind == "application" {
		kind = platformOf(sub.Endpoint)
	}
	text := n.textFor(kind)
	var body []byte
	switch sub.Protocol {
	case "lambda":
		body = s.lambdaEvent(t, sub, n, text)
	case "firehose":
		data := []byte(text)
		if !sub.raw {
			data = s.envelope(t, sub, n, text)
		}
		body, _ = json.Marshal(map[string]any{
			"requestId": aws.NewRequestID(), "timestamp": s.opt.Now().UnixMilli(),
			"records": []any{map[string]string{"data": base64.StdEncoding.EncodeToString(data)}},
		})
	default:
		body, _ = json.Marshal(map[string]any{
			"endpoint": sub.Endpoint, "message": text, "subject": n.subject, "messageId": n.id.String(),
			"topicArn": t.ARN, "attributes": attributeMap(n),
		})
	}
	return s.postHook(hook, sub.Protocol, sub.Endpoint, body)
}

func (s *Service) postHook(hook, protocol, endpoint string, body []byte) *failure {
	hook = strings.ReplaceAll(hook, "{endpoint}", pathEscape(endpoint))
	return s.post(hook, body, map[string]string{
		"Content-Type": "application/json", "x-hermod-sns-protocol": protocol, "x-hermod-sns-endpoint": headerValue(endpoint),
	})
}

func attributeMap(n *notice) map[string]map[string]string {
	m := make(map[string]map[string]string, len(n.attributes))
	for i := range n.attributes {
		a := &n.attributes[i]
		value := string(a.Value)
		if a.Binary() {
			value = base64.StdEncoding.EncodeToString(a.Value)
		}
		m[a.Name] = map[string]string{"Type": a.Type, "Value": value}
	}
	return m
}

// lambdaEvent is the event a function gets.
func (s *Service) lambdaEvent(t *topic, sub *subscription, n *notice, text string) []byte {
	type record struct {
		Type, MessageId, TopicArn string
		Subject                   *string
		Message, Timestamp        string
		SignatureVersion          string
		Signature                 string
		SigningCertUrl            string
		UnsubscribeUrl            string
		MessageAttributes         map[string]map[string]string
	}
	r := record{
		Type: "Notification", MessageId: n.id.String(), TopicArn: t.ARN, Message: text, Timestamp: timestamp(n.time),
		SignatureVersion: t.signatureVersion(), Signature: s.signature(t, sub, n, text), SigningCertUrl: s.certURL(),
		UnsubscribeUrl: s.unsubscribeURL(sub.ARN), MessageAttributes: attributeMap(n),
	}
	if n.subject != "" {
		r.Subject = &n.subject
	}
	body, _ := json.Marshal(map[string]any{"Records": []any{map[string]any{
		"EventSource": "aws:sns", "EventVersion": "1.0", "EventSubscriptionArn": sub.ARN, "Sns": r,
	}}})
	return body
}

func pathEscape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~", c) >= 0 {
			b.WriteByte(c)
		} else {
			const digits = "0123456789ABCDEF"
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

func headerValue(s string) string {
	if headerText(s) {
		return s
	}
	return pathEscape(s)
}
