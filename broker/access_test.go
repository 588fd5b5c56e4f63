package broker

import (
	"testing"
)

// worker makes a user with rights and returns a session of it.
func (w *topo) worker(name string, p Permissions) *Session {
	w.Helper()
	w.must(w.b.AddUser(w.turn, name, "pw", nil, nil))
	p.User, p.VHost = name, "/"
	w.must(w.b.SetPermissions(w.turn, p, nil))
	return w.v.OpenSession(w.connect(name), &deafSink{})
}

// Covers AMQP-81: which operation needs which right on which resource.
func TestPermissionTable(t *testing.T) {
	const configure, write, read = 'c', 'w', 'r'
	type need struct {
		right    byte
		resource string // how the refusal names it
		name     string
	}
	queue := func(r byte, name string) need { return need{r, "queue '" + name + "' in vhost '/'", name} }
	exchange := func(r byte, name string) need { return need{r, "exchange '" + name + "' in vhost '/'", name} }
	tests := []struct {
		name  string
		needs []need
		do    func(w *topo, s *Session) error
	}{
		{"exchange.declare", []need{exchange(configure, "new")}, func(w *topo, s *Session) error {
			return s.DeclareExchange(w.turn, ExchangeDeclare{Name: "new", Type: TypeDirect}, nil)
		}},
		{"exchange.declare with alternate", []need{exchange(configure, "new"), exchange(read, "new"), exchange(write, "ae")},
			func(w *topo, s *Session) error {
				return s.DeclareExchange(w.turn, ExchangeDeclare{Name: "new", Type: TypeDirect, Args: Table{{"alternate-exchange", "ae"}}}, nil)
			}},
		{"exchange.delete", []need{exchange(configure, "x")}, func(w *topo, s *Session) error {
			return s.DeleteExchange(w.turn, "x", false, nil)
		}},
		{"queue.declare", []need{queue(configure, "new")}, func(w *topo, s *Session) error {
			_, err := s.DeclareQueue(w.turn, QueueDeclare{Name: "new"}, nil)
			return err
		}},
		{"queue.declare with dead letters", []need{queue(configure, "new"), queue(read, "new"), exchange(write, "dlx")},
			func(w *topo, s *Session) error {
				_, err := s.DeclareQueue(w.turn, QueueDeclare{Name: "new", Args: Table{{"x-dead-letter-exchange", "dlx"}}}, nil)
				return err
			}},
		{"queue.delete", []need{queue(configure, "q")}, func(w *topo, s *Session) error {
			_, err := s.DeleteQueue(w.turn, "q", false, false, nil)
			return err
		}},
		{"queue.purge", []need{queue(read, "q")}, func(w *topo, s *Session) error {
			_, err := s.PurgeQueue(w.turn, "q", nil)
			return err
		}},
		{"queue.bind", []need{queue(write, "q"), exchange(read, "x")}, func(w *topo, s *Session) error {
			return s.Bind(w.turn, Binding{Source: "x", Destination: "q"}, nil)
		}},
		{"queue.unbind", []need{queue(write, "q"), exchange(read, "x")}, func(w *topo, s *Session) error {
			return s.Unbind(w.turn, Binding{Source: "x", Destination: "q"}, nil)
		}},
		{"exchange.bind", []need{exchange(write, "y"), exchange(read, "x")}, func(w *topo, s *Session) error {
			return s.Bind(w.turn, Binding{Source: "x", Destination: "y", ToExchange: true}, nil)
		}},
		{"basic.publish", []need{exchange(write, "x")}, func(w *topo, s *Session) error {
			_, err := s.Publish(w.turn, Publish{Exchange: "x", Msg: &Message{TTL: NoTTL}})
			return err
		}},
		{"basic.publish to the default exchange", []need{exchange(write, "amq.default")}, func(w *topo, s *Session) error {
			_, err := s.Publish(w.turn, Publish{Msg: &Message{RoutingKey: "q", TTL: NoTTL}})
			return err
		}},
		{"basic.consume", []need{queue(read, "q")}, func(w *topo, s *Session) error {
			_, err := s.Subscribe(w.turn, SubscribeOptions{Queue: "q", Tag: "t"})
			return err
		}},
		{"basic.get", []need{queue(read, "q")}, func(w *topo, s *Session) error {
			return s.Get(w.turn, "q", true, 1)
		}},
	}
	words := map[byte]string{configure: "configure", write: "write", read: "read"}
	grant := func(needs []need, without int) Permissions {
		patterns := map[byte]string{}
		for i, n := range needs {
			if i == without {
				continue
			}
			if patterns[n.right] != "" {
				patterns[n.right] += "|"
			}
			patterns[n.right] += "^" + n.name + "$"
		}
		return Permissions{Configure: patterns[configure], Write: patterns[write], Read: patterns[read]}
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for without := range tt.needs {
				w := newTopo(t)
				admin := w.session()
				w.exchange(admin, "x", TypeDirect)
				w.exchange(admin, "y", TypeDirect)
				w.queue(admin, "q")
				n := tt.needs[without]
				s := w.worker("u", grant(tt.needs, without))
				w.refused(tt.do(w, s), Denied, words[n.right]+" access to "+n.resource+" refused for user 'u'")
				// With the right the same session succeeds: nothing stale is remembered.
				p := grant(tt.needs, -1)
				p.User, p.VHost = "u", "/"
				w.must(w.b.SetPermissions(w.turn, p, nil))
				w.must(tt.do(w, s))
			}
		})
	}
}

