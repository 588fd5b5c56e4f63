package main

import (
	"fmt"
	"time"

	"github.com/hermodmq/hermod/cmd/hermod/config"
	"github.com/hermodmq/hermod/listeners/mqtt"
	"github.com/hermodmq/hermod/listeners/transport"
)

const mqttTick = 250 * time.Millisecond

// openMQTT recovers the MQTT sessions and opens the listeners. The sessions live
// on when both are off: they expire and their wills are published.
func (n *node) openMQTT() error {
	c := n.config.MQTT
	v := mqtt.NewServer(n.core, mqtt.Options{
		VHost: c.VHost, IgnoreColons: c.IgnoreColons, Anonymous: n.config.Auth.Anonymous != config.Off,
		MaxPacketSize: int(c.MaxPacketSize), MaxKeepAlive: uint16(c.MaxKeepAlive),
		ReceiveMaximum: uint16(c.ReceiveMaximum), Inflight: uint16(c.Inflight), TopicAliases: uint16(c.TopicAliases),
		MaxSubscriptions: c.MaxSubscriptions, BufferQoS0: c.QoS0Buffer,
		SessionExpiryMax: uint32(c.SessionExpiryMax), V3SessionExpiry: uint32(c.V3SessionExpiry),
		KeepRefused: c.KeepRefused, Logger: n.log.With("component", "mqtt"),
	})
	t := newTurn()
	err := v.Recover(t)
	endTurn(t)
	if err != nil {
		return fmt.Errorf("recovering MQTT sessions: %w", err)
	}
	n.stop = append(n.stop, every(mqttTick, func() {
		t := newTurn()
		v.Tick(t)
		endTurn(t)
	}))
	l := n.config.Listeners.MQTT
	plain := transport.Listener{
		Name: "mqtt", Address: l.Address, ProxyProtocol: l.ProxyProtocol,
		MaxFrame: int(c.MaxPacketSize) + 1, New: v.New,
	}
	if err := n.listen(plain); err != nil || l.TLSAddress == config.Off {
		return err
	}
	secure, err := tlsConfig(n.config.TLS)
	if err != nil {
		return err
	}
	plain.Name, plain.Address, plain.TLS = "mqtts", l.TLSAddress, secure
	return n.listen(plain)
}

// every runs f again and again until the function it returns is called, which
// waits for its end.
func every(interval time.Duration, f func()) (stop func() error) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				f()
			case <-quit:
				return
			}
		}
	}()
	return func() error {
		close(quit)
		<-done
		return nil
	}
}
