//go:build unix && !linux

package vfs

// Direct is no flag: these systems have no common way past the page cache.
const Direct = 0

// Allocate grows the file; the systems other than Linux have no common way to
// reserve its blocks.
func (f osFile) Allocate(size int64) error { return f.grow(size) }
