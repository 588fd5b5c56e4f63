package vfs

import (
	"fmt"
	"path"
	"sync"
	"syscall"
)

// Every returns an Injector that asks each of injs in turn; the first error
// wins, hangs and flips add up.
func Every(injs ...Injector) Injector {
	return InjectorFunc(func(op Op) Fault {
		var all Fault
		for _, inj := range injs {
			f := inj.Inject(op)
			if f.Wait != nil {
				<-f.Wait
			}
			if f.Flip != nil {
				before := all.Flip
				all.Flip = func(b []byte) {
					if before != nil {
						before(b)
					}
					f.Flip(b)
				}
			}
			if f.Err != nil {
				all.Err, all.Short = f.Err, f.Short
				return all
			}
		}
		return all
	})
}

// matches says whether op is of the kind and its base name matches the
// path.Match pattern.
func matches(op Op, kind Kind, pattern string) bool {
	ok, err := path.Match(pattern, path.Base(op.Path))
	if err != nil {
		panic(fmt.Sprintf("vfs: bad pattern %q", pattern)) // a mistake in the test
	}
	return ok && op.Kind == kind
}

// FailNth fails the nth operation (from 1) of the kind on a base name that
// matches the path.Match pattern, and only that one.
func FailNth(kind Kind, pattern string, n int, err error) Injector {
	return ShortWriteNth(kind, pattern, n, 0, err)
}

// ShortWriteNth is FailNth for a write that still writes its first bytes.
func ShortWriteNth(kind Kind, pattern string, n, bytes int, err error) Injector {
	var mu sync.Mutex
	seen := 0
	return InjectorFunc(func(op Op) Fault {
		if !matches(op, kind, pattern) {
			return Fault{}
		}
		mu.Lock()
		defer mu.Unlock()
		if seen++; seen != n {
			return Fault{}
		}
		return Fault{Err: err, Short: bytes}
	})
}

// NoSpace is a volume that fills up: after so many bytes written or allocated,
// writes go short and everything that grows fails with ENOSPC.
type NoSpace struct {
	mu   sync.Mutex
	left int64
}

// NoSpaceAfter returns a NoSpace with so many bytes left. Overwriting counts
// too: it is a budget of written bytes, not an account of blocks.
func NoSpaceAfter(bytes int64) *NoSpace { return &NoSpace{left: bytes} }

// Free gives the volume so many bytes more.
func (s *NoSpace) Free(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left += bytes
}

// Inject takes the operation's bytes from the budget.
func (s *NoSpace) Inject(op Op) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch op.Kind {
	case OpWrite, OpAllocate:
		if int64(op.Len) <= s.left {
			if op.Kind == OpWrite {
				s.left -= int64(op.Len)
			}
			return Fault{}
		}
		return Fault{Err: pathErr("write", op.Path, syscall.ENOSPC), Short: int(s.left)}
	case OpCreate, OpMkdir:
		if s.left <= 0 {
			return Fault{Err: pathErr("open", op.Path, syscall.ENOSPC)}
		}
	}
	return Fault{}
}

// FlipBit flips the bits of mask in the byte at offset of every file that
// matches, whenever it is read with ReadAt.
func FlipBit(pattern string, offset int64, mask byte) Injector {
	return InjectorFunc(func(op Op) Fault {
		at := offset - op.Offset
		if !matches(op, OpRead, pattern) || op.Offset < 0 || at < 0 || at >= int64(op.Len) {
			return Fault{}
		}
		return Fault{Flip: func(b []byte) {
			if at < int64(len(b)) {
				b[at] ^= mask
			}
		}}
	})
}

// Hang makes the syncs of matching files hang.
type Hang struct {
	pattern string
	mu      sync.Mutex
	armed   chan struct{} // nil: syncs pass
	hung    chan struct{}
}

// HangSyncs returns a Hang that lets everything pass until Arm.
func HangSyncs(pattern string) *Hang {
	return &Hang{pattern: pattern, hung: make(chan struct{}, 1)}
}

// Arm makes the syncs from now on hang until Release.
func (h *Hang) Arm() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.armed == nil {
		h.armed = make(chan struct{})
	}
}

// Release lets the hanging syncs go on, and those to come pass.
func (h *Hang) Release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.armed != nil {
		close(h.armed)
		h.armed = nil
	}
}

// Hung receives a value when a sync has begun to hang.
func (h *Hang) Hung() <-chan struct{} { return h.hung }

// Inject makes op wait if it is a sync and h is armed.
func (h *Hang) Inject(op Op) Fault {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.armed == nil || !matches(op, OpSync, h.pattern) {
		return Fault{}
	}
	select {
	case h.hung <- struct{}{}:
	default:
	}
	return Fault{Wait: h.armed}
}

// SyncPoints counts the syncs of files and directories, so that a test can
// first count them and then crash at each in turn.
type SyncPoints struct {
	// At, if not nil, is called before the nth sync (from 1) takes effect.
	At func(n int)

	mu sync.Mutex
	n  int
}

// Count is the number of syncs so far.
func (s *SyncPoints) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// Inject counts op.
func (s *SyncPoints) Inject(op Op) Fault {
	if op.Kind != OpSync && op.Kind != OpSyncDir {
		return Fault{}
	}
	s.mu.Lock()
	s.n++
	n := s.n
	s.mu.Unlock()
	if s.At != nil {
		s.At(n)
	}
	return Fault{}
}
