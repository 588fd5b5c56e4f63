package broker

import (
	"fmt"
	"math"
	"strconv"
)

// maxExpiry is the longest expiration, in ms: ten years.
const maxExpiry = 315_360_000_000

// kinds is a set of queue kinds.
type kinds uint8

const (
	classicOnly kinds = 1 << KindClassic
	quorumOnly  kinds = 1 << KindQuorum
	streamOnly  kinds = 1 << KindStream
	notStream         = classicOnly | quorumOnly
	everyKind         = classicOnly | quorumOnly | streamOnly
)

func (k kinds) has(kind QueueKind) bool { return k&(1<<kind) != 0 }

// argument is a queue argument the broker knows: for which kinds it is valid,
// and how its value is checked. check returns the reason of a refusal in
// RabbitMQ's words, "" if there is none.
type argument struct {
	name  string
	kinds kinds
	check func(v Value, all Table) string
}

// queueArguments are in the order in which they are checked. Arguments that
// are not here are accepted and ignored.
var queueArguments = []argument{
	{"x-expires", notStream, checkExpires},
	{"x-message-ttl", notStream, checkExpiry},
	{"x-dead-letter-exchange", notStream, checkText},
	{"x-dead-letter-routing-key", notStream, checkDeadLetterKey},
	{"x-dead-letter-strategy", quorumOnly, oneOf("invalid_dlx_strategy", "at-most-once", "at-least-once")},
	{"x-max-length", notStream, checkNotNegative},
	{"x-max-length-bytes", everyKind, checkNotNegative},
	{"x-max-in-memory-length", quorumOnly | classicOnly, checkNotNegative},
	{"x-max-in-memory-bytes", quorumOnly | classicOnly, checkNotNegative},
	{"x-max-priority", notStream, checkPriority},
	{"x-overflow", notStream, oneOf("invalid_overflow", "drop-head", "reject-publish", "reject-publish-dlx")},
	{"x-queue-mode", everyKind, oneOf("invalid_queue_mode", "default", "lazy")},
	{"x-queue-version", everyKind, checkQueueVersion},
	{"x-single-active-consumer", notStream, checkBool},
	{"x-queue-type", everyKind, checkQueueType},
	{"x-delivery-limit", quorumOnly, checkInt},
	{"x-delayed-retry-type", quorumOnly, oneOf("invalid_delayed_retry_type", "disabled", "all", "failed", "returned")},
	{"x-delayed-retry-min", quorumOnly, checkNotNegative},
	{"x-delayed-retry-max", quorumOnly, checkNotNegative},
	{"x-consumer-timeout", notStream, checkNotNegative},
	{"x-consumer-disconnected-timeout", quorumOnly, checkNotNegative},
	{"x-quorum-initial-group-size", quorumOnly, checkPositive},
	{"x-quorum-target-group-size", quorumOnly, checkPositive},
	{"x-initial-cluster-size", streamOnly, checkPositive},
	{"x-queue-leader-locator", everyKind, oneOf("invalid_queue_locator_arg", "client-local", "balanced", "random", "least-leaders")},
	{"x-queue-master-locator", everyKind, checkText},
	{"x-max-age", streamOnly, checkMaxAge},
	{"x-stream-max-segment-size-bytes", streamOnly, checkSegmentSize},
	{"x-stream-filter-size-bytes", streamOnly, checkFilterSize},
}

func checkInt(v Value, _ Table) string {
	if _, ok := Int(v); !ok {
		return `"expected integer, got ` + typeName(v) + `"`
	}
	return ""
}

func checkNotNegative(v Value, all Table) string {
	if reason := checkInt(v, all); reason != "" {
		return reason
	}
	if n, _ := Int(v); n < 0 {
		return term("value_negative", n)
	}
	return ""
}

func checkPositive(v Value, all Table) string {
	if reason := checkNotNegative(v, all); reason != "" {
		return reason
	}
	if n, _ := Int(v); n == 0 {
		return term("value_zero", n)
	}
	return ""
}

func checkExpiry(v Value, all Table) string {
	if reason := checkNotNegative(v, all); reason != "" {
		return reason
	}
	if n, _ := Int(v); n > maxExpiry {
		return term("value_too_large", n)
	}
	return ""
}

func checkExpires(v Value, all Table) string {
	if n, ok := Int(v); ok && n == 0 {
		return term("value_zero", 0)
	}
	return checkExpiry(v, all)
}

func checkPriority(v Value, all Table) string {
	if reason := checkNotNegative(v, all); reason != "" {
		return reason
	}
	if n, _ := Int(v); n > math.MaxUint8 {
		return term("max_value_exceeded", n)
	}
	return ""
}

