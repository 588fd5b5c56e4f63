package broker

// direct: the routing key equals the binding key.
type direct struct {
	keys map[string]*bucket
}

func (r *direct) check(*binding) error { return nil }
func (r *direct) byKey() bool          { return true }

func (r *direct) add(b *binding) {
	k := r.keys[b.id.key]
	if k == nil {
		k = &bucket{}
		r.keys[b.id.key] = k
	}
	k.add(b)
}

func (r *direct) remove(b *binding) {
	k := r.keys[b.id.key]
	k.remove(b)
	if len(k.list) == 0 {
		delete(r.keys, b.id.key)
	}
}

func (r *direct) match(rt *routing, key string) {
	if k := r.keys[key]; k != nil {
		for _, b := range k.list {
			rt.take(b)
		}
	}
}
