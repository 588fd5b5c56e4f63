package broker

import (
	"encoding/json"
	"strings"
	"testing"
)

func policyOf(name, pattern, applyTo, definition string) Policy {
	p := Policy{VHost: "/", Name: name, Pattern: pattern, ApplyTo: applyTo}
	if err := json.Unmarshal([]byte(definition), &p.Definition); err != nil {
		panic(err)
	}
	return p
}

// Covers AMQP-82: how arguments, policy and operator policy merge.
func TestPolicyMerge(t *testing.T) {
	quorum := Field{"x-queue-type", "quorum"}
	tests := []struct {
		name             string
		args             Table
		policy, operator string
		check            func(c QueueConfig) bool
	}{
		{"policy alone", nil, `{"message-ttl":5,"expires":6,"max-length":7,"max-length-bytes":8}`, "",
			func(c QueueConfig) bool {
				return c.MessageTTL == 5 && c.Expires == 6 && c.MaxLength == 7 && c.MaxLengthBytes == 8
			}},
		{"smaller policy wins", Table{{"x-message-ttl", int32(9)}}, `{"message-ttl":5}`, "",
			func(c QueueConfig) bool { return c.MessageTTL == 5 }},
		{"smaller argument wins", Table{{"x-message-ttl", int32(3)}}, `{"message-ttl":5}`, "",
			func(c QueueConfig) bool { return c.MessageTTL == 3 }},
		{"zero is a limit", Table{{"x-max-length", int32(0)}}, `{"max-length":5}`, "",
			func(c QueueConfig) bool { return c.MaxLength == 0 }},
		{"operator caps", Table{{"x-max-length", int32(50)}}, `{"max-length":40}`, `{"max-length":30}`,
			func(c QueueConfig) bool { return c.MaxLength == 30 }},
		{"operator does not lift", Table{{"x-max-length", int32(5)}}, `{"max-length":40}`, `{"max-length":30}`,
			func(c QueueConfig) bool { return c.MaxLength == 5 }},
		{"argument wins for words",
			Table{{"x-dead-letter-exchange", "a"}, {"x-dead-letter-routing-key", "k"}, {"x-overflow", "reject-publish"}},
			`{"dead-letter-exchange":"b","dead-letter-routing-key":"l","overflow":"drop-head"}`, "",
			func(c QueueConfig) bool {
				return c.DeadLetterExchange == "a" && c.DeadLetterKey == "k" && c.Overflow == RejectPublish
			}},
		{"words of the policy", nil,
			`{"dead-letter-exchange":"b","dead-letter-routing-key":"l","overflow":"reject-publish-dlx"}`, "",
			func(c QueueConfig) bool {
				return c.DeadLetterSet && c.DeadLetterExchange == "b" && c.DeadLetterKeySet && c.DeadLetterKey == "l" &&
					c.Overflow == RejectPublishDLX
			}},
		{"no delivery limit on classic queues", nil, `{"delivery-limit":3}`, "",
			func(c QueueConfig) bool { return c.DeliveryLimit == -1 }},
		{"default delivery limit", Table{quorum}, `{"max-length":1}`, "",
			func(c QueueConfig) bool { return c.DeliveryLimit == 20 }},
		{"delivery limit of the policy", Table{quorum}, `{"delivery-limit":30}`, "",
			func(c QueueConfig) bool { return c.DeliveryLimit == 30 }},
		{"smaller delivery limit", Table{quorum, {"x-delivery-limit", int32(7)}}, `{"delivery-limit":3}`, "",
			func(c QueueConfig) bool { return c.DeliveryLimit == 3 }},
		{"negative delivery limit is none", Table{quorum, {"x-delivery-limit", int32(-1)}}, `{"max-length":1}`, "",
			func(c QueueConfig) bool { return c.DeliveryLimit == -1 }},
		{"negative does not beat a limit", Table{quorum, {"x-delivery-limit", int32(-1)}}, `{"delivery-limit":9}`, "",
			func(c QueueConfig) bool { return c.DeliveryLimit == 9 }},
		{"max-age", Table{{"x-queue-type", "stream"}}, `{"max-age":"1h","message-ttl":5}`, "",
			func(c QueueConfig) bool { return c.MaxAge == 3_600_000 && c.MessageTTL == -1 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newTopo(t)
			s := w.session()
			w.queue(s, "q", tt.args...)
			w.must(w.b.SetPolicy(w.turn, policyOf("p", "q", "queues", tt.policy), nil))
			if tt.operator != "" {
				w.must(w.b.SetOperatorPolicy(w.turn, policyOf("o", "q", "queues", tt.operator), nil))
			}
			if got := w.v.queue("q").config(); !tt.check(got) {
				t.Errorf("live: %+v", got)
			}
			w.queue(s, "q2", tt.args...)
			if got := w.v.queue("q2").config(); !tt.check(got) {
				t.Errorf("declared later: %+v", got)
			}
		})
	}
}

