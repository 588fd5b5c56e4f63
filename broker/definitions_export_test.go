package broker

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func (w *topo) load(name string) {
	w.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	w.must(err)
	w.durable(func(done func(*Turn)) error { return w.b.ImportDefinitions(w.turn, data, "", done) })
}

func (w *topo) export() string {
	w.Helper()
	out, err := w.b.ExportDefinitions("")
	w.must(err)
	return string(out)
}

// Covers AMQP-84: a definitions.json of RabbitMQ 3.13.
func TestImport313(t *testing.T) {
	w := newTopo(t)
	w.load("definitions-3.13.json")
	if _, err := w.b.Login(Credentials{Mechanism: "PLAIN", User: "ops", Password: "test12"}); err != nil {
		t.Error(err)
	}
	if _, err := w.b.Login(Credentials{Mechanism: "PLAIN", User: "cert-only"}); err == nil {
		t.Error("a user without password logs in with none")
	}
	var tags []string
	for _, u := range w.b.ListUsers() {
		tags = append(tags, u.Name+":"+strings.Join(u.Tags, "+"))
	}
	if want := []string{"cert-only:", "guest:administrator", "ops:administrator+monitoring", "shop:management"}; !slices.Equal(tags, want) {
		t.Errorf("users %q", tags)
	}
	shop := w.b.VHost("shop/eu")
	if shop == nil || shop.fallbackQueueType() != KindQuorum || w.b.VHost("old").fallbackQueueType() != KindClassic {
		t.Fatal("virtual hosts are not as described")
	}
	checks := map[string]func(c QueueConfig) bool{
		"orders.new": func(c QueueConfig) bool {
			return c.Kind == KindQuorum && c.DeliveryLimit == 5 && c.MessageTTL == 86400000 && c.DeadLetterExchange == "dlx" &&
				c.MaxLength == 100000
		},
		"orders.dead": func(c QueueConfig) bool { return c.Kind == KindClassic && c.MaxPriority == 10 },
		"audit": func(c QueueConfig) bool {
			return c.Kind == KindStream && c.MaxAge == 7*24*3_600_000 && c.MaxLengthBytes == 5_000_000_000
		},
	}
	for name, check := range checks {
		if q := shop.queue(name); q == nil || !check(q.config()) {
			t.Errorf("queue %q is not as described", name)
		}
	}
	w.v = shop
	w.expect("events", "eu.orders.1", "orders.new")
	w.expect("events", "dead.1", "orders.dead")
	w.expect("events", "unknown", "orders.dead")
	w.v = w.b.VHost("/")
	w.expect("shards", "k", "ha.jobs")
	if got := shop.limits.values; got[LimitConnections] != 500 || got[LimitQueues] != 1000 {
		t.Errorf("limits %v", got)
	}
	if got := w.b.ListParameters(false); len(got) != 1 || got[0].Component != "shovel" {
		t.Errorf("parameters: %+v", got)
	}
}

func TestImport41(t *testing.T) {
	w := newTopo(t)
	w.load("definitions-4.1.json")
	w.expect("events", "", "in.a")
	a, b := w.v.queue("in.a").config(), w.v.queue("in.b").config()
	if a.MaxLength != 1000 || a.Overflow != RejectPublish || b.MaxLength != -1 {
		t.Errorf("in.a %+v, in.b %+v", a, b)
	}
	if !w.b.auth.allowed("app", "/", opRead, "in.x") || w.b.auth.allowed("app", "/", opConfigure, "in.x") {
		t.Error("permissions are not as described")
	}
}

