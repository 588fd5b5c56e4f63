package perf

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	tests := []struct {
		name, in string
		want     time.Duration
		ok       bool
	}{
		{"plain", "42 (hermod) S 1 42 42 0 -1 4194304 100 0 0 0 150 50 7 7 20 0 12 0 100 1 1", 2 * time.Second, true},
		{"parentheses and spaces in the name", "42 (a) b) (c) S 1 42 42 0 -1 4194304 100 0 0 0 1 2 0 0 20", 30 * time.Millisecond, true},
		{"no name", "42 hermod S", 0, false},
		{"cut off", "42 (hermod) S 1 42", 0, false},
		{"not a number", "42 (x) S 1 42 42 0 -1 4194304 100 0 0 0 a 2 0", 0, false},
		{"empty", "", 0, false},
	}
	for _, tt := range tests {
		got, err := parseStat([]byte(tt.in))
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%s: %v, %v; want %v", tt.name, got, err, tt.want)
		}
	}
}

func TestParseStatm(t *testing.T) {
	if got, err := parseStatm([]byte("1000 250 30 1 0 40 0\n")); got != 250 || err != nil {
		t.Errorf("got %d, %v", got, err)
	}
	for _, in := range []string{"", "1000", "1000 x"} {
		if _, err := parseStatm([]byte(in)); err == nil {
			t.Errorf("%q was accepted", in)
		}
	}
}

func TestParseMachine(t *testing.T) {
	const in = "cpu  100 20 30 400 50 6 7 8 9 10\ncpu0 1 2\ncpu1 1 2\nintr 5\nctxt 1\n"
	m, err := parseMachine([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	if want := 621 * tick; m.Total != want {
		t.Errorf("total %v, want %v: guest time is part of user time", m.Total, want)
	}
	if want := 171 * tick; m.Busy != want || m.CPUs != 2 {
		t.Errorf("busy %v on %d CPUs, want %v", m.Busy, m.CPUs, want)
	}
	for _, in := range []string{"", "cpu  a b\n", "cpu 0 0 0 0\ncpu0 0\n"} {
		if _, err := parseMachine([]byte(in)); err == nil {
			t.Errorf("%q was accepted", in)
		}
	}
}

func TestReadUsageOfThisProcess(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("no /proc")
	}
	u, err := readUsage([]int{os.Getpid(), os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	if u.broker.RSS < 2<<20 || u.machine.CPUs < 1 {
		t.Errorf("usage %+v", u)
	}
	if _, err := readUsage([]int{1 << 30}); err == nil {
		t.Error("a process that does not exist was read")
	}
}

func TestCostBetween(t *testing.T) {
	start := time.Unix(1000, 0)
	a := usage{at: start, machine: machine{CPUs: 2}}
	b := usage{
		at:      start.Add(2 * time.Second),
		broker:  process{CPU: time.Second, RSS: 5},
		self:    process{CPU: 500 * time.Millisecond},
		machine: machine{CPUs: 2, Busy: 3 * time.Second, Total: 4 * time.Second},
	}
	c := costBetween(a, b, []int{1}, 100000, 9)
	want := cost{
		Seconds: 2, BrokerMeasured: true, BrokerCPU: 1, BrokerPerMsg: 10, BrokerShare: 0.5, BrokerRSS: 5, BrokerRSSPeak: 9,
		ClientCPU: 0.5, ClientPerMsg: 5, MachineCPUs: 2, MachineBusy: 0.75, MachineByOthers: 0.375,
	}
	if c != want {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	var text strings.Builder
	c.writeText(&text, "broker", "message")
	if !strings.Contains(text.String(), "10.00 us CPU per message, 50 % of one CPU") {
		t.Error(text.String())
	}
	if c := costBetween(a, a, nil, 0, 0); c.BrokerPerMsg != 0 || c.BrokerShare != 0 {
		t.Errorf("nothing happened: %+v", c)
	}
}
