package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/go-stomp/stomp/v3"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hermodmq/hermod/conformance/harness"
)

const (
	portAMQPS     = "5671"
	portWebSocket = "15675"
)

// relaying lets every node relay while it stands by, and adds a listener that
// demands client certificates and one of WebSocket.
func relaying(t *testing.T) (*harness.Authority, func(nodes []*node)) {
	t.Helper()
	a, err := harness.NewAuthority(t.TempDir())
	if err == nil {
		_, err = a.Issue("server")
	}
	if err == nil {
		_, err = a.Issue("guest")
	}
	if err != nil {
		t.Fatal(err)
	}
	return a, func(nodes []*node) {
		for _, n := range nodes {
			n.extra = append(n.extra,
				"ha.standby=relay",
				"listeners.amqp.tls_address="+net.JoinHostPort(n.addr, portAMQPS),
				"listeners.mqtt.websocket_address="+net.JoinHostPort(n.addr, portWebSocket),
				"tls.cert_file="+a.Path("server.pem"), "tls.key_file="+a.Path("server.key"),
				"tls.ca_file="+a.Path("ca.pem"), "tls.client_auth=require",
			)
		}
	}
}

// TestStandbysRelay: clients of every protocol work at a standby as at the
// active node. What they left there is there when that node dies, again through
// a standby.
func TestStandbysRelay(t *testing.T) {
	ca, prepare := relaying(t)
	w := newWorld(t, prepare)
	defer func() {
		if t.Failed() {
			t.Log(w.states() + w.logs())
		}
	}()
	old := w.leader(serveLimit)
	standby := (old + 1) % len(w.nodes)
	w.relayAMQP(t, old, standby)
	w.relaySTOMP(t, standby)
	w.relayWebSocket(t, standby)
	w.relayTLS(t, ca, standby)
	w.relayHalfClose(t, standby)
	var checks []func(*testing.T, int)
	for _, prepare := range []func(*testing.T, int) func(*testing.T, int){
		w.preparedBranches, w.deduplication, w.retained, w.durableSubscription, w.delayed,
	} {
		checks = append(checks, prepare(t, standby))
	}
	if t.Failed() {
		return
	}
	w.nodes[old].broker.Kill()
	next := w.successor(t, old)
	standby = len(w.nodes) - old - next // the one that neither died nor serves
	for _, check := range checks {
		check(t, standby)
	}
}

// relayAMQP: confirms and deliveries pass, and the active node knows the
// client by its own address.
func (w *world) relayAMQP(t *testing.T, active, standby int) {
	t.Helper()
	c := w.witness(t, standby)
	d, err := c.ch.Consume(queueWitness, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case m := <-d:
		if string(m.Body) != "w " {
			t.Errorf("received %q", m.Body)
		}
	case <-time.After(answerTimeout):
		t.Error("nothing is delivered through a standby")
	}
	want := w.nodes[standby].addr // clients without a network of their own share their nodes' addresses
	if w.client != nil {
		want = w.client.addr.String()
	}
	out, err := w.nodes[active].broker.CTL("list_connections", "peer_host", "host")
	if err != nil || w.client != nil && !strings.Contains(out, want) || !strings.Contains(out, w.nodes[standby].addr) {
		t.Errorf("the active node lists these connections, want one from %s to %s: %s (%v)", want, w.nodes[standby].addr, out, err)
	}
	for i, name := range map[int]string{standby: "hermod_ha_relayed_connections 1", active: "hermod_ha_relayed_clients 1"} {
		if text := w.metrics(t, i); !strings.Contains(text, name+"\n") {
			t.Errorf("metrics of %s without %q", w.nodes[i].name, name)
		}
	}
}

func (w *world) metrics(t *testing.T, i int) string {
	t.Helper()
	resp, err := w.http.Get("http://" + net.JoinHostPort(w.nodes[i].addr, portMetrics) + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("metrics: %d %v", resp.StatusCode, err)
	}
	return string(text)
}

func (w *world) relaySTOMP(t *testing.T, standby int) {
	t.Helper()
	c, err := w.stomp(w.addresses(portSTOMP, standby)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.MustDisconnect() }()
	sub, err := c.Subscribe("/queue/relayed", stomp.AckAuto)
	if err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("relayed "), 100_000)
	if err := c.Send("/queue/relayed", "text/plain", big, stomp.SendOpt.Receipt); err != nil {
		t.Fatal(err)
	}
	select {
	case m := <-sub.C:
		if m.Err != nil || !bytes.Equal(m.Body, big) {
			t.Errorf("STOMP: %d bytes came back of %d (%v)", len(m.Body), len(big), m.Err)
		}
	case <-time.After(answerTimeout):
		t.Error("STOMP: nothing is delivered")
	}
}

func (w *world) relayWebSocket(t *testing.T, standby int) {
	t.Helper()
	o := mqtt.NewClientOptions().SetClientID("relayed").SetUsername("guest").SetPassword("guest").SetConnectTimeout(answerTimeout).
		AddBroker("ws://" + net.JoinHostPort(w.nodes[standby].addr, portWebSocket) + "/mqtt")
	if w.client != nil { // the library's own WebSocket dialler knows no namespaces
		conn, err := w.dialAny(net.JoinHostPort(w.nodes[standby].addr, portWebSocket))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(answerTimeout))
		_, err = io.WriteString(conn, "GET /mqtt HTTP/1.1\r\nHost: relayed\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len("HTTP/1.1 101"))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != "HTTP/1.1 101" {
			t.Errorf("WebSocket upgrade: %q (%v)", got, err)
		}
		return
	}
	c := mqtt.NewClient(o)
	if token := c.Connect(); !token.WaitTimeout(answerTimeout) || token.Error() != nil {
		t.Fatalf("MQTT over WebSocket: %v", token.Error())
	}
	defer c.Disconnect(100)
	if token := c.Publish("relayed", 1, false, "x"); !token.WaitTimeout(answerTimeout) || token.Error() != nil {
		t.Errorf("MQTT over WebSocket: publish: %v", token.Error())
	}
}

