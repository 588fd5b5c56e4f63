package broker_test

import (
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/topic"
)

func TestRetained(t *testing.T) {
	w := newWorld(t)
	v := w.VHost()
	set := func(topic, body string, change ...func(*broker.Message)) {
		t.Helper()
		var m *broker.Message
		if body != "" {
			m = w.Message(topic, body)
			for _, f := range change {
				f(m)
			}
		}
		done := false
		if err := v.SetRetained(w.Turn, topic, m, func(*broker.Turn) { done = true }); err != nil {
			t.Fatal(err)
		}
		w.Store.Commit(w.Turn, -1)
		if !done {
			t.Errorf("setting %s did not end", topic)
		}
	}
	get := func(topic string) string {
		if m := v.Retained(w.Turn, topic); m != nil {
			return string(m.Body)
		}
		return ""
	}
	set("a", "1", persistent)
	set("b", "2", persistent)
	set("b", "3", persistent)
	set("c", "4")
	set("d", "5", persistent, func(m *broker.Message) { m.TTL = 100 })
	set("e", "6", persistent)
	set("e", "")
	set("f", "7", persistent)
	set("f", "8") // a transient value replaces the stored one
	if got := get("a") + get("b") + get("c") + get("d") + get("e") + get("f"); got != "13458" {
		t.Errorf("retained %q", got)
	}
	w.Turn.Now += 200
	n := 0
	v.FindRetained(w.Turn, &topic.Search{Filter: "#"}, 100, func(string, *broker.Message) { n++ })
	if n != 4 {
		t.Errorf("%d match after one expired, want 4", n)
	}
	if n, _ := v.RetainedCount(); n != 5 {
		t.Errorf("%d retained before the sweep, want 5", n)
	}
	w.Broker.Tick(w.Turn)
	if n, _ := v.RetainedCount(); n != 4 {
		t.Errorf("%d retained after the sweep, want 4", n)
	}
	if err := w.Crash(0, nil); err != nil {
		t.Fatal(err)
	}
	v = w.VHost()
	if got := get("a") + get("b") + get("c") + get("d") + get("e") + get("f"); got != "13" {
		t.Errorf("after a restart: retained %q, want a and b", got)
	}
}