// Covers AMQP-84: what was exported is imported as it was, and survives a
// restart.
func TestExportRoundTrip(t *testing.T) {
	for _, file := range []string{"definitions-3.13.json", "definitions-4.1.json"} {
		w := newTopo(t)
		w.load(file)
		first := w.export()
		fresh := newTopoOn(t, NewMemoryStore(), func(o *Options) { o.DefaultUser = "" })
		fresh.durable(func(done func(*Turn)) error { return fresh.b.ImportDefinitions(fresh.turn, []byte(first), "", done) })
		if second := fresh.export(); second != first {
			t.Errorf("%s: the second export differs:\n%s", file, firstDifference(first, second))
		}
		// Again over itself: nothing changes.
		fresh.durable(func(done func(*Turn)) error { return fresh.b.ImportDefinitions(fresh.turn, []byte(first), "", done) })
		if third := fresh.export(); third != first {
			t.Errorf("%s: importing twice changes something:\n%s", file, firstDifference(first, third))
		}
		again := newTopoOn(t, fresh.store, nil)
		if fourth := again.export(); fourth != first {
			t.Errorf("%s: a restart changes something:\n%s", file, firstDifference(first, fourth))
		}
	}
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return strings.Join(x[max(0, i-3):i+1], "\n") + "\nagainst\n" + y[i]
		}
	}
	return "one is longer"
}

func TestExportOfOneVHost(t *testing.T) {
	w := newTopo(t)
	w.load("definitions-3.13.json")
	out, err := w.b.ExportDefinitions("shop/eu")
	w.must(err)
	if s := string(out); strings.Contains(s, "ha.jobs") || strings.Contains(s, `"ops"`) || !strings.Contains(s, "orders.new") {
		t.Errorf("got %s", s)
	}
	if _, err := w.b.ExportDefinitions("nix"); err == nil {
		t.Error("an unknown virtual host is exported")
	}
}

func TestExportHasNothingTransient(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	for _, d := range []QueueDeclare{{Name: "transient"}, {Name: "exclusive", Exclusive: true, Durable: true}} {
		_, err := s.DeclareQueue(w.turn, d, nil)
		w.must(err)
		w.bind(s, "amq.direct", d.Name, "k")
	}
	w.must(s.DeclareExchange(w.turn, ExchangeDeclare{Name: "passing", Type: TypeDirect}, nil))
	if out := w.export(); strings.Contains(out, "transient") || strings.Contains(out, "exclusive") || strings.Contains(out, "passing") {
		t.Errorf("got %s", out)
	}
}

func TestImportRefused(t *testing.T) {
	w := newTopo(t)
	for name, data := range map[string]string{
		"no JSON":       "{",
		"bad hash":      `{"users":[{"name":"a","password_hash":"AAAA","tags":""}]}`,
		"bad type":      `{"exchanges":[{"name":"a","vhost":"/","type":"nonsense","durable":true}]}`,
		"unknown vhost": `{"queues":[{"name":"a","vhost":"nix","durable":true}]}`,
		"bad argument":  `{"queues":[{"name":"a","vhost":"/","durable":true,"arguments":{"x-expires":0}}]}`,
		"no end":        `{"bindings":[{"source":"amq.direct","vhost":"/","destination":"nix","destination_type":"queue"}]}`,
		"bad end":       `{"bindings":[{"source":"amq.direct","vhost":"/","destination":"nix","destination_type":"moon"}]}`,
		"bad pattern":   `{"permissions":[{"user":"guest","vhost":"/","configure":"("}]}`,
		"bad policy":    `{"policies":[{"vhost":"/","name":"p","pattern":"","definition":{"nonsense":1}}]}`,
		"deep":          `{"queues":[{"name":"a","vhost":"/","arguments":{"a":` + strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 102) + `]}`,
	} {
		err := w.b.ImportDefinitions(w.turn, []byte(data), "", func(*Turn) { t.Errorf("%s: done ran", name) })
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if w.v.queue("a") != nil {
		t.Error("a refused queue exists")
	}
}

func FuzzImport(f *testing.F) {
	for _, name := range []string{"definitions-3.13.json", "definitions-4.1.json"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if strings.Contains(string(data), "hermod_password") || strings.Contains(string(data), `"password"`) {
			return // slow hashes
		}
		w := newTopo(t)
		_ = w.b.ImportDefinitions(w.turn, data, "", nil)
		w.export()
	})
}
