package perf

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/stomp"
	"github.com/hermodmq/hermod/listeners/transport"
)

// stompBroker is a broker in memory with a STOMP listener; it returns the
// address.
func stompBroker(t *testing.T) string {
	t.Helper()
	now := time.Now().UnixMilli()
	o := broker.Options{Store: broker.NewMemoryStore(), Now: now, DefaultUser: "guest", DefaultPassword: "guest", PasswordCost: 4}
	o.Converters[broker.FormatSTOMP] = stomp.Converter{}
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
	addr, err := server.Listen(transport.Listener{Name: "stomp", Address: "127.0.0.1:0", New: stomp.New(b, stomp.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	return addr.String()
}

func TestSTOMPRuns(t *testing.T) {
	host := stompBroker(t)
	for name, change := range map[string]func(*stompOptions){
		"auto":       func(*stompOptions) {},
		"client":     func(o *stompOptions) { o.ack, o.prefetch = "client", 200 },
		"individual": func(o *stompOptions) { o.ack, o.consumers = "client-individual", 2 },
		"receipts":   func(o *stompOptions) { o.receipts, o.persistent = true, true },
		"topic":      func(o *stompOptions) { o.topic, o.consumers = true, 2 },
	} {
		o := &stompOptions{host: host, user: "guest", password: "guest", vhost: "/", ack: "auto", peers: peers{producers: 1, consumers: 1, queues: 1, size: 100}, term: term{duration: 50 * time.Millisecond, warmup: 20 * time.Millisecond}}
		change(o)
		if err := o.validate(); err != nil {
			t.Fatal(err)
		}
		res := untilSeen(t, func(d time.Duration) (*loadResult, error) {
			o.duration = d
			r, err := runSTOMP(context.Background(), o)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			return r.(*loadResult), nil
		}, func(r *loadResult) bool {
			return r.Messages.Published > 0 && r.Messages.Delivered > 0 && r.DeliveryLatency != nil &&
				(!o.receipts || r.Messages.Confirmed > 0 && r.ConfirmLatency != nil)
		})
		var out bytes.Buffer
		res.writeText(&out)
		if !strings.Contains(out.String(), "delivered") {
			t.Errorf("%s: %s", name, out.String())
		}
	}
}

func TestSTOMPRefused(t *testing.T) {
	o := &stompOptions{host: stompBroker(t), user: "guest", password: "wrong", vhost: "/", ack: "auto", peers: peers{producers: 1, queues: 1}, term: term{duration: time.Second}}
	if _, err := runSTOMP(context.Background(), o); err == nil || !strings.Contains(err.Error(), "Bad CONNECT") {
		t.Errorf("got %v", err)
	}
}

func TestSTOMPOptions(t *testing.T) {
	good := stompOptions{host: "h", ack: "auto", peers: peers{producers: 1, consumers: 1, queues: 1}, term: term{duration: 1}}
	if err := good.validate(); err != nil || good.host != "h:61613" {
		t.Errorf("%q %v", good.host, err)
	}
	for name, change := range map[string]func(*stompOptions){
		"nobody":   func(o *stompOptions) { o.producers, o.consumers = 0, 0 },
		"queues":   func(o *stompOptions) { o.queues = 0 },
		"size":     func(o *stompOptions) { o.size = -1 },
		"ack":      func(o *stompOptions) { o.ack = "sometimes" },
		"prefetch": func(o *stompOptions) { o.ack, o.prefetch = "client", 1 },
		"duration": func(o *stompOptions) { o.duration = 0 },
	} {
		o := good
		change(&o)
		if o.validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
