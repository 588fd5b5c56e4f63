package broker

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// Filters on bindings route by content, survive a restart, and keep routes
// that depend on more than the key out of the cache of a session.
func TestBindingFilter(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	for _, q := range []string{"all", "eu", "gold", "none"} {
		w.queue(s, q)
	}
	w.bind(s, "amq.topic", "all", "t")
	w.bind(s, "amq.topic", "eu", "t", Field{FilterArgument, `{"region":[{"prefix":"eu"}],"amount":[{"numeric":[">",5]}]}`})
	w.bind(s, "amq.topic", "gold", "t", Field{FilterArgument, `{"customer":{"tier":["gold"]}}`}, Field{FilterScopeArgument, "MessageBody"})
	w.bind(s, "amq.topic", "none", "t", Field{FilterArgument, `{"absent":[{"exists":true}]}`})
	check := func(w *topo) {
		w.Helper()
		m := w.converter().message("m", &Properties{Headers: Table{{"region", "eu-north"}, {"amount", int32(6)}}})
		m.RoutingKey, m.Body = "t", []byte(`{"customer":{"tier":"gold"}}`)
		for range 3 { // a cached route would be taken from the second on
			if got, want := w.reached("amq.topic", m), []string{"all", "eu", "gold"}; !reflect.DeepEqual(got, want) {
				w.Errorf("reached %v, want %v", got, want)
			}
		}
		plain := &Message{RoutingKey: "t", Body: []byte("no JSON")}
		if got, want := w.reached("amq.topic", plain), []string{"all"}; !reflect.DeepEqual(got, want) {
			w.Errorf("reached %v, want %v", got, want)
		}
	}
	check(w)
	publish := func(w *topo, m *Message) {
		w.Helper()
		m.Exchange = "amq.topic"
		_, err := w.session().Publish(w.turn, Publish{Exchange: "amq.topic", Msg: m})
		w.must(err)
	}
	publish(w, &Message{RoutingKey: "t", Body: []byte(`{"customer":{"tier":"gold"}}`), TTL: NoTTL})
	if s := w.v.queue("gold").Stats(); s.Ready != 1 {
		t.Errorf("gold has %d messages", s.Ready)
	}
	check(w.restart())
	for _, bad := range []Table{
		{{FilterArgument, `{"a":"b"}`}}, {{FilterArgument, int32(1)}}, {{FilterArgument, `{}`}, {FilterScopeArgument, "Moon"}},
		{{FilterArgument, `{"a":["` + strings.Repeat("x", maxFilter) + `"]}`}}, {{FormArgument, true}},
	} {
		err := s.Bind(w.turn, Binding{Source: "amq.topic", Destination: "all", Key: "u", Args: bad}, nil)
		var refusal *Error
		if !errors.As(err, &refusal) || refusal.Kind != Precondition || !strings.HasPrefix(err.Error(), "invalid arg") {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// A binding with a form changes what enters the queue, and nothing else; the
// forms follow the bindings.
func TestBindingForm(t *testing.T) {
	w := newTopo(t)
	w.b.SetFormer(func(_ *Turn, q *Queue, form string, m *Message) *Message {
		if form == "out" {
			return nil
		}
		c := *m
		c.Body = []byte(form + "(" + string(m.Body) + ")")
		return &c
	})
	s := w.session()
	for _, q := range []string{"plain", "formed", "out"} {
		w.queue(s, q)
	}
	w.bind(s, "amq.topic", "plain", "t")
	w.bind(s, "amq.topic", "formed", "t", Field{FormArgument, "f"})
	w.bind(s, "amq.topic", "out", "t", Field{FormArgument, "out"})
	send := func(persistent bool) {
		t.Helper()
		m := &Message{Exchange: "amq.topic", RoutingKey: "t", Body: []byte("x"), TTL: NoTTL, Persistent: persistent}
		_, err := s.Publish(w.turn, Publish{Exchange: "amq.topic", Msg: m})
		w.must(err)
		w.durable(func(done func(*Turn)) error { w.b.afterCommits(w.turn, done); return nil })
	}
	bodies := func(queue string) (list []string) {
		for _, d := range w.v.queue(queue).Receive(w.turn, ReceiveOptions{Max: 10}, nil) {
			list = append(list, string(d.Msg.Body))
		}
		return list
	}
	send(false)
	send(true)
	// The new binding is there before the old one goes: the form stays.
	w.bind(s, "amq.topic", "formed", "t", Field{FormArgument, "g"}, Field{FilterArgument, `{}`})
	w.must(s.Unbind(w.turn, Binding{Source: "amq.topic", Destination: "formed", Key: "t", Args: Table{{FormArgument, "f"}}}, nil))
	send(true)
	for queue, want := range map[string][]string{"plain": {"x", "x", "x"}, "formed": {"f(x)", "f(x)", "g(x)"}, "out": nil} {
		if got := bodies(queue); !reflect.DeepEqual(got, want) {
			t.Errorf("%s has %q, want %q", queue, got, want)
		}
	}
	w.must(s.Unbind(w.turn, Binding{Source: "amq.topic", Destination: "formed", Key: "t", Args: Table{{FormArgument, "g"}, {FilterArgument, "{}"}}}, nil))
	if w.v.queue("formed").forms.Load() != nil {
		t.Error("the form outlives its binding")
	}
}