func TestPassiveDeclareNeedsAnyRight(t *testing.T) {
	w := newTopo(t)
	w.queue(w.session(), "q")
	passive := func(s *Session) error {
		_, err := s.DeclareQueue(w.turn, QueueDeclare{Name: "q", Passive: true}, nil)
		return err
	}
	w.refused(passive(w.worker("none", Permissions{})), Denied, "read access to queue 'q' in vhost '/' refused for user 'none'")
	w.must(passive(w.worker("c", Permissions{Configure: "q"})))
	w.must(passive(w.worker("w", Permissions{Write: "q"})))
	w.must(passive(w.worker("r", Permissions{Read: "q"})))
}

func TestPermissionPatterns(t *testing.T) {
	w := newTopo(t)
	tests := []struct {
		pattern, name string
		want          bool
	}{
		{"", "q", false}, {"", "", true}, {".*", "q", true}, {"q", "a-q-b", true}, {"^q$", "a-q-b", false},
		{"^(a|b)-", "b-1", true}, {"^(a|b)-", "c-1", false}, {"^amq\\.", "amq.direct", true},
	}
	for _, tt := range tests {
		w.must(w.b.SetPermissions(w.turn, Permissions{User: "guest", VHost: "/", Read: tt.pattern}, nil))
		if got := w.b.auth.allowed("guest", "/", opRead, tt.name); got != tt.want {
			t.Errorf("%q on %q: %v", tt.pattern, tt.name, got)
		}
	}
	err := w.b.SetPermissions(w.turn, Permissions{User: "guest", VHost: "/", Read: "("}, nil)
	if err == nil || err.(*Error).Kind != Invalid {
		t.Errorf("a broken pattern is accepted: %v", err)
	}
	w.refused(w.b.SetPermissions(w.turn, Permissions{User: "nobody", VHost: "/"}, nil), NotFound, "no user 'nobody'")
	w.refused(w.b.SetPermissions(w.turn, Permissions{User: "guest", VHost: "nix"}, nil), NotFound, "no vhost 'nix'")
}

