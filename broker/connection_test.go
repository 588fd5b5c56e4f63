package broker

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// recordingControl remembers what a connection was told.
type recordingControl struct {
	mu     sync.Mutex
	closed []string
	alarms []Alarm
	stale  int
}

func (c *recordingControl) Close(_ Kind, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = append(c.closed, text)
}

func (c *recordingControl) Alarm(a Alarm) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alarms = append(c.alarms, a)
}

func (c *recordingControl) Refresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stale++
}

func (w *topo) connectAs(user, vhost string, control Control) (*Connection, error) {
	return w.b.Connect(w.turn, ConnectionOptions{User: &User{Name: user}, VHost: vhost, Control: control, Name: user})
}

// Covers AMQP-5 and AMQP-6.
func TestConnectRefused(t *testing.T) {
	w := newTopo(t)
	w.must(w.b.AddUser(w.turn, "u", "pw", nil, nil))
	_, err := w.connectAs("u", "nix", nil)
	w.refused(err, NotAllowed, "vhost nix not found")
	_, err = w.connectAs("u", "/", nil)
	w.refused(err, NotAllowed, "access to vhost '/' refused for user 'u'")
}

// Covers AMQP-83.
func TestLimits(t *testing.T) {
	w := newTopo(t)
	w.must(w.b.SetVHostLimit(w.turn, "/", LimitConnections, 2, nil))
	a, err := w.connectAs("guest", "/", nil)
	w.must(err)
	_, err = w.connectAs("guest", "/", nil)
	w.must(err)
	_, err = w.connectAs("guest", "/", nil)
	w.refused(err, NotAllowed, "access to vhost '/' refused for user 'guest': connection limit (2) is reached")
	a.Close(w.turn)
	a.Close(w.turn) // twice counts once
	b, err := w.connectAs("guest", "/", nil)
	w.must(err)
	w.must(w.b.SetVHostLimit(w.turn, "/", LimitConnections, -1, nil))
	w.must(w.b.SetUserLimit(w.turn, "guest", LimitConnections, 2, nil))
	_, err = w.connectAs("guest", "/", nil)
	w.refused(err, NotAllowed, "connection refused for user 'guest': user connection limit (2) is reached")
	w.must(w.b.SetUserLimit(w.turn, "guest", LimitConnections, -1, nil))

	w.must(w.b.SetUserLimit(w.turn, "guest", LimitChannels, 1, nil))
	w.must(b.AllowSession())
	s := w.v.OpenSession(b, &deafSink{})
	w.refused(b.AllowSession(), NotAllowed, "number of channels opened for user 'guest' has reached the maximum allowed user limit of (1)")
	s.Close(w.turn)
	w.must(b.AllowSession())
	w.must(w.b.SetUserLimit(w.turn, "guest", LimitChannels, -1, nil))

	w.must(w.b.SetVHostLimit(w.turn, "/", LimitQueues, 1, nil))
	s = w.v.OpenSession(b, &deafSink{})
	w.queue(s, "q")
	w.queue(s, "q")
	_, err = s.DeclareQueue(w.turn, QueueDeclare{Name: "r"}, nil)
	w.refused(err, Precondition, "cannot declare queue in vhost '/': queue limit in vhost '/' (1) is reached")
}

func TestNodeLimit(t *testing.T) {
	w := newTopoOn(t, NewMemoryStore(), func(o *Options) { o.MaxConnections, o.MaxChannels = 1, 1 })
	c, err := w.connectAs("guest", "/", nil)
	w.must(err)
	_, err = w.connectAs("guest", "/", nil)
	w.refused(err, NotAllowed, "connection refused: node connection limit (1) is reached")
	w.v.OpenSession(c, &deafSink{})
	w.refused(c.AllowSession(), NotAllowed, "number of channels opened (1) has reached the maximum (1)")
}

