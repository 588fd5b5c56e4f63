package mqtt

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/conformance/harness"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// MQTT-72: the $SYS tree under mosquitto's names, retained at first, updated
// afterwards, off by default, closed to publishers and invisible to others.
func TestMQTT72Sys(t *testing.T) {
	b := startOwn(t, "mqtt.sys_interval=1")
	p := dialTo(t, b, wire.V5, "p")
	p.publish("kept", "x", 1, retained)
	id := "watch"
	r := dialTo(t, b, wire.V5, id, lasting(wire.V5)...)
	values := map[string]string{}
	next := func(r *raw) wire.Publish {
		m := r.recv()
		values[strings.TrimPrefix(string(m.Topic), "$SYS/broker/")] = string(m.Payload)
		return m
	}
	if !harness.Poll(wait, func() bool { // the first update may not have been yet
		r.sub("$SYS/broker/version", 2)
		_, _, err := r.read(quietTime)
		return err == nil
	}) {
		t.Fatal("no version")
	}
	if code := r.subscribe("$SYS/#", 2, wire.Properties(nil).AppendNumber(wire.SubscriptionID, 5)); code != 0 {
		t.Errorf("granted QoS 0x%02X, $SYS topics have 0", byte(code))
	}
	for range 30 {
		if m := next(r); !m.Retain || m.QoS != 0 || m.Props.Number(wire.SubscriptionID, 0) != 5 {
			t.Errorf("%q: RETAIN %v, QoS %d, % x", m.Topic, m.Retain, m.QoS, m.Props)
		}
	}
	for range 5 {
		p.publish("live", "x", 1)
	}
	connected := func() bool { n, err := strconv.Atoi(values["clients/connected"]); return err == nil && n >= 2 }
	received := func() bool { n, err := strconv.Atoi(values["publish/messages/received"]); return err == nil && n >= 6 }
	for !connected() || !received() || values["retained messages/count"] != "1" || values["uptime"] == "0 seconds" {
		next(r)
	}
	for name, ok := range map[string]func(string) bool{
		"version":                  func(s string) bool { return strings.HasPrefix(s, "hermod version ") },
		"uptime":                   func(s string) bool { return strings.HasSuffix(s, " seconds") },
		"messages/received":        isNumber,
		"messages/sent":            isNumber,
		"bytes/received":           isNumber,
		"subscriptions/count":      isNumber,
		"load/messages/sent/15min": isNumber,
		"heap/current":             isNumber,
	} {
		if !ok(values[name]) {
			t.Errorf("%s is %q", name, values[name])
		}
	}
	r.cut()
	r = dialTo(t, b, wire.V5, id, lasting(wire.V5)...) // the subscription is part of the session
	if m := next(r); m.Retain || !strings.HasPrefix(string(m.Topic), "$SYS/broker/") {
		t.Errorf("after a reconnect: %q, RETAIN %v", m.Topic, m.Retain)
	}
	all := dialTo(t, b, wire.V5, "all")
	all.sub("+/broker/#", 1)
	all.sub("#", 1)
	all.want("x") // the retained message and nothing of $SYS
	for uptime := values["uptime"]; values["uptime"] == uptime; {
		next(r)
	}
	all.silent()
	if got := p.publish("$SYS/broker/version", "mine", 1); got != wire.NotAuthorized {
		t.Errorf("publish to $SYS: 0x%02X", byte(got))
	}
	must(t, b.Stop(wait))

	off := dial(t, wire.V5, unique("c")) // the shared broker has none
	off.sub("$SYS/#", 1)
	off.silent()
}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

// MQTT-75: metrics of the listener, refusals by reason.
func TestMQTT75Metrics(t *testing.T) {
	b := startOwn(t, "listeners.metrics.address=127.0.0.1:0")
	r := dialTo(t, b, wire.V5, "c")
	r.sub("t", 1)
	r.publish("t", "m", 0)
	r.want("m")
	rawTo(t, b, wire.V5).hello("x", login("guest", "wrong"))
	eventually(t, "the numbers show up", func() bool {
		resp, err := http.Get("http://" + b.Addr("metrics") + "/metrics")
		must(t, err)
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		must(t, err)
		for _, want := range []string{"hermod_mqtt_connects_total 1", "hermod_mqtt_publish_received_total 1", "hermod_mqtt_publish_sent_total 1",
			"hermod_mqtt_subscriptions 1", "hermod_mqtt_refusals_86_total 1"} {
			if !strings.Contains(string(body), want+"\n") {
				return false
			}
		}
		return true
	})
}
