package broker

import "math/rand/v2"

// random gives each message to one binding, any. x-local-random is the same
// here: every queue of the active node is local.
type random struct {
	all bucket
}

func (r *random) check(*binding) error { return nil }
func (r *random) byKey() bool          { return false }
func (r *random) add(b *binding)       { r.all.add(b) }
func (r *random) remove(b *binding)    { r.all.remove(b) }

func (r *random) match(rt *routing, _ string) {
	if n := len(r.all.list); n > 0 {
		rt.take(r.all.list[rand.IntN(n)])
	}
}
