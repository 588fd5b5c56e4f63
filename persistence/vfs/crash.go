package vfs

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
)

// CrashClone returns the file system as a power failure at this moment could
// leave it: everything synced, and what was not, by chance. The same seed makes
// the same choices of the same state. Nothing is locked in the clone, and m
// goes on undisturbed.
func (m *MemFS) CrashClone(seed int64) *MemFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	rnd := rand.New(rand.NewPCG(uint64(seed), 0))
	c := &crasher{rnd: rnd, done: map[*memNode]*memNode{}}
	view := map[*memNode]map[string]*memNode{}
	entries := func(dir *memNode) map[string]*memNode {
		if view[dir] == nil {
			view[dir] = maps.Clone(dir.kept)
		}
		return view[dir]
	}
	for _, op := range m.pending {
		if rnd.IntN(2) == 0 {
			op.apply(entries)
		}
	}
	c.entries = entries
	clone := NewMem()
	clone.capacity = m.capacity
	clone.root = c.node(m.root)
	return clone
}

type crasher struct {
	rnd     *rand.Rand
	entries func(dir *memNode) map[string]*memNode
	done    map[*memNode]*memNode // a lost removal can leave two names of one file
}

func (c *crasher) node(n *memNode) *memNode {
	if after, ok := c.done[n]; ok {
		return after
	}
	if !n.isDir() {
		after := &memNode{data: n.data.crash(c.rnd), modTime: n.modTime}
		c.done[n] = after
		return after
	}
	after := newMemDir()
	c.done[n] = after
	kept := c.entries(n)
	for _, name := range sortedKeys(kept) {
		child := c.node(kept[name])
		after.entries[name] = child
		after.kept[name] = child
	}
	return after
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}

// Clone returns the file system as another process would find it if this one
// were killed now: everything written is there, but what was not synced is
// still at the mercy of a later power failure. Nothing is locked in the clone.
func (m *MemFS) Clone() *MemFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := cloner{}
	clone := NewMem()
	clone.capacity = m.capacity
	clone.root = c.node(m.root)
	for _, op := range m.pending {
		op.from, op.to, op.node = c.node(op.from), c.node(op.to), c.node(op.node)
		clone.pending = append(clone.pending, op)
	}
	return clone
}

// cloner maps nodes to their copies: a node can have several names.
type cloner map[*memNode]*memNode

func (c cloner) node(n *memNode) *memNode {
	if n == nil {
		return nil
	}
	if done, ok := c[n]; ok {
		return done
	}
	after := &memNode{data: n.data.clone(), modTime: n.modTime}
	c[n] = after
	if n.isDir() {
		after.entries, after.kept = c.entries(n.entries), c.entries(n.kept)
	}
	return after
}

func (c cloner) entries(of map[string]*memNode) map[string]*memNode {
	after := make(map[string]*memNode, len(of))
	for name, n := range of {
		after[name] = c.node(n)
	}
	return after
}
