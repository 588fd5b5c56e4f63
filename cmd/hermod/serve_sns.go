package main

import (
	"net"
	"os"
	"strings"
	"time"

	"github.com/hermodmq/hermod/bridge/endpoint"
	"github.com/hermodmq/hermod/bridge/sns"
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/cmd/hermod/config"
)

const snsTick = 250 * time.Millisecond

// openSNS registers SNS with the endpoint of the AWS services.
func (n *node) openSNS(ep *endpoint.Endpoint, queues sns.Queues) error {
	c := &n.config.AWS.SNS
	allow, err := config.Networks(c.Allow)
	if err != nil {
		return err
	}
	deny, err := config.Networks(c.Deny)
	if err != nil {
		return err
	}
	s := sns.New(ep, sns.Options{
		Queues: queues, BaseURL: n.snsBase(), SignQueues: c.SignQueues, Retention: duration(c.Retention), Parked: duration(c.ParkedRetry),
		HTTP: sns.HTTPOptions{Timeout: duration(c.Timeout), Allow: allow, Deny: deny, Workers: c.Workers},
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
	ep.Register("sns", sns.Version, sns.Namespace, "", s)
	t := newTurn()
	s.Start(t)
	endTurn(t)
	stop := every(snsTick, func() {
		t := newTurn()
		s.Tick(t)
		endTurn(t)
	})
	n.stop = append(n.stop, stop, s.Close)
	return nil
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
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			host = "localhost"
		}
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// plainQueues is SQS without its service: queues by their own names, no
// policies.
type plainQueues struct{ endpoint *endpoint.Endpoint }

func (p plainQueues) Resolve(account, name string) (*broker.Queue, bool) {
	v := p.endpoint.VHostOf(account)
	if v == nil {
		return nil, false
	}
	q := v.Queue(name)
	return q, q != nil
}

func (plainQueues) Allows(*broker.Queue, string, string, string) bool { return true }
