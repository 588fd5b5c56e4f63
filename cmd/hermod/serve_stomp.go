package main

import (
	"github.com/hermodmq/hermod/cmd/hermod/config"
	"github.com/hermodmq/hermod/listeners/stomp"
	"github.com/hermodmq/hermod/listeners/transport"
)

// openSTOMP opens the STOMP listeners.
func (n *node) openSTOMP() error {
	l := n.config.Listeners.STOMP
	if err := n.listen(n.stompListener("stomp", l.Address, l.Dialect)); err != nil {
		return err
	}
	web := n.stompListener("stomp-websocket", l.WebSocket, l.Dialect)
	web.WebSocket = &transport.WebSocket{
		Paths:     []string{"/ws", "/stomp"},
		Protocols: []string{"v12.stomp", "v11.stomp", "v10.stomp", ""},
		Origins:   l.Origins,
		Text:      func(string) bool { return true },
	}
	if err := n.listen(web); err != nil {
		return err
	}
	if l.TLSAddress == config.Off && l.WebSocketTLS == config.Off {
		return nil
	}
	secure, err := n.tlsConfig()
	if err != nil {
		return err
	}
	web.Name, web.Address, web.TLS = "stomp-websocket-tls", l.WebSocketTLS, secure
	if err := n.listen(web); err != nil {
		return err
	}
	dialect := l.TLSDialect
	if dialect == "" {
		dialect = l.Dialect
	}
	tls := n.stompListener("stomps", l.TLSAddress, dialect)
	tls.TLS = secure
	return n.listen(tls)
}

func (n *node) stompListener(name, address, dialect string) transport.Listener {
	c := n.config
	o := stomp.Options{
		Server:            "Hermod/" + version,
		DefaultVHost:      c.STOMP.DefaultVHost,
		ContentTypeBinary: c.STOMP.ContentTypeBinary,
		DeadLetterQueue:   c.STOMP.DeadLetterQueue,
		MaxHeaders:        c.STOMP.MaxHeaders,
		MaxLine:           int(c.STOMP.MaxHeaderLine),
		MaxHeaderBytes:    int(c.STOMP.MaxHeaderBytes),
		Logger:            n.log.With("component", "stomp"),
	}
	switch c.STOMP.UnknownHost {
	case "refuse":
		o.UnknownHost = stomp.HostRefused
	case "ignore":
		o.UnknownHost = stomp.HostIgnored
	}
	if dialect == "activemq" {
		o.Dialect = stomp.ActiveMQ
	}
	return transport.Listener{
		Name: name, Address: address, ProxyProtocol: c.Listeners.STOMP.ProxyProtocol,
		MaxFrame: o.MaxFrame(n.core.MaxMessageSize()),
		New:      stomp.New(n.core, o),
	}
}
