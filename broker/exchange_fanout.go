package broker

// fanout: every binding matches.
type fanout struct {
	all bucket
}

func (r *fanout) check(*binding) error { return nil }
func (r *fanout) byKey() bool          { return true }
func (r *fanout) add(b *binding)       { r.all.add(b) }
func (r *fanout) remove(b *binding)    { r.all.remove(b) }

func (r *fanout) match(rt *routing, _ string) {
	for _, b := range r.all.list {
		rt.take(b)
	}
}
