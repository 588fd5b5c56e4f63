package broker

import "strconv"

// equivalenceArguments are those compared when a queue is declared again.
var equivalenceArguments = []string{
	"x-expires", "x-message-ttl", "x-dead-letter-exchange", "x-dead-letter-routing-key", "x-dead-letter-strategy",
	"x-max-length", "x-max-length-bytes", "x-max-priority", "x-overflow", "x-single-active-consumer",
	"x-delivery-limit", "x-consumer-timeout", "x-max-age", "x-stream-max-segment-size-bytes",
	"x-stream-filter-size-bytes", "x-quorum-initial-group-size", "x-initial-cluster-size",
}

// equivalent checks a declaration against the queue there is; its owner was
// checked before.
func (m *queueMeta) equivalent(what string, d QueueDeclare) error {
	kind := KindClassic
	if v, ok := d.Args.Get("x-queue-type"); ok {
		if reason := checkQueueType(v, d.Args); reason != "" {
			return errf(Precondition, "invalid arg 'x-queue-type' for %s: %s", what, reason)
		}
		kind, _ = queueTypeOf(d.Args)
	}
	if kind != m.declared.Kind {
		return equivalentArg("x-queue-type", what, d.Args, m.args)
	}
	switch {
	case m.declared.Durable != d.lasting():
		return inequivalentBool("durable", what, d.lasting(), m.declared.Durable)
	case m.declared.AutoDelete != d.AutoDelete:
		return inequivalentBool("auto_delete", what, d.AutoDelete, m.declared.AutoDelete)
	}
	if err := checkArguments(what, kind, d.Args); err != nil {
		return err
	}
	for _, name := range equivalenceArguments {
		if !argumentKinds(name).has(kind) {
			continue
		}
		if err := equivalentArg(name, what, d.Args, m.args); err != nil {
			return err
		}
	}
	return nil
}

func argumentKinds(name string) kinds {
	for i := range queueArguments {
		if queueArguments[i].name == name {
			return queueArguments[i].kinds
		}
	}
	return 0
}

// equivalentArg compares one argument by value; integer widths do not matter.
func equivalentArg(name, what string, received, current Table) error {
	r, hasR := received.Get(name)
	c, hasC := current.Get(name)
	if !hasR && !hasC {
		return nil
	}
	if hasR && hasC {
		if sameArgument(r, c) {
			return nil
		}
		return inequivalentText(name, what, plainValue(r), plainValue(c))
	}
	return errf(Precondition, "inequivalent arg '%s' for %s: received %s but current is %s",
		name, what, presentValue(r, hasR), presentValue(c, hasC))
}

func sameArgument(a, b Value) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return sameHeader(a, b)
}

func inequivalentText(name, what, received, current string) error {
	return errf(Precondition, "inequivalent arg '%s' for %s: received '%s' but current is '%s'",
		name, what, received, current)
}

func inequivalentBool(name, what string, received, current bool) error {
	return inequivalentText(name, what, strconv.FormatBool(received), strconv.FormatBool(current))
}

func presentValue(v Value, present bool) string {
	if !present {
		return "none"
	}
	return "the value '" + plainValue(v) + "' of type '" + typeName(v) + "'"
}
