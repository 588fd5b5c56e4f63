package perf

import (
	"context"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestWholeMessages(t *testing.T) {
	tests := []struct {
		in             string
		size, messages int
		ok             bool
	}{
		{"", 0, 0, true},
		{"\x00\x00\x00", 0, 0, true},
		{"\x00\x00\x00\x02a", 0, 0, true},
		{"\x00\x00\x00\x02ab", 6, 1, true},
		{"\x00\x00\x00\x00\x00\x00\x00\x01x\x00\x00", 9, 2, true},
		{"\x7f\x00\x00\x00", 0, 0, false},
	}
	for _, tt := range tests {
		size, messages, ok := wholeMessages([]byte(tt.in))
		if size != tt.size || messages != tt.messages || ok != tt.ok {
			t.Errorf("%q: %d bytes, %d messages, %t", tt.in, size, messages, ok)
		}
	}
}

func TestRelayMovesMessages(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := newRelay().serve(l); err != nil {
			t.Error(err)
		}
	})
	defer serving.Wait()
	defer l.Close()
	o := &relayOptions{producers: 2, consumers: 2, size: 1000, duration: 50 * time.Millisecond, warmup: 10 * time.Millisecond}
	if err := o.validate(); err != nil {
		t.Fatal(err)
	}
	r := untilSeen(t, func(d time.Duration) (*relayResult, error) {
		o.duration = d
		return loadRelay(context.Background(), o, l.Addr().String(), []int{os.Getpid()})
	}, func(r *relayResult) bool { return r.Messages > 0 })
	var text strings.Builder
	r.writeText(&text)
	if !strings.Contains(text.String(), "messages of 1000 bytes") {
		t.Error(text.String())
	}
}

// serveRelay ends with its input, so that no relay outlives its parent.
func TestServeRelayEndsWithItsInput(t *testing.T) {
	var out strings.Builder
	if err := serveRelay(strings.NewReader(""), &out); err != nil {
		t.Fatal(err)
	}
	if _, _, err := net.SplitHostPort(strings.TrimSpace(out.String())); err != nil {
		t.Errorf("printed %q: %v", out.String(), err)
	}
}

func TestDiskWrites(t *testing.T) {
	o := &diskOptions{dir: t.TempDir(), duration: 5 * time.Millisecond, fileBytes: 1 << 20}
	if err := o.validate(); err != nil {
		t.Fatal(err)
	}
	r, err := runDisk(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if cases := r.(*diskResult).Cases; len(cases) != 4 {
		t.Errorf("%d cases", len(cases))
	}
	for _, c := range r.(*diskResult).Cases {
		if c.Latency == nil || c.Rate <= 0 {
			t.Errorf("%+v", c)
		}
	}
	left, err := os.ReadDir(o.dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	for _, bad := range []diskOptions{{dir: "/nonexistent", duration: 1}, {dir: o.dir}} {
		if bad.validate() == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

func TestRelayOptions(t *testing.T) {
	good := relayOptions{producers: 1, consumers: 1, size: 1, duration: 1}
	bad := []func(o *relayOptions){
		func(o *relayOptions) { o.producers = 0 },
		func(o *relayOptions) { o.consumers = 1001 },
		func(o *relayOptions) { o.size = relayBuffer },
		func(o *relayOptions) { o.duration = 0 },
	}
	for i, change := range bad {
		o := good
		change(&o)
		if o.validate() == nil {
			t.Errorf("case %d was accepted", i)
		}
	}
}