func checkSegmentSize(v Value, all Table) string {
	if reason := checkNotNegative(v, all); reason != "" {
		return reason
	}
	if n, _ := Int(v); n > 3_000_000_000 {
		return term("max_value_exceeded", n)
	}
	return ""
}

func checkFilterSize(v Value, all Table) string {
	if reason := checkNotNegative(v, all); reason != "" {
		return reason
	}
	switch n, _ := Int(v); {
	case n < 16:
		return term("value_too_small", n)
	case n > math.MaxUint8:
		return term("value_too_large", n)
	}
	return ""
}

func checkQueueVersion(v Value, all Table) string {
	if reason := checkInt(v, all); reason != "" {
		return reason
	}
	if n, _ := Int(v); n != 1 && n != 2 {
		return `"must be set to '1' or '2'"`
	}
	return ""
}

func checkText(v Value, _ Table) string {
	if _, ok := v.(string); !ok {
		return "{unacceptable_type," + typeName(v) + "}"
	}
	return ""
}

func checkBool(v Value, _ Table) string {
	if _, ok := v.(bool); !ok {
		return "{unacceptable_type," + typeName(v) + "}"
	}
	return ""
}

func checkDeadLetterKey(v Value, all Table) string {
	if reason := checkText(v, all); reason != "" {
		return reason
	}
	if _, ok := all.Get("x-dead-letter-exchange"); !ok {
		return "routing_key_but_no_dlx_defined"
	}
	return ""
}

func checkQueueType(v Value, all Table) string {
	if reason := checkText(v, all); reason != "" {
		return reason
	}
	if _, ok := parseQueueType(v.(string)); !ok {
		return fmt.Sprintf(`"unsupported queue type '%s'"`, v)
	}
	return ""
}

func checkMaxAge(v Value, all Table) string {
	if reason := checkText(v, all); reason != "" {
		return reason
	}
	if _, ok := parseAge(v.(string)); !ok {
		return "invalid_max_age"
	}
	return ""
}

func oneOf(reason string, words ...string) func(Value, Table) string {
	return func(v Value, all Table) string {
		if bad := checkText(v, all); bad != "" {
			return bad
		}
		for _, w := range words {
			if v == w {
				return ""
			}
		}
		return reason
	}
}

// parseAge reads a stream's retention, as "7D", and returns ms.
func parseAge(s string) (int64, bool) {
	if len(s) < 2 {
		return 0, false
	}
	const second, hour = 1000, 3_600_000
	units := map[byte]int64{'Y': 365 * 24 * hour, 'M': 30 * 24 * hour, 'D': 24 * hour, 'h': hour, 'm': 60 * second, 's': second}
	unit, ok := units[s[len(s)-1]]
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 63)
	if err != nil || s[0] == '+' {
		return 0, false
	}
	if n > uint64(math.MaxInt64/unit) {
		return math.MaxInt64, true
	}
	return int64(n) * unit, true
}

func parseQueueType(s string) (QueueKind, bool) {
	switch s {
	case "classic":
		return KindClassic, true
	case "quorum":
		return KindQuorum, true
	case "stream":
		return KindStream, true
	}
	return KindClassic, false
}

// String returns the name that x-queue-type knows the kind by.
func (k QueueKind) String() string {
	switch k {
	case KindQuorum:
		return "quorum"
	case KindStream:
		return "stream"
	}
	return "classic"
}

// moduleName is how RabbitMQ's texts name a kind.
func moduleName(k QueueKind) string { return "rabbit_" + k.String() + "_queue" }

// queueTypeOf reads x-queue-type; ok is false if it is missing or bad.
func queueTypeOf(args Table) (kind QueueKind, ok bool) {
	v, _ := args.Get("x-queue-type")
	s, isText := v.(string)
	if !isText {
		return KindClassic, false
	}
	return parseQueueType(s)
}

// checkArguments validates the arguments of a queue of some kind; what is the
// resource text.
func checkArguments(what string, kind QueueKind, args Table) error {
	for i := range queueArguments {
		a := &queueArguments[i]
		v, ok := args.Get(a.name)
		if !ok {
			continue
		}
		if !a.kinds.has(kind) {
			return errf(Precondition, "invalid arg '%s' for %s of queue type %s", a.name, what, moduleName(kind))
		}
		if reason := a.check(v, args); reason != "" {
			return errf(Precondition, "invalid arg '%s' for %s: %s", a.name, what, reason)
		}
	}
	return nil
}

