package amqp

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/listeners/amqp/wire"
)

// told renders confirm frames: "ack 3+" stands for multiple.
func told(t *testing.T, b []byte) string {
	t.Helper()
	var out []string
	for len(b) > 0 {
		f, n, _, err := wire.NextFrame(b, 0)
		if err != nil || n == 0 {
			t.Fatalf("frame: %v", err)
		}
		b = b[n:]
		m, err := wire.DecodeMethod(f.Payload)
		if err != nil {
			t.Fatal(err)
		}
		switch m := m.(type) {
		case *wire.BasicAck:
			out = append(out, fmt.Sprintf("ack %d%s", m.DeliveryTag, map[bool]string{true: "+"}[m.Multiple]))
		case *wire.BasicNack:
			out = append(out, fmt.Sprintf("nack %d", m.DeliveryTag))
		}
	}
	return strings.Join(out, ", ")
}

func TestConfirmsAreCoalesced(t *testing.T) { // AMQP-60
	var c confirms
	for range 6 {
		c.next()
	}
	step := func(want string, decide func()) {
		t.Helper()
		decide()
		if got := told(t, c.append(nil, 1)); got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	step("", func() {})
	step("ack 1", func() { c.decide(1, taken) })
	step("ack 4", func() { c.decide(4, taken) })
	step("nack 3, ack 2", func() { c.decide(2, taken); c.decide(3, refused) })
	step("ack 6+", func() { c.decide(6, taken); c.decide(5, taken) })
	step("", func() { c.decide(6, refused); c.decide(99, taken); c.decide(0, taken) })
}

// TestConfirmsTellEachOnce lets a client's view of random verdicts decide.
func TestConfirmsTellEachOnce(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var c confirms
	var open []uint64
	outstanding := map[uint64]bool{}
	want := map[uint64]string{}
	check := func() {
		for _, s := range strings.Split(told(t, c.append(nil, 1)), ", ") {
			if s == "" {
				continue
			}
			var verb, rest string
			var n uint64
			fmt.Sscanf(s, "%s %s", &verb, &rest)
			fmt.Sscanf(rest, "%d", &n)
			covered := []uint64{n}
			if strings.HasSuffix(rest, "+") {
				covered = covered[:0]
				for k := range outstanding {
					if k <= n {
						covered = append(covered, k)
					}
				}
			}
			for _, k := range covered {
				if !outstanding[k] || want[k] != verb {
					t.Fatalf("%q covers %d, which is %q, outstanding %v", s, k, want[k], outstanding[k])
				}
				delete(outstanding, k)
			}
		}
		for k := range want {
			if outstanding[k] {
				t.Fatalf("%d decided and not told", k)
			}
		}
		clear(want)
	}
	for range 30000 {
		switch rng.IntN(8) {
		case 0, 1, 2, 3:
			n := c.next()
			open = append(open, n)
			outstanding[n] = true
		case 4, 5, 6:
			if len(open) == 0 {
				continue
			}
			i := min(rng.IntN(len(open)), rng.IntN(len(open)))
			v, verb := taken, "ack"
			if rng.IntN(10) == 0 {
				v, verb = refused, "nack"
			}
			c.decide(open[i], v)
			want[open[i]] = verb
			open = slices.Delete(open, i, i+1)
		case 7:
			check()
		}
	}
	check()
}
