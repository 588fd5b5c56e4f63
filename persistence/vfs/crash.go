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
