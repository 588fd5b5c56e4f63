package config

import (
	"net/netip"
	"time"
)

// SNS configures the SNS service.
type SNS struct {
	BaseURL            string   `koanf:"base_url"`             // in links of confirmations and notifications; "" is aws.base_url, or this host
	Allow              []string `koanf:"allow"`                // networks that HTTP endpoints may be in; empty: all
	Deny               []string `koanf:"deny"`                 // networks they may not be in, whatever allow says
	CAFile             string   `koanf:"ca_file"`              // authorities of HTTPS endpoints and the mail server, beside those of the system
	Timeout            string   `koanf:"timeout"`              // of one attempt to deliver
	Workers            int      `koanf:"workers"`              // attempts at a time
	EnforceQueuePolicy bool     `koanf:"enforce_queue_policy"` // an SQS queue gets a topic's messages only if its policy allows it
	SignQueues         bool     `koanf:"sign_queues"`          // sign notifications in SQS queues
	Retention          string   `koanf:"retention"`            // of what no delivery policy covers any more; 0s drops it as AWS does
	ParkedRetry        string   `koanf:"parked_retry"`         // between attempts to deliver that

	Mail     SNSMail     `koanf:"mail"`
	Webhooks SNSWebhooks `koanf:"webhooks"`
}

// SNSMail says how notifications by mail leave.
type SNSMail struct {
	Address  string `koanf:"address"` // host:port of an SMTP server; "" is none
	From     string `koanf:"from"`
	User     string `koanf:"user"`
	Password string `koanf:"password"`
	TLS      string `koanf:"tls"` // off, starttls (if offered), required (STARTTLS or nothing) or on
}

// SNSWebhooks are the URLs that take notifications for protocols whose
// endpoints are AWS's own.
type SNSWebhooks struct {
	Lambda      string `koanf:"lambda"`
	Firehose    string `koanf:"firehose"`
	SMS         string `koanf:"sms"`
	Application string `koanf:"application"`
}

func snsDefaults() map[string]any {
	return map[string]any{
		"aws.sns.base_url":             "",
		"aws.sns.allow":                []string{},
		"aws.sns.deny":                 []string{"169.254.0.0/16", "fe80::/10"}, // where clouds answer with credentials
		"aws.sns.ca_file":              "",
		"aws.sns.timeout":              "15s",
		"aws.sns.workers":              256,
		"aws.sns.sign_queues":          true,
		"aws.sns.enforce_queue_policy": false,
		"aws.sns.retention":            "336h",
		"aws.sns.parked_retry":         "10m",
		"aws.sns.mail.address":         "",
		"aws.sns.mail.from":            "no-reply@localhost",
		"aws.sns.mail.user":            "",
		"aws.sns.mail.password":        "",
		"aws.sns.mail.tls":             "starttls",
		"aws.sns.webhooks.lambda":      "",
		"aws.sns.webhooks.firehose":    "",
		"aws.sns.webhooks.sms":         "",
		"aws.sns.webhooks.application": "",
	}
}

func (c *Config) snsChecks() []check {
	s := &c.AWS.SNS
	_, allow := Networks(s.Allow)
	_, deny := Networks(s.Deny)
	return []check{
		{allow != nil, "aws.sns.allow: networks such as 10.0.0.0/8"},
		{deny != nil, "aws.sns.deny: networks such as 10.0.0.0/8"},
		{badDuration(s.Timeout) || s.Timeout == "0s", "aws.sns.timeout: a duration such as 15s"},
		{badDuration(s.Retention), "aws.sns.retention: a duration such as 336h"},
		{badDuration(s.ParkedRetry), "aws.sns.parked_retry: a duration such as 10m"},
		{s.Workers < 1, "aws.sns.workers: 1 or more"},
		{!oneOf(s.Mail.TLS, "off", "starttls", "required", "on"), "aws.sns.mail.tls: off, starttls, required or on"},
	}
}

func badDuration(s string) bool {
	d, err := time.ParseDuration(s)
	return err != nil || d < 0
}

// Networks reads a list of networks; an address is a network of one.
func Networks(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, err2 := netip.ParseAddr(s)
			if err2 != nil {
				return nil, err
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, p)
	}
	return out, nil
}