// configOf checks a declaration and returns the configuration its arguments
// ask for, before any policy.
func configOf(what string, d QueueDeclare) (QueueConfig, error) {
	if v, ok := d.Args.Get("x-queue-type"); ok {
		if reason := checkQueueType(v, d.Args); reason != "" {
			return QueueConfig{}, errf(Precondition, "invalid arg 'x-queue-type' for %s: %s", what, reason)
		}
	}
	kind, _ := queueTypeOf(d.Args)
	cfg := newQueueConfig(kind)
	cfg.Durable, cfg.Exclusive, cfg.AutoDelete = d.lasting(), d.Exclusive, d.AutoDelete
	if kind != KindClassic {
		switch {
		case d.AutoDelete:
			return cfg, invalidProperty("auto-delete", what)
		case d.Exclusive:
			return cfg, invalidProperty("exclusive-owner", what)
		case !d.Durable:
			return cfg, invalidProperty("non-durable", what)
		}
	}
	if err := checkArguments(what, kind, d.Args); err != nil {
		return cfg, err
	}
	cfg.take(d.Args)
	cfg.DeadLetterFallback = d.DeadLetters
	return cfg, checkStrategy(what, d.Args, cfg)
}

// lasting: what is exclusive goes with its connection, whatever else was asked.
func (d *QueueDeclare) lasting() bool { return d.Durable && !d.Exclusive }

func invalidProperty(property, what string) error {
	return errf(Precondition, "invalid property '%s' for %s", property, what)
}

func checkStrategy(what string, args Table, cfg QueueConfig) error {
	if cfg.Kind == KindQuorum && cfg.Overflow == RejectPublishDLX {
		return errf(Precondition, "invalid arg 'x-overflow' for %s: %s", what, "reject-publish-dlx is not supported by quorum queues")
	}
	return nil
}

// newQueueConfig is a configuration without any limit but those a kind is born
// with.
func newQueueConfig(kind QueueKind) QueueConfig {
	cfg := QueueConfig{
		Kind: kind, MessageTTL: -1, Expires: -1, MaxLength: -1, MaxLengthBytes: -1,
		DeliveryLimit: -1, ConsumerTTL: -1, MaxAge: -1,
	}
	if kind == KindQuorum {
		cfg.DeliveryLimit = DefaultDeliveryLimit
	}
	return cfg
}

// DefaultDeliveryLimit is that of quorum queues.
const DefaultDeliveryLimit = 20

// take reads checked arguments into cfg.
func (cfg *QueueConfig) take(args Table) {
	number := func(name string, to *int64) {
		if v, ok := args.Get(name); ok {
			if n, ok := Int(v); ok {
				*to = n
			}
		}
	}
	text := func(name string) (string, bool) {
		v, _ := args.Get(name)
		s, ok := v.(string)
		return s, ok
	}
	number("x-message-ttl", &cfg.MessageTTL)
	number("x-expires", &cfg.Expires)
	number("x-max-length", &cfg.MaxLength)
	number("x-max-length-bytes", &cfg.MaxLengthBytes)
	number("x-consumer-timeout", &cfg.ConsumerTTL)
	limit, priority := int64(cfg.DeliveryLimit), int64(0)
	number("x-delivery-limit", &limit)
	cfg.DeliveryLimit = int(max(limit, -1))
	if cfg.Kind == KindClassic {
		number("x-max-priority", &priority)
		cfg.MaxPriority = int(priority)
	}
	if s, ok := text("x-overflow"); ok {
		cfg.Overflow = parseOverflow(s)
	}
	cfg.DeadLetterExchange, cfg.DeadLetterSet = text("x-dead-letter-exchange")
	cfg.DeadLetterKey, cfg.DeadLetterKeySet = text("x-dead-letter-routing-key")
	if v, _ := args.Get("x-single-active-consumer"); v == true {
		cfg.SingleActive = true
	}
	if s, ok := text("x-max-age"); ok {
		cfg.MaxAge, _ = parseAge(s)
	}
	takeExtensions(cfg, args)
}

// takeExtensions reads the arguments that are the broker's own: the FIFO rule
// of message groups and deduplication.
func takeExtensions(cfg *QueueConfig, args Table) {
	if v, _ := args.Get("x-lease-groups"); v == true {
		cfg.LeaseGroups = true
	}
	if v, ok := args.Get("x-dedup-window"); ok {
		if n, ok := Int(v); ok && n > 0 {
			cfg.DedupWindow = n
		}
	}
}

func parseOverflow(s string) Overflow {
	switch s {
	case "reject-publish":
		return RejectPublish
	case "reject-publish-dlx":
		return RejectPublishDLX
	}
	return DropHead
}

// String returns the word of x-overflow.
func (o Overflow) String() string {
	switch o {
	case RejectPublish:
		return "reject-publish"
	case RejectPublishDLX:
		return "reject-publish-dlx"
	}
	return "drop-head"
}