// Covers AMQP-15 and what the deletion of users and virtual hosts does.
func TestControl(t *testing.T) {
	w := newTopo(t)
	w.must(w.b.AddUser(w.turn, "u", "pw", nil, nil))
	w.must(w.b.AddVHost(w.turn, VHostOptions{Name: "v"}, nil))
	for _, vhost := range []string{"/", "v"} {
		w.must(w.b.SetPermissions(w.turn, Permissions{User: "u", VHost: vhost, Configure: ".*", Write: ".*", Read: ".*"}, nil))
	}
	first, second, guest := new(recordingControl), new(recordingControl), new(recordingControl)
	c, err := w.connectAs("u", "/", first)
	w.must(err)
	v, err := w.connectAs("u", "v", second)
	w.must(err)
	_, err = w.connectAs("guest", "/", guest)
	w.must(err)
	if !w.b.CloseConnection(c.ID(), "bye") || w.b.CloseConnection(999, "bye") {
		t.Error("CloseConnection does not say what it found")
	}
	w.must(w.b.SetPermissions(w.turn, Permissions{User: "u", VHost: "/"}, nil))
	s := v.VHost().OpenSession(v, &deafSink{})
	w.queue(s, "q")
	w.must(w.b.DeleteVHost(w.turn, "v", nil))
	if v.VHost().queue("q") != nil || w.b.VHost("v") != nil {
		t.Error("the virtual host or its queue is left")
	}
	_, err = s.DeclareQueue(w.turn, QueueDeclare{Name: "q"}, nil)
	w.refused(err, Denied, "configure access to queue 'q' in vhost 'v' refused for user 'u'")
	w.must(w.b.DeleteUser(w.turn, "u", nil))
	if want := []string{"bye", "user 'u' is deleted"}; !slices.Equal(first.closed, want) {
		t.Errorf("first was told %q", first.closed)
	}
	if want := []string{"vhost 'v' is deleted", "user 'u' is deleted"}; !slices.Equal(second.closed, want) {
		t.Errorf("second was told %q", second.closed)
	}
	if len(guest.closed) != 0 || guest.stale != 0 || first.stale != 1 {
		t.Errorf("guest: %+v, first: %+v", guest, first)
	}
	if n := w.b.CloseUserConnections("guest", "x"); n != 1 {
		t.Errorf("closed %d", n)
	}
}

// Covers AMQP-16.
func TestAlarms(t *testing.T) {
	w := newTopoOn(t, NewMemoryStore(), func(o *Options) { o.MemoryLimit = 1000 })
	control := new(recordingControl)
	_, err := w.connectAs("guest", "/", control)
	w.must(err)
	w.b.SetAlarm(w.turn, AlarmDisk, true)
	w.b.SetAlarm(w.turn, AlarmDisk, true)
	w.b.engine.memory.Store(1001)
	w.b.Tick(w.turn)
	if got := w.b.Alarms().String(); got != "low on memory & disk" {
		t.Errorf("alarms: %q", got)
	}
	w.b.engine.memory.Store(950)
	w.b.Tick(w.turn)
	w.b.engine.memory.Store(900)
	w.b.Tick(w.turn)
	w.b.SetAlarm(w.turn, AlarmDisk, false)
	want := []Alarm{AlarmDisk, AlarmDisk | AlarmMemory, AlarmDisk, 0}
	if !slices.Equal(control.alarms, want) {
		t.Errorf("told %v, want %v", control.alarms, want)
	}
}

func TestClientPropertiesAreBounded(t *testing.T) {
	var many Table
	for i := range 1000 {
		many = append(many, Field{fmt.Sprint(i), "v"})
	}
	if got := boundedClient(many); len(got) > maxClientFields {
		t.Errorf("%d fields are kept", len(got))
	}
	huge := Table{{"a", "b"}, {"c", Table{{"d", strings.Repeat("x", 1<<20)}}}}
	if got := boundedClient(huge); len(got) != 1 {
		t.Errorf("%d fields are kept", len(got))
	}
}

func TestCloseWithOpenSessions(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	w.queue(s, "q")
	_, err := s.Subscribe(w.turn, SubscribeOptions{Queue: "q", Tag: "t"})
	w.must(err)
	s.conn.Close(w.turn)
	if _, consumers := w.v.queue("q").counts(); consumers != 0 {
		t.Error("a consumer outlives its connection")
	}
	if n := len(w.b.ListConnections()); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	_, err = s.DeclareQueue(w.turn, QueueDeclare{Name: "e", Exclusive: true}, nil)
	w.refused(err, NotAllowed, "connection is closed")
	if w.v.queue("e") != nil {
		t.Error("an exclusive queue without a connection")
	}
}

func TestHiddenConnection(t *testing.T) {
	w := newTopoOn(t, NewMemoryStore(), func(o *Options) { o.MaxConnections = 1 })
	_, err := w.connectAs("guest", "/", nil)
	w.must(err)
	c, err := w.b.Connect(w.turn, ConnectionOptions{User: &User{Name: "guest"}, VHost: "/", Hidden: true})
	w.must(err)
	s := w.v.OpenSession(c, &deafSink{})
	w.queue(s, "q")
	if n := len(w.b.ListConnections()); n != 1 {
		t.Errorf("%d connections are listed, want 1", n)
	}
	c.Close(w.turn)
	if n := w.v.connected.Load(); n != 1 {
		t.Errorf("%d connections are counted, want 1", n)
	}
}
