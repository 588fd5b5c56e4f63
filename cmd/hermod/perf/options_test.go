package perf

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// parsed returns the options of a command line, not yet validated.
func parsed(t *testing.T, args ...string) *amqpOptions {
	t.Helper()
	o := &amqpOptions{}
	f := pflag.NewFlagSet("amqp", pflag.ContinueOnError)
	o.register(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestValidateRefuses(t *testing.T) {
	tests := []struct{ args, want string }{
		{"--producers -1", "--producers -1: not between"},
		{"--queues 0", "--queues 0"},
		{"--size 600000000", "--size"},
		{"--prefetch 65536", "--prefetch"},
		{"--multiple 0", "--multiple"},
		{"--confirm -1", "--confirm"},
		{"--producers 0 --consumers 0", "nothing to do"},
		{"--publish-only --consume-only", "exclude each other"},
		{"--consume-only", "needs --queue"},
		{"--ack sometimes", `--ack "sometimes"`},
		{"--ack manual --multiple 10 --prefetch 5", "never comes"},
		{"--queue-type mirrored", "--queue-type"},
		{"--queue-type stream", "needs --ack manual"},
		{"--duration 0", "--duration 0 needs --count"},
		{"--rate -1", "cannot be negative"},
		{"--pid 0", "--pid 0"},
		{"--uri http://localhost", "scheme"},
		{"--uri amqp://u:secret@[bad", "malformed"},
	}
	for _, tt := range tests {
		err := parsed(t, strings.Fields(tt.args)...).validate()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.args, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the password: %v", tt.args, err)
		}
	}
}

func TestValidateAccepts(t *testing.T) {
	tests := []struct {
		args string
		ok   func(o *amqpOptions) bool
	}{
		{"", func(o *amqpOptions) bool { return o.host == "127.0.0.1:5672" && o.producers == 1 && o.consumers == 1 }},
		{"--host broker", func(o *amqpOptions) bool { return o.host == "broker:5672" }},
		{"--host ::1", func(o *amqpOptions) bool { return o.host == "[::1]:5672" }},
		{"--host [::1]:99", func(o *amqpOptions) bool { return o.host == "[::1]:99" }},
		{"--publish-only", func(o *amqpOptions) bool { return o.consumers == 0 && o.producers == 1 }},
		{"--consume-only --queue q", func(o *amqpOptions) bool { return o.producers == 0 && o.consumers == 1 }},
		{"--queue-type quorum", func(o *amqpOptions) bool { return o.durable }},
		{"--idle 5 --duration 0", func(o *amqpOptions) bool { return o.idle == 5 }},
		{"--pid 1,2 --pid 3", func(o *amqpOptions) bool { return len(o.pids) == 3 }},
		{"--uri amqp://u:p%40w@h:1/my%2fhost", func(o *amqpOptions) bool {
			return o.host == "h:1" && o.user == "u" && o.password == "p@w" && o.vhost == "my/host"
		}},
		{"--uri amqp://h", func(o *amqpOptions) bool { return o.host == "h:5672" && o.user == "guest" && o.vhost == "/" }},
	}
	for _, tt := range tests {
		o := parsed(t, strings.Fields(tt.args)...)
		if err := o.validate(); err != nil || !tt.ok(o) {
			t.Errorf("%s: %v, %+v", tt.args, err, *o)
		}
	}
}

func TestQueueNames(t *testing.T) {
	tests := []struct {
		o    amqpOptions
		want string
	}{
		{amqpOptions{queues: 1}, "hermod-perf-7"},
		{amqpOptions{queues: 1, queue: "q"}, "q"},
		{amqpOptions{queues: 2, queue: "q"}, "q-1 q-2"},
	}
	for _, tt := range tests {
		if got := strings.Join(tt.o.queueNames("7"), " "); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}