// relayTLS: the handshake, client certificate included, is between the client
// and the active node.
func (w *world) relayTLS(t *testing.T, ca *harness.Authority, standby int) {
	t.Helper()
	dial := func(certificate string) error {
		config, err := ca.Client(certificate)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := amqp.DialConfig("amqp://guest:guest@"+net.JoinHostPort(w.nodes[standby].addr, portAMQPS)+"/", amqp.Config{
			Heartbeat: 10 * time.Second, Locale: "en_US",
			Dial: func(_, addr string) (net.Conn, error) {
				conn, err := w.dialAny(addr)
				if err != nil {
					return nil, err
				}
				_ = conn.SetDeadline(time.Now().Add(answerTimeout))
				return tls.Client(conn, config), nil
			},
		})
		if err == nil {
			err = conn.Close()
		}
		return err
	}
	if err := dial("guest"); err != nil {
		t.Errorf("AMQP over TLS: %v", err)
	}
	if dial("") == nil {
		t.Error("a client without a certificate was let in")
	}
}

// relayHalfClose: a client that has said all it will say still gets the answer.
func (w *world) relayHalfClose(t *testing.T, standby int) {
	t.Helper()
	conn, err := w.dialAny(w.addresses(portAWS, standby)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(answerTimeout))
	if _, err := io.WriteString(conn, "GET /nothing HTTP/1.1\r\nHost: relayed\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 ")) {
		t.Errorf("answer to a client that closed its half: %q (%v)", answer, err)
	}
}

// TestRelaysEndWithTheirLeader: connections through a standby end when the
// active node dies, and also when it can only no longer be heard; the standby
// relays to its successor at once.
func TestRelaysEndWithTheirLeader(t *testing.T) {
	_, prepare := relaying(t)
	w := newWorld(t, prepare)
	for _, loss := range []string{"killed", "cut off"} {
		if loss == "cut off" && w.net == nil {
			continue
		}
		old := w.leader(serveLimit)
		var clients []*witness
		for i := range w.nodes {
			if i != old {
				clients = append(clients, w.witness(t, i))
			}
		}
		begin := time.Now()
		if loss == "killed" {
			w.nodes[old].broker.Kill()
		} else {
			w.isolate(old, true, true)
		}
		for _, c := range clients {
			c.hungUp()
		}
		t.Logf("%s: relayed connections ended within %v", loss, time.Since(begin))
		next := w.successor(t, old)
		for i := range w.nodes {
			if i == old {
				continue
			}
			ok := harness.Poll(serveLimit, func() bool { return w.works(t.Context(), i) })
			if !ok {
				t.Errorf("%s does not relay to %s\n%s", w.nodes[i].name, w.nodes[next].name, w.logs())
			}
		}
		if loss == "killed" {
			if err := w.start(old); err != nil {
				t.Fatal(err)
			}
		} else {
			w.net.heal()
		}
		if err := w.settleDown(); err != nil {
			t.Fatal(err)
		}
	}
}

// works says whether a message is confirmed at a node.
func (w *world) works(_ context.Context, i int) bool {
	ch, cut, err := w.channel(w.addresses(portAMQP, i)[0])
	if err != nil {
		return false
	}
	defer cut()
	if ch.Confirm(false) != nil {
		return false
	}
	d, err := ch.PublishWithDeferredConfirm("", queuePlain, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("w ")})
	return err == nil && pending{d}.acked(answerTimeout)
}

// TestNothingConfirmedIsLostThroughRelays is TestNothingConfirmedIsLost with
// standbys that relay: two of three clients are connected through one. A standby
// that stands still keeps what was delivered to its clients until the active node
// gives its connections up.
func TestNothingConfirmedIsLostThroughRelays(t *testing.T) {
	_, prepare := relaying(t)
	w := newWorld(t, prepare)
	w.returned = true
	rounds := number("CLUSTER_ROUNDS", 6)
	t.Logf("seed: CLUSTER_SEED=%d CLUSTER_ROUNDS=%d, namespaces: %v", w.seed, rounds, w.net != nil)
	w.endure(t, rounds, faults)
}

// TestEveryListenerIsRelayed: a standby has a relaying listener for each that an
// active node opens with the same settings, under the same name.
func TestEveryListenerIsRelayed(t *testing.T) {
	_, prepare := relaying(t)
	names := func(nodes, start int, suffix string) (list []string) {
		c := newCluster(nodes, t.TempDir(), true)
		defer c.Close()
		prepare(c.nodes)
		n := c.nodes[start]
		for i, key := range []string{"mqtt.tls_address", "mqtt.websocket_tls_address", "stomp.tls_address", "stomp.websocket_address",
			"stomp.websocket_tls_address", "openwire.tls_address", "aws.tls_address"} {
			n.extra = append(n.extra, "listeners."+key+"="+net.JoinHostPort(n.addr, strconv.Itoa(9001+i)))
		}
		if err := c.start(start); err != nil {
			t.Fatalf("%v\n%s", err, c.logs())
		}
		for name := range n.broker.Listeners() {
			if name, ok := strings.CutSuffix(name, suffix); ok && name != "metrics" && name != "peers" {
				list = append(list, name)
			}
		}
		slices.Sort(list)
		return list
	}
	active := names(1, 0, "")
	standby := names(2, 1, "-relay") // of a cluster that it looks for in vain
	if len(active) < 14 || !slices.Equal(active, standby) {
		t.Errorf("an active node listens as %v, a standby relays %v", active, standby)
	}
}
