package broker

import "strings"

// factPrefix starts the kinds of definitions that belong to listeners. The core
// stores and recovers them without looking into them.
const factPrefix = "fact."

// FactKind is the kind of definition under which a listener keeps facts of its
// own, for example FactKind("mqtt.session").
func FactKind(name string) string { return factPrefix + name }

// StoreFacts stores definitions whose kinds FactKind made, in one batch. done
// (which may be nil) runs at commit, on a goroutine of the store, after
// everything that was given to the store before is durable as well; an empty
// list with a done waits for just that. The list must not change afterwards.
func (b *Broker) StoreFacts(facts []Definition, done func(*Turn)) {
	if len(facts) == 0 && done == nil {
		return
	}
	b.unstored.Add(1)
	b.store.Append(&Batch{Definitions: facts, Then: &stored{broker: b, done: done}})
}

// TakeFacts hands over the recovered facts of a kind that FactKind made and
// forgets them. Listeners call it once, between Recover and the first client.
func (b *Broker) TakeFacts(kind string) []Definition {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.facts[kind]
	delete(b.facts, kind)
	return list
}

// recoverFacts keeps facts until their listener asks.
func (b *Broker) recoverFacts(byKind map[string][]Definition) {
	b.facts = make(map[string][]Definition)
	for kind, list := range byKind {
		if strings.HasPrefix(kind, factPrefix) {
			b.facts[kind] = list
		}
	}
}

// SettleWith is Settle that stores facts in the same batch as the settlement:
// after a crash either both happened or neither. It must not be used in a
// transaction.
func (s *Session) SettleWith(t *Turn, q *Queue, leases []Lease, o Outcome, facts []Definition) {
	q.mu.Lock()
	q.out.Definitions = append(q.out.Definitions, facts...)
	q.settle(t, s, leases, o)
	q.leave(t)
}