// Covers AMQP-81: topic permissions.
func TestTopicPermissions(t *testing.T) {
	w := newTopo(t)
	admin := w.session()
	w.exchange(admin, "other", TypeTopic)
	w.queue(admin, "q")
	w.must(w.b.AddUser(w.turn, "u.1", "pw", nil, nil))
	w.must(w.b.SetPermissions(w.turn, Permissions{User: "u.1", VHost: "/", Configure: ".*", Write: ".*", Read: ".*"}, nil))
	conn, err := w.b.Connect(w.turn, ConnectionOptions{User: &User{Name: "u.1"}, VHost: "/", ClientID: "c7"})
	w.must(err)
	s := w.v.OpenSession(conn, &deafSink{})
	publish := func(x, key string) error {
		_, err := s.Publish(w.turn, Publish{Exchange: x, Msg: &Message{RoutingKey: key, TTL: NoTTL}})
		return err
	}
	bind := func(x, key string) error {
		return s.Bind(w.turn, Binding{Source: x, Destination: "q", Key: key}, nil)
	}
	w.must(publish("amq.topic", "anything")) // no entry: allowed
	w.must(w.b.SetTopicPermissions(w.turn, TopicPermissions{
		User: "u.1", VHost: "/", Exchange: "amq.topic", Write: `^{username}\.{client_id}\.`, Read: `^public\.|^{vhost}`,
	}, nil))
	w.must(publish("amq.topic", "u.1.c7.x"))
	w.refused(publish("amq.topic", "uX1.c7.x"), Denied,
		"write access to topic 'uX1.c7.x' in exchange 'amq.topic' in vhost '/' refused for user 'u.1'")
	w.must(publish("amq.topic", "u.1.c7.y"))
	w.must(publish("other", "uX1.c7.x"))
	w.must(publish("amq.direct", "uX1.c7.x"))
	w.must(bind("amq.topic", "public.#"))
	w.must(bind("amq.topic", "/x"))
	w.refused(bind("amq.topic", "#"), Denied,
		"read access to topic '#' in exchange 'amq.topic' in vhost '/' refused for user 'u.1'")
	w.must(bind("amq.fanout", "#"))
	if err := s.CheckTopic(true, "amq.topic", "x"); err == nil {
		t.Error("CheckTopic allows what publishing refuses")
	}
	w.must(w.b.ClearTopicPermissions(w.turn, "u.1", "/", "amq.topic", nil))
	w.must(publish("amq.topic", "anything"))
	if err := w.b.SetTopicPermissions(w.turn, TopicPermissions{User: "u.1", VHost: "/", Exchange: "e", Write: "("}, nil); err == nil {
		t.Error("a broken pattern is accepted")
	}
}

// Covers AMQP-17: a new secret, and rights that are gone with it.
func TestUpdateUser(t *testing.T) {
	w := newTopo(t)
	w.queue(w.session(), "a")
	w.queue(w.session(), "b")
	s := w.worker("u", Permissions{Read: "."})
	for _, q := range []string{"a", "b"} {
		_, err := s.Subscribe(w.turn, SubscribeOptions{Queue: q, Tag: q})
		w.must(err)
	}
	w.must(w.b.SetPermissions(w.turn, Permissions{User: "u", VHost: "/", Read: "b"}, nil))
	s.conn.UpdateUser(w.turn, &User{Name: "u"})
	sink := s.sink.(*deafSink)
	if len(sink.cancelled) != 1 || sink.cancelled[0].Tag != "a" {
		t.Errorf("cancelled: %v", sink.cancelled)
	}
	if _, consumers := w.v.queue("a").counts(); consumers != 0 {
		t.Error("the queue still has its consumer")
	}
	if _, consumers := w.v.queue("b").counts(); consumers != 1 {
		t.Error("the other consumer is gone")
	}
}

// Covers AMQP-66.
func TestUserID(t *testing.T) {
	w := newTopo(t)
	s := w.worker("u", Permissions{})
	w.must(s.CheckUserID("u"))
	w.refused(s.CheckUserID("a"), Precondition, "user_id property set to 'a' but authenticated user was 'u'")
	s.conn.UpdateUser(w.turn, &User{Name: "u", Tags: []string{TagImpersonator}})
	w.must(s.CheckUserID("a"))
}

func TestWriteCheckAllocatesNothing(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	x, y, m := w.v.exchange("amq.direct"), w.v.exchange("amq.topic"), &Message{RoutingKey: "k"}
	n := testing.AllocsPerRun(100, func() {
		for _, ex := range []*Exchange{x, x, y} {
			if s.checkWrite(ex, m) != nil {
				t.Error("refused")
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A queue of a virtual topic needs what binding it by hand would need.
func TestVirtualTopicNeedsTheRightToBind(t *testing.T) {
	w := newTopo(t)
	const name = "Consumer.A.VirtualTopic.x"
	for _, tt := range []struct {
		p    Permissions
		text string
	}{
		{Permissions{Configure: ".*", Write: ".*", Read: "^Consumer"}, "read access to exchange 'amq.topic' in vhost '/' refused for user 'u'"},
		{Permissions{Configure: ".*", Write: "^$", Read: ".*"}, "write access to queue '" + name + "' in vhost '/' refused for user 'u'"},
		{Permissions{Configure: ".*", Write: ".*", Read: ".*"}, ""},
	} {
		_ = w.b.DeleteUser(w.turn, "u", nil)
		s := w.worker("u", tt.p)
		_, err := s.DeclareQueue(w.turn, QueueDeclare{Name: name}, nil)
		if got := w.v.Queue(name) != nil; got != (tt.text == "") || got != (err == nil) || err != nil && err.Error() != tt.text {
			t.Errorf("%+v: %v", tt.p, err)
		}
	}
}
