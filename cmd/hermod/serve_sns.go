package main

import (
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/aws/policy"
	"github.com/hermodmq/hermod/bridge/endpoint"
	"github.com/hermodmq/hermod/bridge/sns"
	"github.com/hermodmq/hermod/bridge/sqs"
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/cmd/hermod/config"
)

const snsTick = 250 * time.Millisecond

// openSNS registers SNS with the endpoint of the AWS services.
func (n *node) openSNS(ep *endpoint.Endpoint, queues *sqs.Service) error {
	c := &n.config.AWS.SNS
	allow, err := config.Networks(c.Allow)
	if err != nil {
		return err
	}
	deny, err := config.Networks(c.Deny)
	if err != nil {
		return err
	}
	roots, err := authorities(c.CAFile)
	if err != nil {
		return fmt.Errorf("aws.sns.ca_file: %w", err)
	}
	s := sns.New(ep, sns.Options{
		Now:    wallClock,
		Queues: snsQueues{queues, c.EnforceQueuePolicy}, BaseURL: n.snsBase(), SignQueues: c.SignQueues, Retention: duration(c.Retention), Parked: duration(c.ParkedRetry),
		HTTP: sns.HTTPOptions{Timeout: duration(c.Timeout), Allow: allow, Deny: deny, Workers: c.Workers, Roots: roots},
		Mail: sns.MailOptions(c.Mail),
		Webhooks: map[string]string{
			"lambda": c.Webhooks.Lambda, "firehose": c.Webhooks.Firehose, "sms": c.Webhooks.SMS, "application": c.Webhooks.Application,
		},
		Turn: func() (*broker.Turn, func()) {
			t := newTurn()
			return t, func() { endTurn(t) }
		},
		Logger: n.log.With("component", "sns"),
	})
	queues.SetSigner(s.Sign)
	ep.Register("sns", sns.Version, sns.Namespace, "", s)
	t := newTurn()
	s.Start(t)
	endTurn(t)
	n.every(snsTick, s.Tick)
	n.stop = append(n.stop, s.Close)
	return nil
}

// authorities are the system's and those in a file; nil if the file is "".
func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return pool, nil
}

// duration reads a duration that was checked.
func duration(s string) time.Duration {
	d, _ := time.ParseDuration(s)
	return d
}

// snsBase is the address by which endpoints reach us.
func (n *node) snsBase() string {
	for _, base := range []string{n.config.AWS.SNS.BaseURL, n.config.AWS.BaseURL} {
		if base != "" {
			return strings.TrimSuffix(base, "/")
		}
	}
	scheme, address := "http", n.config.Listeners.AWS.Address
	if address == config.Off {
		scheme, address = "https", n.config.Listeners.AWS.TLSAddress
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "0" {
		return "" // the service learns it from its callers
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			host = "localhost"
		}
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// snsQueues is what SNS has to know of the queues of SQS.
type snsQueues struct {
	*sqs.Service
	enforce bool // a queue's policy must allow its topics
}

// Allows implements sns.Queues.
func (q snsQueues) Allows(queue, topic, account string) bool {
	d := q.Policy(queue).Evaluate(&policy.Request{
		Service: "sns.amazonaws.com", Action: "SQS:SendMessage", Resource: queue,
		Condition: func(key string) []string {
			switch key {
			case "aws:sourcearn":
				return []string{topic}
			case "aws:sourceaccount", "aws:sourceowner":
				return []string{account}
			}
			return nil
		},
	})
	a, _, _ := aws.ParseARN(queue)
	return d == policy.Allow || d == policy.None && !q.enforce && a.Account == account
}
