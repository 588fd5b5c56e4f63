package perf

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/openwire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// openwireBroker is a broker in memory with an OpenWire listener; it returns
// the address.
func openwireBroker(t *testing.T) string {
	t.Helper()
	now := time.Now().UnixMilli()
	o := broker.Options{Store: broker.NewMemoryStore(), Now: now, DefaultUser: "guest", DefaultPassword: "guest", PasswordCost: 4}
	o.Converters[broker.FormatOpen] = openwire.Converter{}
	b, err := broker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Recover(&broker.Turn{Now: now}); err != nil {
		t.Fatal(err)
	}
	server, err := transport.New(transport.Options{Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	addr, err := server.Listen(transport.Listener{Name: "openwire", Address: "127.0.0.1:0", New: openwire.NewServer(&broker.Turn{Now: now}, b).New(openwire.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	return addr.String()
}

func TestOpenWireRuns(t *testing.T) {
	host := openwireBroker(t)
	for name, change := range map[string]func(*openwireOptions){
		"each":   func(*openwireOptions) {},
		"ranges": func(o *openwireOptions) { o.multiple, o.consumers, o.inFlight = 10, 2, 1000 },
		"sync":   func(o *openwireOptions) { o.sync, o.persistent = true, true },
		"topic":  func(o *openwireOptions) { o.topic, o.consumers = true, 2 },
	} {
		o := &openwireOptions{host: host, user: "guest", password: "guest", prefetch: 100, multiple: 1, peers: peers{producers: 1, consumers: 1, queues: 1, size: 100}, term: term{duration: 50 * time.Millisecond, warmup: 20 * time.Millisecond}}
		change(o)
		if err := o.validate(); err != nil {
			t.Fatal(err)
		}
		res := untilSeen(t, func(d time.Duration) (*loadResult, error) {
			o.duration = d
			r, err := runOpenWire(context.Background(), o)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			return r.(*loadResult), nil
		}, func(r *loadResult) bool {
			return r.Messages.Published > 0 && r.Messages.Delivered > 0 && r.DeliveryLatency != nil &&
				(!o.sync || r.Messages.Confirmed > 0 && r.ConfirmLatency != nil)
		})
		var out bytes.Buffer
		res.writeText(&out)
		if !strings.Contains(out.String(), "delivered") {
			t.Errorf("%s: %s", name, out.String())
		}
	}
}

func TestOpenWireRefused(t *testing.T) {
	o := &openwireOptions{host: openwireBroker(t), user: "guest", password: "wrong", prefetch: 1, multiple: 1, peers: peers{producers: 1, queues: 1}, term: term{duration: time.Second}}
	if _, err := runOpenWire(context.Background(), o); err == nil || !strings.Contains(err.Error(), "java.lang.SecurityException") {
		t.Errorf("got %v", err)
	}
}

func TestOpenWireOptions(t *testing.T) {
	good := openwireOptions{host: "h", prefetch: 1, multiple: 1, peers: peers{producers: 1, consumers: 1, queues: 1}, term: term{duration: 1}}
	if err := good.validate(); err != nil || good.host != "h:61616" {
		t.Errorf("%q %v", good.host, err)
	}
	for name, change := range map[string]func(*openwireOptions){
		"nobody":    func(o *openwireOptions) { o.producers, o.consumers = 0, 0 },
		"queues":    func(o *openwireOptions) { o.queues = 0 },
		"size":      func(o *openwireOptions) { o.size = -1 },
		"prefetch":  func(o *openwireOptions) { o.prefetch = 0 },
		"multiple":  func(o *openwireOptions) { o.multiple = 2 },
		"in flight": func(o *openwireOptions) { o.consumers, o.inFlight = 0, 1 },
		"duration":  func(o *openwireOptions) { o.duration = 0 },
	} {
		o := good
		change(&o)
		if o.validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
