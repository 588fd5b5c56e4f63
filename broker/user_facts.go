package broker

// UserFacts names the facts of a listener that belong to a user, and forgets
// what it keeps of them in memory: the user is being deleted. It runs with the
// topology locked and must neither block nor call the core.
type UserFacts func(user string) (kind string, keys []string)

// SetUserFacts has facts deleted in the batch that deletes their user, so that
// a later user of the same name does not inherit them. It is called before the
// first client.
func (b *Broker) SetUserFacts(f UserFacts) { b.userFacts.Store(&f) }

// dropFacts deletes the facts of a user.
func (b *Broker) dropFacts(c *change, user string) {
	f := b.userFacts.Load()
	if f == nil {
		return
	}
	kind, keys := (*f)(user)
	for _, key := range keys {
		c.remove(kind, key)
	}
}
