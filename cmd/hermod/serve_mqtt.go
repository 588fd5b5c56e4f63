package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/cmd/hermod/config"
	"github.com/hermodmq/hermod/listeners/http"
	"github.com/hermodmq/hermod/listeners/mqtt"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

const mqttTick = 250 * time.Millisecond

// openMQTT recovers the MQTT sessions and opens the listeners. The sessions live
// on when both are off: they expire and their wills are published.
func (n *node) openMQTT() error {
	c := n.config.MQTT
	var methods []mqtt.Method
	if slices.Contains(c.AuthMethods, broker.ScramName) {
		methods = append(methods, mqtt.ScramSHA256(n.core))
	}
	v := mqtt.NewServer(n.core, mqtt.Options{
		VHost: c.VHost, IgnoreColons: c.IgnoreColons, Anonymous: n.config.Auth.Anonymous != config.Off,
		MaxPacketSize: int(c.MaxPacketSize), MaxKeepAlive: uint16(c.MaxKeepAlive),
		ReceiveMaximum: uint16(c.ReceiveMaximum), Inflight: uint16(c.Inflight), TopicAliases: uint16(c.TopicAliases),
		MaxSubscriptions: c.MaxSubscriptions, BufferQoS0: c.QoS0Buffer,
		SessionExpiryMax: uint32(c.SessionExpiryMax), V3SessionExpiry: uint32(c.V3SessionExpiry),
		KeepRefused: c.KeepRefused, Logger: n.log.With("component", "mqtt"),
		ConnectTimeout: seconds(c.ConnectTimeout), MaxConnectTime: seconds(c.MaxConnectTime),
		ConnectRate: c.ConnectRate, PublishRate: c.PublishRate, MaxTopicLevels: c.MaxLevels,
		MaxQueued: c.MaxQueued, MaxQueuedBytes: int64(c.MaxQueuedBytes), DropOldest: c.QueueOverflow == "drop-head",
		NoQoS1: c.MaxQoS < 1, NoQoS2: c.MaxQoS < 2, NoRetain: !c.Retain, NoWildcards: !c.Wildcards, NoShared: !c.Shared,
		NoSubscriptionIDs: !c.SubscriptionIDs, CheckPayload: c.CheckPayload, Banned: banned(c.BannedClients),
		ResponseInfo: c.ResponseInfo, ServerReference: c.ServerReference,
		ListenerVHosts: config.Pairs(c.ListenerVHosts), CertVHosts: config.Pairs(c.CertVHosts), CertClientID: c.CertClientID,
		TakeoverRate: c.TakeoverRate, PacketTimeout: seconds(c.PacketTimeout), Copies: c.Overlapping == "each", Moved: c.ServerMoved,
		Methods:     methods,
		Shares:      shareStrategies[c.SharedStrategy],
		SysInterval: seconds(c.SysInterval), Version: "hermod version " + version,
	})
	n.mqtt = v
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
	if err := n.listen(plain); err != nil {
		return err
	}
	web := plain
	web.Name, web.Address = "mqtt-websocket", l.WebSocket
	web.WebSocket = &transport.WebSocket{
		Paths: []string{"/mqtt", "/ws"}, Protocols: []string{"mqtt", "mqttv3.1"}, Origins: l.Origins,
	}
	if err := n.listen(web); err != nil || l.TLSAddress == config.Off && l.WebSocketTLS == config.Off {
		return err
	}
	secure, err := n.tlsConfig()
	if err != nil {
		return err
	}
	plain.Name, plain.Address, plain.TLS = "mqtts", l.TLSAddress, offering(secure, "mqtt")
	web.Name, web.Address, web.TLS = "mqtt-websocket-tls", l.WebSocketTLS, offering(secure, "http/1.1")
	return errors.Join(n.listen(plain), n.listen(web))
}

// offering is c with an application protocol for clients that ask for it; the
// others' wishes go unanswered.
func offering(c *tls.Config, protocol string) *tls.Config {
	named := negotiating(c, protocol)
	outer := c.Clone()
	outer.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Contains(h.SupportedProtos, protocol) {
			return named.GetConfigForClient(h)
		}
		return c.GetConfigForClient(h)
	}
	return outer
}

// shareStrategies are the values of mqtt.shared_strategy.
var shareStrategies = map[string]mqtt.ShareStrategy{
	"round_robin": mqtt.ShareTurns, "sticky": mqtt.ShareSticky, "random": mqtt.ShareRandom,
	"hash_client": mqtt.ShareByClient, "hash_topic": mqtt.ShareByTopic,
}

// mqttSamples are the MQTT listener's numbers for /metrics.
func mqttSamples(v *mqtt.Server) []http.Sample {
	if v == nil {
		return nil
	}
	s := v.Stats()
	counter := func(name, help string, n int64) http.Sample {
		return http.Sample{Name: "hermod_mqtt_" + name, Help: help, Counter: true, Value: float64(n)}
	}
	list := []http.Sample{
		counter("packets_received_total", "MQTT packets from clients", s.Received),
		counter("packets_sent_total", "MQTT packets to clients", s.Sent),
		counter("publish_received_total", "MQTT messages from clients", s.PublishReceived),
		counter("publish_sent_total", "MQTT messages to clients", s.PublishSent),
		counter("publish_too_large_total", "MQTT messages larger than their client takes", s.Dropped),
		counter("bytes_received_total", "Bytes of MQTT packets from clients", s.BytesReceived),
		counter("bytes_sent_total", "Bytes of MQTT packets to clients", s.BytesSent),
		counter("connects_total", "MQTT clients let in", s.Connects),
		{Name: "hermod_mqtt_sessions", Help: "MQTT sessions, connected or not", Value: float64(s.Sessions)},
		{Name: "hermod_mqtt_connected", Help: "MQTT sessions with a connection", Value: float64(s.Connected)},
		{Name: "hermod_mqtt_subscriptions", Help: "MQTT subscriptions of all sessions", Value: float64(s.Subscriptions)},
	}
	for version, k := range s.ByVersion {
		name := map[wire.Version]string{wire.V31: "3_1", wire.V311: "3_1_1", wire.V5: "5_0"}[version]
		list = append(list, counter("connects_v"+name+"_total", "Clients of this MQTT version let in", k.Connects),
			http.Sample{Name: "hermod_mqtt_connected_v" + name, Help: "Connections of this MQTT version", Value: float64(k.Connected)})
	}
	for reason, k := range s.Reasons {
		list = append(list, counter(fmt.Sprintf("refusals_%02x_total", byte(reason)),
			fmt.Sprintf("CONNACK and DISCONNECT with reason 0x%02X", byte(reason)), k))
	}
	return list
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// banned reports whether an expression matches the whole of a client identifier.
func banned(patterns []string) func(clientID string) bool {
	var list []*regexp.Regexp
	for _, p := range patterns {
		list = append(list, regexp.MustCompile("^(?:"+p+")$")) // checked with the configuration
	}
	return func(clientID string) bool {
		return slices.ContainsFunc(list, func(re *regexp.Regexp) bool { return re.MatchString(clientID) })
	}
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