func TestPolicyChoice(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	w.queue(s, "a.classic")
	w.queue(s, "a.quorum", Field{"x-queue-type", "quorum"})
	w.queue(s, "a.stream", Field{"x-queue-type", "stream"})
	set := func(name, pattern, applyTo, def string, priority int) {
		p := policyOf(name, pattern, applyTo, def)
		p.Priority = priority
		w.must(w.b.SetPolicy(w.turn, p, nil))
	}
	limit := func(q string) int64 { return w.v.queue(q).config().MaxLengthBytes }
	check := func(classic, quorum, stream int64) {
		t.Helper()
		if c, q, s := limit("a.classic"), limit("a.quorum"), limit("a.stream"); c != classic || q != quorum || s != stream {
			t.Errorf("limits are %d %d %d, want %d %d %d", c, q, s, classic, quorum, stream)
		}
	}
	set("all", "^a", "all", `{"max-length-bytes":1}`, 0)
	check(1, 1, 1)
	set("quorum", "^a", "quorum_queues", `{"max-length-bytes":2}`, 1)
	set("stream", "^a", "streams", `{"max-length-bytes":3}`, 1)
	set("classic", "^a", "classic_queues", `{"max-length-bytes":4}`, 1)
	check(4, 2, 3)
	set("exchanges", ".*", "exchanges", `{"max-length-bytes":5}`, 9)
	check(4, 2, 3)
	set("high", "lassic", "queues", `{"max-length-bytes":6}`, 7) // unanchored
	check(6, 2, 3)
	set("high", "nothing", "queues", `{"max-length-bytes":6}`, 7)
	check(4, 2, 3)
	w.must(w.b.ClearPolicy(w.turn, "/", "classic", nil))
	check(1, 2, 3)
	w.must(w.b.ClearPolicy(w.turn, "/", "all", nil))
	check(-1, 2, 3)
	w.refused(w.b.ClearPolicy(w.turn, "/", "all", nil), NotFound, "no policy 'all' in vhost '/'")
}

func TestPolicyRefused(t *testing.T) {
	w := newTopo(t)
	tests := []struct {
		name     string
		p        Policy
		operator bool
		part     string
	}{
		{"unknown key", policyOf("p", "", "all", `{"nonsense":1}`), false, "are not recognised policy settings"},
		{"not for policies", policyOf("p", "", "all", `{"max-priority":1}`), false, "are not recognised"},
		{"not for operators", policyOf("p", "", "queues", `{"dead-letter-exchange":"x"}`), true, "are not recognised"},
		{"negative", policyOf("p", "", "all", `{"max-length":-1}`), false, "is not a valid value for max-length"},
		{"expires zero", policyOf("p", "", "all", `{"expires":0}`), false, "is not a valid value for expires"},
		{"too large", policyOf("p", "", "all", `{"message-ttl":315360000001}`), false, "is not a valid value"},
		{"fraction", policyOf("p", "", "all", `{"max-length":1.5}`), false, "is not a valid value"},
		{"text for number", policyOf("p", "", "all", `{"max-length":"1"}`), false, "is not a valid value"},
		{"overflow", policyOf("p", "", "all", `{"overflow":"explode"}`), false, "is not a valid value for overflow"},
		{"max-age", policyOf("p", "", "all", `{"max-age":"1x"}`), false, "is not a valid value for max-age"},
		{"pattern", policyOf("p", "(", "all", `{"max-length":1}`), false, "regular expression"},
		{"look-around is not RE2", policyOf("p", "^(?!amq)", "all", `{"max-length":1}`), false, "regular expression"},
		{"apply-to", policyOf("p", "", "everything", `{"max-length":1}`), false, "unrecognised"},
		{"empty", policyOf("p", "", "all", `{}`), false, "no policy provided"},
	}
	for _, tt := range tests {
		set := w.b.SetPolicy
		if tt.operator {
			set = w.b.SetOperatorPolicy
		}
		err := set(w.turn, tt.p, nil)
		if err == nil || !strings.Contains(err.Error(), tt.part) {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
	w.must(w.b.SetPolicy(w.turn, policyOf("ha", "", "all", `{"ha-mode":"exactly","ha-params":2,"ha-sync-mode":"automatic"}`), nil))
}
