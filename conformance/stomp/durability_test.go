package stomp

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

func TestSTOMP24Persistence(t *testing.T) {
	b := start(t, "rabbitmq")
	c := open(t, b, "1.2")
	c.do("SEND", "kept", "destination:/queue/q", "persistent:true", `k:a\cb`)
	c.do("SEND", "gone", "destination:/queue/q")
	c.do("SUBSCRIBE", "", "id:d", "destination:/topic/t", "durable:true", "auto-delete:false")
	if err := b.Stop(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	if err := b.Restart(); err != nil {
		t.Fatal(err)
	}
	ready(t, b, "q", 1)
	c = open(t, b, "1.2")
	c.do("SEND", "topic", "destination:/topic/t", "persistent:true")
	c.subscribe("/queue/q")
	if f := c.message("kept"); f.headers["k"] != "a:b" || f.headers["persistent"] != "true" {
		t.Errorf("got %s", f)
	}
	c.do("SUBSCRIBE", "", "id:d", "destination:/topic/t", "durable:true", "auto-delete:false")
	c.message("topic")
}

// TestSTOMP13Kill: what had a receipt when the broker was killed is there, and
// a transaction is there as a whole or not at all (STOMP-22).
func TestSTOMP13Kill(t *testing.T) {
	b := start(t, "rabbitmq")
	const rounds = 5
	confirmed := map[string]bool{}
	for round := range rounds {
		single, pairs := open(t, b, "1.2"), open(t, b, "1.2")
		var mu sync.Mutex
		var group sync.WaitGroup
		enough := make(chan struct{})
		var once sync.Once
		publish := func(c *client, what string, one func(name string) bool) {
			defer group.Done()
			for i := 0; ; i++ {
				name := fmt.Sprintf("%s.%d.%d", what, round, i)
				if !one(name) {
					return
				}
				mu.Lock()
				confirmed[name] = true
				if i == 30 {
					once.Do(func() { close(enough) })
				}
				mu.Unlock()
			}
		}
		group.Add(2)
		go publish(single, "single", func(name string) bool {
			return single.try(compose("SEND", name, "destination:/queue/single", "persistent:true", "receipt:r"), 1)
		})
		go publish(pairs, "pair", func(name string) bool {
			return pairs.try(compose("BEGIN", "", "transaction:t", "receipt:r")+
				compose("SEND", name, "destination:/queue/left", "persistent:true", "transaction:t", "receipt:r")+
				compose("SEND", name, "destination:/queue/right", "persistent:true", "transaction:t", "receipt:r")+
				compose("COMMIT", "", "transaction:t", "receipt:r"), 4)
		})
		<-enough
		b.Kill()
		group.Wait()
		if err := b.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	have := map[string]map[string]bool{}
	c, sender := open(t, b, "1.2"), open(t, b, "1.2")
	for _, q := range []string{"single", "left", "right"} {
		have[q] = map[string]bool{}
		c.do("SUBSCRIBE", "", "id:"+q, "destination:/queue/"+q)
		sender.do("SEND", "end", "destination:/queue/"+q)
		for f := c.expect("MESSAGE"); f.body != "end"; f = c.expect("MESSAGE") {
			have[q][f.body] = true
		}
		c.do("UNSUBSCRIBE", "", "id:"+q)
	}
	for name := range confirmed {
		if !have["single"][name] && !have["left"][name] {
			t.Errorf("%s had its receipt and is lost", name)
		}
	}
	for name := range have["left"] {
		if !have["right"][name] {
			t.Errorf("half of the transaction %s is there", name)
		}
	}
	for name := range have["right"] {
		if !have["left"][name] {
			t.Errorf("half of the transaction %s is there", name)
		}
	}
	t.Logf("%d receipts in %d kills", len(confirmed), rounds)
}

// try writes s and reads n receipts; false if the connection breaks.
func (c *client) try(s string, n int) bool {
	if _, err := c.conn.Write([]byte(s)); err != nil {
		return false
	}
	for range n {
		if f, err := c.read(); err != nil || f.command != "RECEIPT" {
			return false
		}
	}
	return true
}
