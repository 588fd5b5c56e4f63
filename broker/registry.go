package broker

import (
	"encoding/base64"
	"hash/maphash"
	"sync"
)

const registryShards = 32

// registry maps names to things. Reads touch one of its shards only, so that
// publishers on many loops do not meet on one lock.
type registry[T any] struct {
	seed   maphash.Seed
	shards [registryShards]registryShard[T]
}

type registryShard[T any] struct {
	mu sync.RWMutex
	m  map[string]T
}

func (r *registry[T]) init() {
	r.seed = maphash.MakeSeed()
	for i := range r.shards {
		r.shards[i].m = make(map[string]T)
	}
}

func (r *registry[T]) shard(name string) *registryShard[T] {
	return &r.shards[maphash.String(r.seed, name)%registryShards]
}

// get returns the zero value if there is nothing called name.
func (r *registry[T]) get(name string) T {
	s := r.shard(name)
	s.mu.RLock()
	v := s.m[name]
	s.mu.RUnlock()
	return v
}

func (r *registry[T]) put(name string, v T) {
	s := r.shard(name)
	s.mu.Lock()
	s.m[name] = v
	s.mu.Unlock()
}

func (r *registry[T]) remove(name string) {
	s := r.shard(name)
	s.mu.Lock()
	delete(s.m, name)
	s.mu.Unlock()
}

// all returns a snapshot in no order.
func (r *registry[T]) all() []T {
	var list []T
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.RLock()
		for _, v := range s.m {
			list = append(list, v)
		}
		s.mu.RUnlock()
	}
	return list
}

func (r *registry[T]) len() int {
	n := 0
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.RLock()
		n += len(s.m)
		s.mu.RUnlock()
	}
	return n
}

func base64URL(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
