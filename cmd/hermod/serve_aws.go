package main

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/endpoint"
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/cmd/hermod/config"
	"github.com/hermodmq/hermod/listeners/transport"
	"github.com/hermodmq/hermod/listeners/web"
)

// openAWS opens the endpoint of the AWS services.
func (n *node) openAWS() error {
	l := n.config.Listeners.AWS
	if l.Address == config.Off && l.TLSAddress == config.Off {
		return nil
	}
	ep, err := n.newEndpoint()
	if err != nil {
		return err
	}
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
	return "text/xml", e.AppendXML(nil, "", aws.NewRequestID())
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
