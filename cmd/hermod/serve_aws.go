package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/endpoint"
	"github.com/hermodmq/hermod/bridge/sqs"
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/cmd/hermod/config"
	"github.com/hermodmq/hermod/listeners/http"
	"github.com/hermodmq/hermod/listeners/transport"
	"github.com/hermodmq/hermod/listeners/web"
)

// openServices makes the AWS services, whose settings of queues are in force
// for every protocol and whether their listener is on or not, and starts their
// clock.
func (n *node) openServices() error {
	ep, err := n.newEndpoint()
	if err != nil {
		return err
	}
	n.aws = ep
	if name := n.config.Definitions.Import; name != "" {
		body, err := os.ReadFile(name)
		if err == nil {
			err = ep.ImportKeys(body, nil)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	t := newTurn()
	defer endTurn(t)
	queues := sqs.New(t, ep, sqs.Options{
		InFlight: n.config.AWS.InFlight, StrictTiming: n.config.AWS.StrictTiming, Logger: n.log.With("component", "sqs"),
	})
	n.sqs.Store(queues)
	n.every(tickInterval, queues.Tick)
	return n.openSNS(ep, queues)
}

// sqsSamples are the metrics of CloudWatch's namespace AWS/SQS for
// /metrics/sqs, named as the exporters of CloudWatch do.
func (n *node) sqsSamples() []http.Sample {
	queues := n.sqs.Load()
	if queues == nil {
		return nil // a standby
	}
	var list []http.Sample
	for _, m := range queues.Metrics() {
		labels := prometheus.Labels{"account_id": m.Account, "queue_name": m.Queue}
		add := func(name, help string, counter bool, v float64) {
			list = append(list, http.Sample{Name: "aws_sqs_" + name, Help: help, Counter: counter, Value: v, Labels: labels})
		}
		add("number_of_messages_sent_total", "NumberOfMessagesSent", true, float64(m.NumberOfMessagesSent))
		add("sent_message_size_bytes_total", "SentMessageSize, the sum", true, float64(m.SentMessageSize))
		add("number_of_messages_received_total", "NumberOfMessagesReceived", true, float64(m.NumberOfMessagesReceived))
		add("number_of_messages_deleted_total", "NumberOfMessagesDeleted", true, float64(m.NumberOfMessagesDeleted))
		add("number_of_empty_receives_total", "NumberOfEmptyReceives", true, float64(m.NumberOfEmptyReceives))
		if m.Fifo {
			add("number_of_deduplicated_sent_messages_total", "NumberOfDeduplicatedSentMessages", true, float64(m.NumberOfDeduplicatedSentMessages))
		}
		add("approximate_number_of_messages_visible", "ApproximateNumberOfMessagesVisible", false, float64(m.ApproximateNumberOfMessagesVisible))
		add("approximate_number_of_messages_not_visible", "ApproximateNumberOfMessagesNotVisible", false, float64(m.ApproximateNumberOfMessagesNotVisible))
		add("approximate_number_of_messages_delayed", "ApproximateNumberOfMessagesDelayed", false, float64(m.ApproximateNumberOfMessagesDelayed))
		add("approximate_age_of_oldest_message_seconds", "ApproximateAgeOfOldestMessage", false, float64(m.ApproximateAgeOfOldestMessage)/1000)
	}
	return list
}

// every calls f again and again until the node stops.
func (n *node) every(interval time.Duration, f func(t *broker.Turn)) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		t := newTurn()
		for {
			select {
			case now := <-ticker.C:
				t.Now = now.Add(clockOffset).UnixMilli()
				f(t)
				endTurn(t)
			case <-quit:
				return
			}
		}
	}()
	n.stop = append(n.stop, func() error {
		close(quit)
		<-done
		return nil
	})
}

// openAWS opens the listeners of the AWS services.
func (n *node) openAWS() error {
	l := n.config.Listeners.AWS
	if l.Address == config.Off && l.TLSAddress == config.Off {
		return nil
	}
	ep := n.aws
	options := web.Options{Logger: n.log.With("component", "aws"), Refuse: refuseAWS}
	handler := web.HandlerFunc(func(t *broker.Turn, x *web.Exchange) { ep.Serve(t, x.Request, peerOf(x.Info()), x) })
	plain := transport.Listener{
		Name: "aws", Address: l.Address, ProxyProtocol: l.ProxyProtocol, MaxFrame: options.MaxFrame(),
		StallTimeout: stallTimeout, New: web.New(handler, options),
	}
	if err := n.listen(plain); err != nil || l.TLSAddress == config.Off {
		return err
	}
	secure, err := n.tlsConfig()
	if err != nil {
		return err
	}
	plain.Name, plain.Address, plain.TLS = "aws-tls", l.TLSAddress, negotiating(secure, "h2", "http/1.1")
	return n.listen(plain)
}

func (n *node) newEndpoint() (*endpoint.Endpoint, error) {
	c := n.config
	keys, err := c.AWS.Keys()
	if err != nil {
		return nil, err
	}
	accounts, err := c.AWS.AccountMap()
	if err != nil {
		return nil, err
	}
	o := endpoint.Options{
		Now:    wallClock,
		Region: c.Listeners.AWS.Region, Account: c.Listeners.AWS.Account, BaseURL: c.AWS.BaseURL, Accounts: accounts,
		RelaxedUser: c.AWS.RelaxedUser, Origins: c.AWS.CORSOrigins, Logger: n.log.With("component", "aws"),
	}
	if o.RelaxedUser == "" {
		o.RelaxedUser = c.Auth.DefaultUser
	}
	switch c.AWS.Auth {
	case "strict":
		o.Auth = endpoint.AuthStrict
	case "relaxed":
		o.Auth = endpoint.AuthRelaxed
	}
	for _, k := range keys {
		o.Keys = append(o.Keys, endpoint.Key(k))
	}
	return endpoint.New(n.core, o), nil
}

// refuseAWS is the answer to what is not HTTP as we understand it.
func refuseAWS(status int, text string) (string, []byte) {
	e := &aws.Error{Status: status, Code: "MalformedHttpRequestException", Message: text}
	return "text/xml", e.AppendXML(nil, "", aws.NewRequestID(), "")
}

func peerOf(i *transport.Info) endpoint.Peer {
	p := endpoint.Peer{Secure: i.TLS != nil}
	switch a := i.Remote.(type) {
	case *net.TCPAddr:
		p.Address = a.AddrPort().Addr().Unmap()
	case *net.UnixAddr:
		p.Address = netip.IPv6Loopback()
	}
	return p
}

// negotiating is c with application protocols to choose from.
func negotiating(c *tls.Config, protocols ...string) *tls.Config {
	var mu sync.Mutex
	var from, made *tls.Config
	outer := c.Clone()
	outer.NextProtos = protocols
	outer.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		current, err := c.GetConfigForClient(h)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		if from != current {
			from, made = current, current.Clone()
			made.NextProtos = protocols
		}
		return made, nil
	}
	return outer
}
